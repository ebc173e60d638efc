//! Namespace: a network namespace of its own for a test.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use postern_tests::frame::from_hex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with `lo` up; it goes when this is dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// None, with a word on stderr, if this process may not have one. In CI that is a failure.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pe-{}-{number}", std::process::id());
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => {
                let namespace = Self { name };
                namespace.inside(|| ip("link set lo up"));
                Some(namespace)
            }
            failure => {
                assert!(std::env::var_os("CI").is_none(), "no network namespace: {failure:?}");
                eprintln!("skipped: this test needs root and iproute2 for a network namespace: {failure:?}");
                None
            }
        }
    }

    /// Runs `test` on a thread in this namespace; threads and processes that it starts are in it as well.
    pub(crate) fn inside<T: Send>(&self, test: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let entered = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                test()
            });
            match entered.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Runs `ip` with these arguments in the namespace of this thread.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Makes an interface, unless this kernel has none of its kind.
pub(crate) fn made(arguments: &str) -> bool {
    let made = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    if !made.status.success() {
        eprintln!("skipped: ip {arguments}: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    made.status.success()
}

/// Puts a frame on the wire behind `interface` as it is.
pub(crate) fn send_frame(interface: &str, hex: &str) {
    pcap::Capture::from_device(interface).unwrap().open().unwrap().sendpacket(from_hex(hex)).unwrap();
}
