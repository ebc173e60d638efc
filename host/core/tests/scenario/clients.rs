//! For whom a door opens: the source of the knock, on its link if that matters, or a prefix around it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use postern_core::{
    Action, Again, DoorId, DoorPolicy, Durability, Engine, Event, ListedOpening, Listing, Moment,
    OpeningNote, Policy, Report, What, Why,
};

use crate::world::check;

#[test]
fn a_prefix_opens_if_door_and_rule_both_allow_its_width() {
    check(
        "+0 open knock 2001:db8::7 prefix=64
         +1 open knock 2001:db8::8 prefix=64
         +2 open knock 2001:db8::7
         +3 close knock 2001:db8::9 prefix=64
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 2001:db8::/64
            +0.0 knock ssh 2001:db8::/64: opened 10s
            +1.0   -> ssh extend 10s 2001:db8::/64
            +1.0 knock ssh 2001:db8::/64: extended 10s
            +2.0   -> ssh open 10s 2001:db8::7
            +2.0 knock ssh 2001:db8::7: opened 10s
            +3.0   -> ssh close 2001:db8::/64
            +3.0 knock ssh 2001:db8::/64: closed Asked
            +12.0   -> ssh expire 2001:db8::7
            +12.0 knock ssh 2001:db8::7: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn no_prefix_opens_that_is_too_wide_or_impossible_or_not_granted() {
    check(
        "+0 open knock 2001:db8::7 prefix=48
         +0 open knock 2001:db8::7 prefix=65
         +0 open knock 2001:db8::7 prefix=0
         +0 open knock 192.0.2.7 prefix=24
         +0 open knock 192.0.2.7 prefix=64
         +0 open brief 2001:db8::7 prefix=64
         +0 open knock 2001:db8::7 door=lamp prefix=64
         +0 open knock ::ffff:192.0.2.7 prefix=64
         +0 open knock 2001:db8::7 prefix=129
         +0 open knock 192.0.2.7 prefix=0
         +0 open knock 192.0.2.7 prefix=33
         +0 open knock 192.0.2.7 prefix=128
         +0 end",
        expect![[r#"
            +0.0 knock ssh 2001:db8::7: refused client-not-granted a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both
            +0.0 knock ssh 2001:db8::7: refused client-not-granted a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both
            +0.0 knock ssh 2001:db8::7: refused client-not-granted no prefix around an IPv6 source has this length: use 16 to 127, or 128 for the address alone
            +0.0 knock ssh 192.0.2.7: refused client-not-granted a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both
            +0.0 knock ssh 192.0.2.7: refused client-not-granted no prefix around an IPv4 source has this length: use 8 to 31, or 32 for the address alone
            +0.0 brief ssh 2001:db8::7: refused client-not-granted a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both
            +0.0 knock lamp 2001:db8::7: refused client-not-granted a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both
            +0.0 knock ssh ::ffff:192.0.2.7: refused client-not-granted there is no prefix around a link-local or IPv4-mapped source: leave prefix-length out
            +0.0 knock ssh 2001:db8::7: refused client-not-granted no prefix around an IPv6 source has this length: use 16 to 127, or 128 for the address alone
            +0.0 knock ssh 192.0.2.7: refused client-not-granted no prefix around an IPv4 source has this length: use 8 to 31, or 32 for the address alone
            +0.0 knock ssh 192.0.2.7: refused client-not-granted no prefix around an IPv4 source has this length: use 8 to 31, or 32 for the address alone
            +0.0 knock ssh 192.0.2.7: refused client-not-granted no prefix around an IPv4 source has this length: use 8 to 31, or 32 for the address alone
            +0.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_link_local_client_is_let_in_on_its_link() {
    check(
        "+0 open knock fe80::1%3
         +1 open knock fe80::1%4
         +2 open knock fe80::1%3 prefix=128
         +3 close knock fe80::1%4
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s fe80::1%3
            +0.0 knock ssh fe80::1%3: opened 10s
            +1.0   -> ssh open 10s fe80::1%4
            +1.0 knock ssh fe80::1%4: opened 10s
            +2.0   -> ssh extend 10s fe80::1%3
            +2.0 knock ssh fe80::1%3: extended 10s
            +3.0   -> ssh close fe80::1%4
            +3.0 knock ssh fe80::1%4: closed Asked
            +12.0   -> ssh expire fe80::1%3
            +12.0 knock ssh fe80::1%3: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_link_local_client_is_refused_without_its_link_and_where_links_are_not_told_apart() {
    check(
        "+0 open knock fe80::1
         +0 open knock fe80::1%3 door=lamp
         +0 open knock fe80::1%3 prefix=64
         +0 close knock fe80::1
         +0 end",
        expect![[r#"
            +0.0 knock ssh fe80::1: refused link-local the address is another machine's on another link, and it is not known on which link it knocked
            +0.0 knock lamp fe80::1%3: refused link-local the address is another machine's on another link, and the door cannot tell links apart
            +0.0 knock ssh fe80::1%3: refused client-not-granted there is no prefix around a link-local or IPv4-mapped source: leave prefix-length out
            +0.0 knock ssh fe80::1: refused link-local the address is another machine's on another link, and it is not known on which link it knocked
            +0.0 end: 0 openings, settled true
        "#]],
    );
}

/// A door whose widths are others now, or that fills a set.
#[test]
fn a_door_that_cannot_be_open_for_a_client_any_more_is_closed_for_it() {
    let remaining = Duration::from_secs(60);
    let policy = |id: u32, prefixes: &[&str], takes_links| {
        let door = DoorPolicy {
            name: "ssh".into(),
            lasts: remaining,
            keeps_time: true,
            durability: Durability::None,
            again: Again::Extend,
            prefixes: prefixes.iter().map(|width| width.parse().unwrap()).collect(),
            takes_links,
        };
        let doors = HashMap::from([(DoorId(id), door)]);
        Arc::new(Policy { doors, max_openings: 100, ..Policy::default() })
    };
    let mut engine = Engine::new(policy(1, &["ipv6/64", "ipv6/48"], true));
    let clients = ["192.0.2.7", "2001:db8::7", "2001:db8::/64", "2001:db8::/48", "fe80::7%3"];
    let listed = |client: &str| ListedOpening {
        door: DoorId(1),
        client: client.parse().unwrap(),
        remaining,
        note: OpeningNote::default(),
    };
    let listing = Listing { openings: clients.map(listed).into(), ..Listing::default() };
    engine.handle(Event::Listed(listing), Moment::default());
    let mut closed = |policy| {
        let actions = engine.handle(Event::PolicyChanged(policy), Moment::default());
        let client = |action: &Action| match action {
            Action::Tell(report @ Report { what: What::Closed { why: Why::Changed }, .. }) => {
                report.client.unwrap().to_string()
            }
            other => format!("{other:?}"),
        };
        actions.iter().map(client).collect::<Vec<_>>()
    };
    assert_eq!(closed(policy(2, &["ipv6/48"], true)), ["2001:db8::/64"]);
    assert_eq!(closed(policy(3, &[], false)), ["2001:db8::/48", "fe80::7%3"]);
    assert_eq!(engine.openings().count(), 2);
}
