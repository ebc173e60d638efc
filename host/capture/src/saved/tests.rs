use std::fs;
use std::net::SocketAddr;

use postern_core::Timestamp;
use postern_tests::capture_file::{COOKED_V2, ETHERNET, Pcap, Ticks, pcapng};
use postern_tests::frame::{from_hex, udp};
use postern_text::chain;

use super::*;

/// What is known of a frame: its time, its length and how much of it there is.
type Known = (u64, u32, usize);

/// Microseconds since 1970.
const TIME: u64 = 1_795_000_000_123_456;

fn knock() -> Vec<u8> {
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    udp(end("192.0.2.7:4000"), end("198.51.100.1:7000"), b"")
}

/// Reads such a file to its end; the message if that does not come.
fn read(contents: &[u8]) -> (Vec<Known>, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pcap");
    fs::write(&file, contents).unwrap();
    let said = |error: &SavedCaptureError| {
        Some(chain(error).to_string().replace(&format!("{}/", dir.path().display()), ""))
    };
    let mut capture = match SavedCapture::open(&file, "eth0") {
        Ok(capture) => capture,
        Err(error) => return (Vec::new(), said(&error)),
    };
    let mut frames = Vec::new();
    loop {
        match capture.read() {
            Ok(Some(frame)) => frames.push((frame.time.0, frame.length, frame.bytes.len())),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, said(&error)),
        }
    }
}

#[test]
fn frames_are_those_of_the_file_however_it_writes_times() {
    let frame = knock();
    let expected = (TIME, 42, 42);
    for ticks in [Ticks::Micros, Ticks::Nanos] {
        let file = Pcap::new(ETHERNET, ticks).frame(TIME, &frame).into_bytes();
        assert_eq!(read(&file), (vec![expected], None), "{ticks:?}");
    }
    let file = pcapng(&[ETHERNET], &[(0, TIME, &frame)]);
    assert_eq!(read(&file), (vec![expected], None));
}

#[test]
fn as_much_is_kept_as_a_capture_on_an_interface_keeps() {
    let file = Pcap::ethernet().part(TIME, &knock()[..30], 42).frame(TIME, &[0; 9000]).into_bytes();
    assert_eq!(read(&file), (vec![(TIME, 42, 30), (TIME, 9000, 1920)], None));
}

#[test]
fn what_is_no_capture_is_refused() {
    for contents in [&b""[..], b"a", b"no capture, but a text", &[0xff; 4096]] {
        let (frames, message) = read(contents);
        let message = message.unwrap();
        assert!(frames.is_empty(), "{frames:?}");
        assert!(message.starts_with("a.pcap cannot be read; it must be a pcap or pcapng file,"), "{message}");
    }
    let missing = SavedCapture::open(Path::new("/nowhere/a.pcap"), "eth0").err().unwrap();
    assert!(chain(&missing).to_string().contains("No such file"), "{}", chain(&missing));
}

#[test]
fn what_is_before_the_damage_is_read() {
    let frame = knock();
    let whole = Pcap::ethernet().frame(TIME, &frame).frame(TIME + 1, &frame).into_bytes();
    let lie = [&whole[..], &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 42, 0, 0, 0]].concat();
    for (contents, read_before) in
        [(&whole[..whole.len() - 1], 1), (&whole[..24 + 16 + 42 + 9], 1), (&lie, 2)]
    {
        let (frames, message) = read(contents);
        assert_eq!(frames.len(), read_before);
        let beginning = format!("a.pcap cannot be read beyond its packet {read_before}; if it was cut off");
        assert!(message.as_ref().is_some_and(|message| message.starts_with(&beginning)), "{message:?}");
    }
}

#[test]
fn interfaces_of_different_link_types_are_a_mistake_with_a_remedy() {
    let frame = knock();
    let (_, message) = read(&pcapng(&[ETHERNET, COOKED_V2], &[(0, TIME, &frame), (1, TIME, &frame)]));
    let message = message.unwrap();
    assert!(
        message.contains("interfaces of different link types, save each in a file of its own"),
        "{message}"
    );
    let (frames, message) = read(&pcapng(&[ETHERNET, ETHERNET], &[(0, TIME, &frame), (1, TIME, &frame)]));
    assert_eq!((frames.len(), message), (2, None), "two of the same type are none");
}

#[test]
fn a_cooked_frame_says_which_way_it_went() {
    let packet = &knock()[14..];
    let way = |way: &str| {
        let header = from_hex(&["0800 0000 00000003 0001", way, "06 0200000000010000"].concat());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pcap");
        let contents = Pcap::new(COOKED_V2, Ticks::Micros).frame(TIME, &[&header, packet].concat());
        fs::write(&file, contents.into_bytes()).unwrap();
        let mut capture = SavedCapture::open(&file, "any").unwrap();
        capture.read().unwrap().unwrap().direction
    };
    assert_eq!([way("00"), way("04")], [Direction::Incoming, Direction::Outgoing]);
}

#[test]
fn files_outlive_2038() {
    let later = (1 << 31) * 1_000_000 + 5;
    assert_eq!(read(&Pcap::ethernet().frame(later, &knock()).into_bytes()), (vec![(later, 42, 42)], None));
}

#[test]
fn times_of_no_calendar_are_times_all_the_same() {
    let file = Pcap::ethernet().raw(&[0xff; 8]).raw(&[0; 8]).into_bytes();
    let (frames, message) = read(&file);
    assert_eq!(message, None);
    assert_eq!(Timestamp(frames[0].0), Timestamp(u64::from(u32::MAX) * 1_000_000 + u64::from(u32::MAX)));
}
