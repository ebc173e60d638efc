//! Floor: the least that a reader of libpcap can do, to compare with: it looks at the last byte of every packet and counts.

use std::io::Read;
use std::thread;

use pcap::Capture;

/// Reads what the filter lets through until standard input ends, then says how many packets that were.
pub(crate) fn read(filter: &str, is_immediate: bool) {
    let open = || -> Result<_, pcap::Error> {
        let device = Capture::from_device("eth0")?.snaplen(128).buffer_size(16 << 20).timeout(10);
        let mut capture = device.immediate_mode(is_immediate).open()?;
        capture.filter(filter, true)?;
        Ok(capture)
    };
    let mut capture = open().unwrap_or_else(|error| panic!("eth0: {error}"));
    let handle = capture.breakloop_handle();
    thread::spawn(move || {
        // Ends when nobody is there any more.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        handle.breakloop();
    });
    println!("listening");
    let mut odd = 0_u64;
    // Breaking the loop is an error, too.
    let _ = capture
        .for_each(None, |packet| odd += u64::from(packet.data.last().is_some_and(|byte| byte & 1 == 1)));
    let stats = capture.stats().expect("it was open");
    println!("done received {} dropped {} odd {odd}", stats.received, stats.dropped);
}
