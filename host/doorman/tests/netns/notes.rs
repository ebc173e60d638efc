//! What the kernel keeps with an opening, and brings back to whoever lists it.

use std::time::Duration;

use postern_core::{Act, DoorId, GuardDoor, GuardProtocol, MOST_NOTE, NetDoor, OnClose, OpeningNote};
use postern_doorman::{Doorman, NotedOrder};

use crate::world::{CLIENT4, CLIENT6, HOST4, NEIGHBOUR4, World, nft, run};
use crate::{MINUTE, SSH, guard, listen, must, order, postern_table, remaining, set, start, start_next};

const WEB: DoorId = DoorId(3);
const PLAIN: &str = "table ip filter {
    set web { type ipv4_addr; flags timeout; }
}";

fn note(bytes: &[u8]) -> OpeningNote {
    OpeningNote::from_bytes(bytes).unwrap()
}

fn doors() -> [(DoorId, NetDoor); 2] {
    let NetDoor::Guard(ssh) = guard(&[(GuardProtocol::Tcp, 22)], OnClose::Keep) else { unreachable!() };
    let prefixes = vec!["ipv6/64".parse().unwrap()];
    [(SSH, NetDoor::Guard(GuardDoor { prefixes, ..ssh })), (WEB, set(&["ip filter web"]))]
}

#[track_caller]
fn say(doorman: &mut Doorman, door: DoorId, client: &str, act: Act, note: &OpeningNote) {
    let noted = NotedOrder { order: order(door, client, act), note: note.clone() };
    let receipts = doorman.carry_out_noted(&[noted]);
    receipts[0].outcome.clone().unwrap();
}

/// What is noted with an opening; none if there is none.
fn noted(doorman: &mut Doorman, door: DoorId, client: &str) -> Option<OpeningNote> {
    let openings = doorman.list().unwrap().openings;
    let client = client.parse().unwrap();
    let mut openings = openings.into_iter();
    openings.find(|opening| (opening.door, opening.client) == (door, client)).map(|opening| opening.note)
}

#[test]
fn a_note_is_kept_with_its_opening_by_whatever_doorman_and_goes_with_it() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    nft(PLAIN);
    let (mut doorman, _) = start(&doors()).unwrap();
    for (door, client) in [(SSH, CLIENT4), (SSH, CLIENT6), (SSH, "fd77::/64"), (WEB, CLIENT4)] {
        must(&mut doorman, door, client, Act::Open(MINUTE));
        assert_eq!(noted(&mut doorman, door, client), Some(OpeningNote::default()));
        for (n, length) in (1..).zip([1, 29, MOST_NOTE, 2]) {
            let note = note(&vec![n; length]);
            say(&mut doorman, door, client, Act::Extend(MINUTE), &note);
            assert_eq!(noted(&mut doorman, door, client), Some(note), "{client}: {length}");
            let left = remaining(&mut doorman, door, client).unwrap();
            assert!(left > MINUTE / 2 && left <= MINUTE, "{left:?}");
        }
        must(&mut doorman, door, client, Act::Extend(MINUTE));
        assert_eq!(noted(&mut doorman, door, client), Some(OpeningNote::default()), "the last counts");
        say(&mut doorman, door, client, Act::Open(MINUTE), &note(&door.0.to_le_bytes()));
    }
    // It changes nothing for packets, and they are counted on.
    world.must_connect(CLIENT4, (HOST4, 22));
    let client = CLIENT4.parse().unwrap();
    let before = doorman.packets(SSH, client).unwrap();
    say(&mut doorman, SSH, CLIENT4, Act::Extend(MINUTE), &note(&[9; MOST_NOTE]));
    assert!(before > 0 && doorman.packets(SSH, client).unwrap() >= before);
    drop(doorman);

    let (mut next, _) = start_next(&doors());
    assert_eq!(noted(&mut next, SSH, CLIENT4), Some(note(&[9; MOST_NOTE])));
    for (door, client) in [(SSH, CLIENT6), (SSH, "fd77::/64"), (WEB, CLIENT4)] {
        assert_eq!(noted(&mut next, door, client), Some(note(&door.0.to_le_bytes())), "{client}");
        must(&mut next, door, client, Act::Close);
        assert_eq!(noted(&mut next, door, client), None);
    }
}

#[test]
fn many_have_notes_at_once_and_one_order_that_fails_costs_no_other_its_own() {
    let Some(_world) = World::new() else { return };
    let (mut doorman, _) = start(&doors()[..1]).unwrap();
    let client = |n: u32| format!("10.78.{}.{}", n / 250, n % 250 + 1);
    let orders = (0..500).map(|n| {
        // No such door.
        let door = if n == 250 { WEB } else { SSH };
        NotedOrder { order: order(door, &client(n), Act::Open(MINUTE)), note: note(&n.to_be_bytes()) }
    });
    let receipts = doorman.carry_out_noted(&orders.collect::<Vec<_>>());
    assert_eq!(receipts.iter().filter(|receipt| receipt.outcome.is_err()).count(), 1);
    let openings = doorman.list().unwrap().openings;
    assert_eq!(openings.len(), 499);
    for n in (0..500).filter(|n| *n != 250) {
        let client = client(n).parse().unwrap();
        let found = openings.iter().find(|opening| opening.client == client).unwrap();
        assert_eq!(found.note, note(&n.to_be_bytes()));
    }
}

#[test]
fn nft_reads_what_has_a_note_and_what_others_keep_is_no_note() {
    let Some(_world) = World::new() else { return };
    nft(PLAIN);
    let (mut doorman, _) = start(&doors()).unwrap();
    for (door, client) in [(SSH, CLIENT4), (WEB, CLIENT4)] {
        say(&mut doorman, door, client, Act::Open(MINUTE), &note(&[0xab; MOST_NOTE]));
    }
    let table = postern_table();
    assert!(table.contains(CLIENT4), "{table}");
    // As whoever saves a ruleset and loads it again has it.
    let saved = run("nft list table ip filter");
    assert!(saved.contains(CLIENT4) && !saved.contains("comment"), "{saved}");
    nft("delete table ip filter");
    nft(&saved);
    assert_eq!(noted(&mut doorman, WEB, CLIENT4), Some(OpeningNote::default()), "nft saves no notes");
    nft(&format!("add element ip filter web {{ {NEIGHBOUR4} timeout 1m comment \"of mine\" }}"));
    assert_eq!(noted(&mut doorman, WEB, NEIGHBOUR4), Some(OpeningNote::default()));
    assert!(remaining(&mut doorman, WEB, NEIGHBOUR4).unwrap() > Duration::from_secs(30));
}
