use super::*;
use crate::knock::Timestamp;
use crate::tenant::TenantId;

fn watch(transport: Transport, first_port: u16, last_port: u16, set: TcpFlags, clear: TcpFlags) -> Watch {
    Watch { transport, first_port, last_port, set, clear }
}

fn udp(first: u16, last: u16) -> Watch {
    watch(Transport::Udp, first, last, TcpFlags::default(), TcpFlags::default())
}

fn rule(watches: &[Watch]) -> Subscription {
    let interest = Interest {
        watches: watches.to_vec(),
        destination: Destination::ThisHost,
        detail: Detail::LEAST,
        memory_format: 0,
    };
    Subscription { interest, interfaces: Vec::new(), sees_outgoing: false, is_local_only: false }
}

fn knock(transport: Transport, port: u16, flags: u8) -> Knock {
    Knock {
        time: Timestamp(0),
        source: [192, 0, 2, 1].into(),
        source_port: 1,
        destination: [198, 51, 100, 1].into(),
        destination_port: port,
        transport,
        tcp_flags: TcpFlags(flags),
        hop_limit: 64,
        packet_length: 28,
        tcp_header: None,
        interface: "eth0".into(),
        interface_index: 2,
        link: 0,
        direction: Direction::Incoming,
        sighting: None,
        payload: Box::default(),
    }
}

/// The index of the host's rules alone.
fn index(rules: Vec<Subscription>) -> Result<Dispatch, TooManyOverlaps> {
    DispatchPart::new(&TenantId::host(), rules).map(|part| Dispatch::new(vec![part]))
}

fn wanted(dispatch: &Dispatch, knock: &Knock) -> Vec<usize> {
    dispatch.wanted(knock, |_| true).collect()
}

#[test]
fn finds_every_rule_that_named_the_port_once() {
    let dispatch = index(vec![
        rule(&[udp(1, 10), udp(5, 5), udp(5, 7)]),
        rule(&[udp(5, 5)]),
        rule(&[udp(65535, 65535), udp(0, 0)]),
    ])
    .unwrap();
    let at = |port| wanted(&dispatch, &knock(Transport::Udp, port, 0));
    assert_eq!(at(0), [2]);
    assert_eq!(at(1), [0]);
    assert_eq!(at(5), [0, 1]);
    assert_eq!(at(10), [0]);
    assert_eq!(at(11), [] as [usize; 0]);
    assert_eq!(at(65535), [2]);
    assert_eq!(wanted(&dispatch, &knock(Transport::Tcp, 5, 0)), [] as [usize; 0]);
}

#[test]
fn holds_tcp_to_the_flags_asked_for() {
    let dispatch = index(vec![rule(&[
        watch(Transport::Tcp, 7, 7, TcpFlags::SYN, TcpFlags::ACK),
        watch(Transport::Tcp, 7, 7, TcpFlags::FIN, TcpFlags::default()),
    ])])
    .unwrap();
    let at = |flags| wanted(&dispatch, &knock(Transport::Tcp, 7, flags)).len();
    assert_eq!(at(0x02), 1);
    assert_eq!(at(0x12), 0);
    assert_eq!(at(0x01), 1);
    assert_eq!(at(0x03), 1, "matched twice, found once");
    assert_eq!(at(0x00), 0);
}

#[test]
fn holds_to_destination_and_interface() {
    let mut elsewhere = rule(&[udp(7, 7)]);
    elsewhere.interest.destination = Destination::Within(vec!["198.51.100.0/24".parse().unwrap()]);
    let mut on_lan = rule(&[udp(7, 7)]);
    on_lan.interfaces = vec!["lan0".into()];
    let dispatch = index(vec![rule(&[udp(7, 7)]), elsewhere, on_lan]).unwrap();
    let knock = knock(Transport::Udp, 7, 0);
    assert_eq!(dispatch.wanted(&knock, |_| false).collect::<Vec<_>>(), [1]);
    let knock = Knock { interface: "lan0".into(), ..knock };
    assert_eq!(dispatch.wanted(&knock, |_| true).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn packets_that_leave_are_for_those_that_may_see_them() {
    let on_the_way_out = Subscription { sees_outgoing: true, ..rule(&[udp(7, 8)]) };
    let dispatch = index(vec![rule(&[udp(7, 7)]), on_the_way_out]).unwrap();
    let knock = knock(Transport::Udp, 7, 0);
    assert_eq!(wanted(&dispatch, &knock), [0, 1]);
    assert_eq!(wanted(&dispatch, &Knock { direction: Direction::Outgoing, ..knock }), [1]);
    let ports = |direction| dispatch.watches(direction).map(|watch| watch.last_port).collect::<Vec<_>>();
    assert_eq!(ports(Direction::Incoming), [7, 8]);
    assert_eq!(ports(Direction::Outgoing), [8]);
}

#[test]
fn as_much_is_read_as_any_rule_asks_for() {
    let asking = |payload_limit, tcp_header| {
        let mut asking = rule(&[udp(7, 7)]);
        asking.interest.detail = Detail { payload_limit, tcp_header };
        asking
    };
    let detail = |rules| index(rules).unwrap().detail();
    assert_eq!(detail(vec![]), Detail::LEAST);
    assert_eq!(detail(vec![asking(9, false), asking(0, false)]), Detail::payload(9));
    assert_eq!(
        detail(vec![asking(9, false), asking(8, true), asking(0, false)]),
        Detail { payload_limit: 9, tcp_header: true }
    );
}

#[test]
fn rules_with_the_same_interfaces_have_the_same_scope() {
    let on = |interfaces: &[&str]| {
        let interfaces = interfaces.iter().map(|name| (*name).into()).collect();
        Subscription { interfaces, ..rule(&[udp(7, 7)]) }
    };
    let rules = vec![on(&[]), on(&["a", "b"]), on(&["b", "a"]), on(&["a"]), on(&["ab"]), on(&[])];
    let scopes = |rules| {
        let dispatch = index(rules).unwrap();
        (0..dispatch.subscriptions.len()).map(|rule| dispatch.scope(rule)).collect::<Vec<_>>()
    };
    let all = scopes(rules);
    assert_eq!((all[0], all[1]), (all[5], all[2]));
    let different = [all[0], all[1], all[3], all[4]];
    assert!((0..4).all(|n| !different[..n].contains(&different[n])), "{different:?}");
    assert_eq!(scopes(vec![on(&["a"]), on(&["b", "a"])]), [all[3], all[1]]);
}

/// So many rules, each within the one before.
fn nested(rules: u16) -> Vec<Subscription> {
    (0..rules).map(|n| rule(&[udp(n, 65535 - n)])).collect()
}

#[test]
fn overlaps_are_bounded_and_ten_thousand_rules_on_a_port_are_fine() {
    let host = TenantId::host();
    let error = DispatchPart::new(&host, nested(4000)).err().unwrap();
    assert_eq!(error, TooManyOverlaps { most: 4_194_304 });
    let same = index((0..10_000).map(|_| rule(&[udp(7, 9)])).collect()).unwrap();
    assert_eq!(wanted(&same, &knock(Transport::Udp, 8, 0)).len(), 10_000);
    let own = index((0..10_000).map(|n| rule(&[udp(n, n), udp(n + 20_000, n + 20_000)])).collect());
    assert_eq!(wanted(&own.unwrap(), &knock(Transport::Udp, 29_999, 0)), [9_999]);
}

#[test]
fn an_owner_has_its_entries_to_itself() {
    // Lists of 1, 2, ..., n rules, of which those on the way back are the same: n (n + 1) / 2 entries.
    let (tenant, most) = (TenantId::new("a"), 723);
    assert!(DispatchPart::new(&tenant, nested(most)).is_ok());
    let error = DispatchPart::new(&tenant, nested(most + 1)).err().unwrap();
    assert_eq!(error, TooManyOverlaps { most: 262_144 });
    assert!(
        error
            .to_string()
            .ends_with("these lists may have 262144 entries in all; watch fewer ports, or the same ones")
    );
    // The host has more, and what a hundred tenants have changes nothing about that.
    let parts = (0..100).map(|_| DispatchPart::new(&tenant, nested(most)).unwrap());
    let host = DispatchPart::new(&TenantId::host(), nested(most + 1)).unwrap();
    let dispatch = Dispatch::new(parts.chain([host]).collect());
    assert_eq!(wanted(&dispatch, &knock(Transport::Udp, 5, 0)).len(), 100 * 6 + 6);
    let places = dispatch.places.len() + dispatch.lists.len();
    assert!(places < 102 * 2 * usize::from(most), "{places}");
    assert_eq!(dispatch.entries.len(), 100 * 723 * 724 / 2 + 724 * 725 / 2);
}

#[test]
fn rules_that_are_on_and_off_at_each_second_port_are_found_at_once() {
    let many = (0..5_000).map(|_| rule(&[udp(0, 65535)]));
    let comb = (0..32_u16)
        .map(|n| rule(&(0..1024).map(|m| udp((n * 1024 + m) * 2, (n * 1024 + m) * 2)).collect::<Vec<_>>()));
    let part = DispatchPart::new(&TenantId::new("a"), many.chain(comb).collect());
    // 32 lists of 5,001 entries are known again each time, and one of 5,000.
    assert_eq!(part.unwrap().entries.len(), 33 * 5_000 + 32);
}

fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[test]
fn agrees_with_the_watches_themselves_on_random_rules() {
    let mut random = random(11);
    let rules: Vec<_> = (0..200)
        .map(|_| {
            let watches: Vec<_> = (0..=random(3))
                .map(|_| {
                    let first = u16::try_from(random(60)).unwrap();
                    let flags = TcpFlags(u8::try_from(random(4)).unwrap());
                    let transport = Transport::ALL[usize::try_from(random(2)).unwrap()];
                    watch(transport, first, first + u16::try_from(random(9)).unwrap(), flags, TcpFlags::ACK)
                })
                .collect();
            rule(&watches)
        })
        .collect();
    let part = |owner: &str, rules: &[Subscription]| {
        DispatchPart::new(&TenantId::new(owner), rules.to_vec()).unwrap()
    };
    let bounds = [0, 90, 91, 91, 200];
    let owners = bounds.windows(2).map(|bounds| part("a", &rules[bounds[0]..bounds[1]]));
    let dispatch = Dispatch::new(owners.collect());
    let of_last = Dispatch::new(vec![part("c", &rules[91..])]);
    for port in 0..80 {
        for transport in [Transport::Tcp, Transport::Udp] {
            for flags in 0..32 {
                let knock = knock(transport, port, flags);
                let expected: Vec<_> = (0..rules.len())
                    .filter(|rule| rules[*rule].interest.watches.iter().any(|watch| watch.matches(&knock)))
                    .collect();
                assert_eq!(wanted(&dispatch, &knock), expected, "{transport} {port} {flags:#x}");
                // Nobody's rules are found otherwise because of others'.
                let expected: Vec<_> = expected.iter().filter_map(|rule| rule.checked_sub(91)).collect();
                assert_eq!(wanted(&of_last, &knock), expected);
            }
        }
    }
}
