//! Knock: sends the hits of the plan, each when it is due.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::hit::hit;
use crate::plan::plan;
use crate::profile::Profile;
use crate::step::KnockStep;

/// What happens while a knock is sent.
#[derive(Debug)]
pub enum Notice<'a> {
    /// This hit is about to be sent.
    Hitting(&'a KnockStep, IpAddr),
    /// This address gets no more hits, because one could not be sent to it.
    GivenUp(IpAddr, &'a io::Error),
}

/// No address got the whole knock.
#[derive(Debug)]
pub struct Unreachable(Vec<(IpAddr, io::Error)>);

/// Sends the whole knock to each address: which of them got it.
///
/// Every hit has its instant, so the time that sending takes does not add up. If no door is waited for afterwards, the pause after the
/// last hit is kept too: scripts made for knockd's client count on it.
///
/// # Errors
/// If not one address got it.
pub fn knock(
    profile: &Profile,
    addresses: &[SocketAddr],
    mut tell: impl FnMut(Notice<'_>),
) -> Result<Vec<SocketAddr>, Unreachable> {
    let mut failures: Vec<Option<io::Error>> = addresses.iter().map(|_| None).collect();
    let start = Instant::now();
    let mut end = start;
    for due in plan(addresses, profile.steps.len(), profile.interval) {
        if failures[due.address].is_some() {
            continue;
        }
        sleep_until(start + due.due);
        end = start + due.due + profile.interval;
        let (step, mut to) = (&profile.steps[due.step], addresses[due.address]);
        to.set_port(step.port);
        tell(Notice::Hitting(step, to.ip()));
        if let Err(error) = hit(to, step.transport, profile.payload.bytes(), profile.source) {
            tell(Notice::GivenUp(to.ip(), &error));
            failures[due.address] = Some(error);
        }
    }
    let knocked: Vec<_> =
        addresses.iter().zip(&failures).filter(|(_, failure)| failure.is_none()).map(|(to, _)| *to).collect();
    if knocked.is_empty() {
        let failures = addresses.iter().map(SocketAddr::ip).zip(failures);
        return Err(Unreachable(failures.filter_map(|(ip, failure)| Some((ip, failure?))).collect()));
    }
    if profile.wait.is_none() {
        sleep_until(end);
    }
    Ok(knocked)
}

fn sleep_until(instant: Instant) {
    std::thread::sleep(instant.saturating_duration_since(Instant::now()));
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot knock at ")?;
        for (n, (ip, error)) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", nor at " };
            write!(f, "{separator}{ip}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unreachable {}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::transport::StepTransport;

    #[test]
    fn hits_arrive_in_order_and_on_time() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        server.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
        let interval = Duration::from_millis(40);
        let profile = profile(&server, interval);
        let start = Instant::now();
        let mut notices = Vec::new();
        let knocked = knock(&profile, &[LOCALHOST], |notice| notices.push(format!("{notice:?}")));
        assert_eq!(knocked.expect("loopback is reachable"), [LOCALHOST]);
        assert_eq!(notices.len(), 5);
        // Five hits and the pause after the last.
        assert!(start.elapsed() >= interval * 5);
        for _ in 0..5 {
            server.recv(&mut [0]).expect("a datagram");
        }
        server.set_nonblocking(true).expect("a socket");
        assert!(server.recv(&mut [0]).is_err(), "one datagram more than steps");
    }

    #[test]
    fn what_telling_takes_does_not_add_up() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let interval = Duration::from_millis(40);
        let (mut instants, delay) = (Vec::new(), Duration::from_millis(35));
        knock(&profile(&server, interval), &[LOCALHOST], |_| {
            instants.push(Instant::now());
            std::thread::sleep(delay);
        })
        .expect("loopback is reachable");
        let took = instants[4] - instants[0];
        assert!(took < 4 * (interval + delay), "{took:?}: each hit waited for the one before");
    }

    #[test]
    fn an_address_without_a_way_is_given_up_and_the_others_are_knocked() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let profile = Profile { source: Some(LOCALHOST.ip()), ..profile(&server, Duration::ZERO) };
        let away = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 0);
        let mut given_up = 0;
        let knocked = knock(&profile, &[away, LOCALHOST], |notice| {
            given_up += usize::from(matches!(notice, Notice::GivenUp(..)));
        });
        assert_eq!(knocked.expect("loopback is reachable"), [LOCALHOST]);
        assert_eq!(given_up, 1);
        let error = knock(&profile, &[away], |_| ()).expect_err("broadcast was not asked for");
        assert!(error.to_string().starts_with("cannot knock at 255.255.255.255: "), "{error}");
    }

    const LOCALHOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn profile(server: &UdpSocket, interval: Duration) -> Profile {
        let port = server.local_addr().expect("bound").port();
        let step = KnockStep::new(&port.to_string(), StepTransport::Udp).expect("a port");
        Profile { interval, ..Profile::new("localhost", vec![step; 5]) }
    }
}
