//! What an order costs on its way to another process and back, with a receiver that stays where it is and with one that follows the
//! sender's processor: `cargo bench -p postern-link`.
//!
//! The other process answers and does nothing else, and both sleep between orders, as they do while nobody knocks.

#![allow(missing_docs, clippy::unwrap_used, reason = "a measurement")]

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postern_core::{Act, DoorId, Order};
use postern_link::{
    LARGEST_ANSWER, LinkAnswer, LinkRequest, OrderLink, ProcessorFollower, Received, Sent, this_processor,
};
use postern_text::terminal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 300;
/// Long enough for both processors to sleep.
const PAUSE: Duration = Duration::from_millis(10);
/// Says to a child that it answers, and whether it follows.
const ANSWERS: &str = "POSTERN_HOP_ANSWERS";

fn main() {
    if let Some(how) = std::env::var_os(ANSWERS) {
        return answer(how == "follows");
    }
    for how in ["stays", "follows", "stays", "follows"] {
        let (mut there, mut back) = measure(how);
        let line = format!(
            "a receiver that {how}: one way {}, there and back {} (us; median, p99)",
            quantiles(&mut there),
            quantiles(&mut back)
        );
        terminal::out(line).unwrap();
    }
}

/// One way and there and back, in nanoseconds.
fn measure(how: &str) -> (Vec<u64>, Vec<u64>) {
    let (own, its) = OrderLink::pair().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(ANSWERS, how)
        .stdin(Stdio::from(OwnedFd::from(its)))
        .spawn()
        .unwrap();
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for serial in 0..ROUNDS {
        std::thread::sleep(PAUSE);
        let client = "192.0.2.7".parse().unwrap();
        let serial = u64::try_from(serial).unwrap();
        let order = Order { serial, door: DoorId(1), client, occurrence: 0, act: Act::Close };
        let request = LinkRequest::Order { table: 1, processor: this_processor(), order };
        let (start, sent_at) = (Instant::now(), now());
        assert_eq!(own.send(&request.encode()), Sent::Sent);
        let LinkAnswer::Probed { ticket: arrived_at, .. } =
            LinkAnswer::decode(&receive(&own).unwrap()).unwrap()
        else {
            panic!("another answer");
        };
        back.push(u64::try_from(start.elapsed().as_nanos()).unwrap());
        there.push(arrived_at - sent_at);
    }
    drop(own);
    child.wait().unwrap();
    (there, back)
}

/// The other process: says when each order arrived.
fn answer(follows: bool) {
    let link = OrderLink::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut follower = ProcessorFollower::of_this_thread();
    while let Some(message) = receive(&link) {
        let ticket = now();
        let LinkRequest::Order { processor, .. } = LinkRequest::decode(&message).unwrap() else { return };
        assert_eq!(link.send(&LinkAnswer::Probed { ticket, outcome: Ok(()) }.encode()), Sent::Sent);
        if follows {
            follower.follow(processor);
        }
    }
}

fn receive(link: &OrderLink) -> Option<Vec<u8>> {
    let mut inbox = [0; LARGEST_ANSWER];
    loop {
        match link.receive(&mut inbox) {
            Received::Message(length) => return Some(inbox[..length].to_vec()),
            Received::Ended => return None,
            Received::Nothing => drop(poll(&mut [PollFd::new(link, PollFlags::IN)], None)),
        }
    }
}

/// The same clock in both processes, in nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

fn quantiles(nanoseconds: &mut [u64]) -> String {
    nanoseconds.sort_unstable();
    let at = |share: usize| nanoseconds[(nanoseconds.len() - 1) * share / 100] / 1000;
    format!("{} {}", at(50), at(99))
}
