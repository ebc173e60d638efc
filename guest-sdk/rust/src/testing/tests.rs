//! The rehearsal itself, with a rule that says whatever the payload tells it to.

use super::*;
use crate::{CloseRequest, NoSettings, Once, OpenRequest, TcpFlags};

struct Parrot;

impl Rule for Parrot {
    type Settings = NoSettings;
    type Memory = Vec<u8>;

    fn configure(_: NoSettings) -> Result<(Self, Interest), String> {
        let tcp = Watch::tcp(7000..=7001).with(TcpFlags::SYN).without(TcpFlags::ACK);
        Ok((Self, Interest::new([Watch::udp(7000), tcp, Watch::icmp(8)]).payload_limit(8)))
    }

    fn judge(&self, knock: &Knock, memory: Option<Vec<u8>>) -> Verdict<Vec<u8>> {
        match knock.payload.as_slice() {
            b"forget" => Verdict::forget("told to"),
            b"long" => Verdict::forget("x".repeat(201)),
            b"keep" => Verdict::remember(1, vec![1], knock.time + Duration::from_secs(2)),
            b"forever" => Verdict::remember(1, vec![1], knock.time + Duration::MAX),
            b"fat" => Verdict::remember(1, vec![0; 1025], knock.time + Duration::from_secs(2)),
            b"open" => Verdict::open(),
            b"and keep" => Verdict::open().and_remember(vec![1], knock.time + Duration::from_secs(2)),
            b"and fat" => Verdict::close().and_remember(vec![0; 1025], knock.time + Duration::from_secs(2)),
            b"close" => {
                Verdict::close_doors([CloseRequest::door("web"), CloseRequest::default().prefix_length(64)])
            }
            b"once" => Verdict::open_doors([
                OpenRequest::door("ssh")
                    .lasting(Duration::from_millis(29_001))
                    .prefix_length(24)
                    .once(Once::token(*b"ab")),
                OpenRequest::door("web").once(Once::counter(*b"k", 5)),
            ]),
            b"no time" => Verdict::open_doors([OpenRequest::default().lasting(Duration::ZERO)]),
            b"no token" => Verdict::open_doors([OpenRequest::default().once(Once::token([]))]),
            b"soon" => {
                Verdict::open_doors([OpenRequest::default().once(Once::token_until(*b"a", knock.time))])
            }
            b"too soon" => Verdict::open_doors([
                OpenRequest::default().once(Once::token_until(*b"a", Timestamp::default()))
            ]),
            b"too long" => Verdict::close_doors([CloseRequest::default().prefix_length(129)]),
            b"crowd" => Verdict::open_doors(vec![OpenRequest::default(); 9]),
            b"12345678" => Verdict::forget("cut"),
            _ => memory.map_or(Verdict::Ignore, |_| Verdict::forget("known")),
        }
    }
}

#[track_caller]
fn check(knocks: &str, expected: &str) {
    let said = rehearse::<Parrot>("{}", knocks);
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(said, expected);
}

#[test]
fn verdicts_are_put_into_words() {
    check(
        "+0s 10.1.2.3 udp/7000 payload=open
         +0.1s 10.1.2.3 udp/7000 payload=close
         +0.2s 10.1.2.3 udp/7000 payload=once
         +0.3s 10.1.2.3 udp/7000 payload=forget
         +0.4s 10.1.2.3 udp/7000 payload=keep    # a comment
         +0.5s 10.1.2.3 icmp/8
         +0.6s 10.1.2.3 udp/7000 payload=soon",
        "+0.0s 10.1.2.3 open
         +0.1s 10.1.2.3 close web, prefix 64
         +0.2s 10.1.2.3 open ssh for 30s prefix 24 once token 6162, web once counter 6b at 5
         +0.3s 10.1.2.3 forget: told to
         +0.4s 10.1.2.3 remember 1 until +2.4s
         +0.5s 10.1.2.3 forget: known
         +0.6s 10.1.2.3 open once token 61 until +0.6s",
    );
}

/// Says what it was shown of the TCP header.
struct Reader<const ASKS: bool>;

impl<const ASKS: bool> Rule for Reader<ASKS> {
    type Settings = NoSettings;
    type Memory = ();

    fn configure(_: NoSettings) -> Result<(Self, Interest), String> {
        let interest = Interest::new([Watch::tcp(7), Watch::udp(7)]);
        Ok((Self, if ASKS { interest.tcp_header() } else { interest }))
    }

    fn judge(&self, knock: &Knock, _: Option<()>) -> Verdict<()> {
        let Knock { source_zone, interface_index, packet_length, tcp_header, .. } = knock;
        let header = tcp_header.as_ref().map(|header| (header.sequence, header.window, &header.options));
        Verdict::forget(format!("{source_zone} {interface_index} {packet_length} {header:?}"))
    }
}

#[test]
fn the_tcp_header_is_shown_to_a_rule_that_asked() {
    let knocks = "+0s 10.1.2.3 tcp/7 sequence=4294967295 window=9 options=0x01010101
         +1s 10.1.2.3 udp/7 interface=9
         +2s fe80::1%3 tcp/7";
    assert_eq!(
        rehearse::<Reader<true>>("{}", knocks),
        "+0.0s 10.1.2.3 forget: 0 2 44 Some((4294967295, 9, [1, 1, 1, 1]))\n\
         +1.0s 10.1.2.3 forget: 0 9 28 None\n\
         +2.0s fe80::1%3 forget: 3 3 60 Some((0, 0, []))\n"
    );
    assert_eq!(
        rehearse::<Reader<false>>("{}", knocks.lines().next().unwrap()),
        "+0.0s 10.1.2.3 forget: 0 2 44 None\n"
    );
}

#[test]
fn a_link_local_client_is_another_one_in_another_zone() {
    check(
        "+0s fe80::1%3 udp/7000 payload=keep
         +0s fe80::1%4 udp/7000
         +0s fe80::1%3 udp/7000",
        "+0.0s fe80::1%3 remember 1 until +2.0s
         +0.0s fe80::1%4 ignore
         +0.0s fe80::1%3 forget: known",
    );
}

#[test]
fn memory_is_kept_for_each_client_until_its_time() {
    check(
        "+0.0s 10.1.2.3 udp/7000 payload=keep
         +1.0s ::ffff:10.1.2.3 udp/7000
         +1.999999s 10.1.2.3 udp/7000
         +3.0s 10.1.2.3 udp/7000 payload=keep
         +5.0s 10.1.2.3 udp/7000
         +6.0s 10.1.2.3 udp/7000 payload=forever
         +3606.0s 10.1.2.3 udp/7000
         +4000.0s 10.1.2.3 udp/7000 payload=keep
         +4000.0s 10.1.2.3 udp/7000 payload=open
         +4000.0s 10.1.2.3 udp/7000
         +4001.0s 10.1.2.3 udp/7000 payload=0x616e64206b656570
         +4002.0s 10.1.2.3 udp/7000
         +4003.0s 10.1.2.3 udp/7000",
        "+0.0s 10.1.2.3 remember 1 until +2.0s
         +1.0s ::ffff:10.1.2.3 ignore
         +1.999999s 10.1.2.3 forget: known
         +3.0s 10.1.2.3 remember 1 until +5.0s
         +5.0s 10.1.2.3 ignore
         +6.0s 10.1.2.3 remember 1 until +7307199254.740991s
         +3606.0s 10.1.2.3 ignore
         +4000.0s 10.1.2.3 remember 1 until +4002.0s
         +4000.0s 10.1.2.3 open
         +4000.0s 10.1.2.3 ignore
         +4001.0s 10.1.2.3 open and remember 0 until +4003.0s
         +4002.0s 10.1.2.3 forget: known
         +4003.0s 10.1.2.3 ignore",
    );
}

#[test]
fn a_rule_sees_only_what_it_asked_for() {
    check(
        "+0s 10.1.2.3 udp/7001
         +0s 10.1.2.3 tcp/7001
         +0s 10.1.2.3 tcp/7001 flags=syn,ack
         +0s 10.1.2.3 tcp/7001 flags=
         +0s 10.1.2.3 icmp/0
         +0s 2001:db8::7 icmpv6/8
         +0s 10.1.2.3 udp/7000 to=192.0.2.2
         +0s 10.1.2.3 udp/7000 payload=0x313233343536373839",
        "+0.0s 10.1.2.3 not shown
         +0.0s 10.1.2.3 ignore
         +0.0s 10.1.2.3 not shown
         +0.0s 10.1.2.3 not shown
         +0.0s 10.1.2.3 not shown
         +0.0s 2001:db8::7 not shown
         +0.0s 10.1.2.3 not shown
         +0.0s 10.1.2.3 forget: cut",
    );
}

#[test]
fn a_fault_leaves_memory_alone() {
    check(
        "+0s 10.1.2.3 udp/7000 payload=keep
         +0s 10.1.2.3 udp/7000 payload=fat
         +0s 10.1.2.3 udp/7000 payload=0x616e6420666174
         +0s 10.1.2.3 udp/7000 payload=long
         +0s 10.1.2.3 udp/7000 payload=crowd
         +0s 10.1.2.3 udp/7000 payload=0x6e6f2074696d65
         +0s 10.1.2.3 udp/7000 payload=0x6e6f20746f6b656e
         +0s 10.1.2.3 udp/7000 payload=0x746f6f20736f6f6e
         +0s 10.1.2.3 udp/7000 payload=0x746f6f206c6f6e67
         +0s 10.1.2.3 udp/7000",
        "+0.0s 10.1.2.3 remember 1 until +2.0s
         +0.0s 10.1.2.3 fault: remembers 1025 bytes; the most is 1024
         +0.0s 10.1.2.3 fault: remembers 1025 bytes; the most is 1024
         +0.0s 10.1.2.3 fault: a reason of 201 bytes; the most is 200
         +0.0s 10.1.2.3 fault: 9 doors; the most is 8
         +0.0s 10.1.2.3 fault: an opening of 0 seconds
         +0.0s 10.1.2.3 fault: a token or key of 0 bytes; it must be 1 to 64
         +0.0s 10.1.2.3 fault: a token that could be accepted until before its knock
         +0.0s 10.1.2.3 fault: a prefix length of 129; an address has at most 128 bits
         +0.0s 10.1.2.3 forget: known",
    );
}

#[test]
fn interests_are_checked_as_the_host_does() {
    let check = |interest: Interest, expected: &str| {
        assert_eq!(super::check(&interest).err().unwrap_or_default(), expected);
    };
    let udp = Watch::udp(1);
    check(Interest::new([udp]).payload_limit(1500), "");
    check(Interest::new([]), "the rule asks for 0 watches; it must be 1 to 1024");
    check(
        Interest::new([udp]).payload_limit(1501),
        "the rule asks for 1501 bytes of payload; the most is 1500",
    );
    check(
        Interest::new([Watch::icmp(256)]),
        "the rule watches icmp 256 to 256; it must be a range within 0 to 255",
    );
    let (first, last) = (2, 1);
    check(
        Interest::new([Watch::udp(first..=last)]),
        "the rule watches udp 2 to 1; it must be a range within 0 to 65535",
    );
    check(
        Interest::new([Watch::tcp(1).with(TcpFlags::SYN).without(TcpFlags::SYN)]),
        "the rule watches tcp with a flag that must be both set and clear",
    );
}

#[test]
#[should_panic(expected = "knock in line 2, `+0s 10.1.2.3 udp/70000`: `udp/70000` is not transport/port")]
fn a_line_that_means_nothing_is_named() {
    check("\n+0s 10.1.2.3 udp/70000", "");
}
