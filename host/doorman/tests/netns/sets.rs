//! Set doors: sets in a ruleset of the user's own.

use postern_core::{Act, DoorId};
use postern_doorman::{DoormanError, Posture, check_sets};

use crate::world::{CLIENT4, CLIENT6, HOST4, HOST6, NEIGHBOUR4, NEIGHBOUR6, World, nft, run};
use crate::{MINUTE, listen, must, remaining, say, set, start};

const WEB: DoorId = DoorId(3);

const DEFAULT_DROP: &str = "table inet filter {
    set web4 { type ipv4_addr; flags timeout; }
    set web6 { typeof ip6 saddr; flags timeout, dynamic; timeout 5m; }
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        tcp dport 80 ip saddr @web4 accept
        tcp dport 80 ip6 saddr @web6 accept
    }
}";

#[test]
fn a_set_door_lets_through_a_default_drop() {
    let Some(world) = World::new() else { return };
    let _web = listen(80);
    nft(DEFAULT_DROP);
    let door = (WEB, set(&["inet filter web4", "inet filter web6"]));
    let (mut doorman, posture) = start(&[door]).unwrap();
    assert_eq!(posture, Posture::Unguarded);
    for (host, client, neighbour) in [(HOST4, CLIENT4, NEIGHBOUR4), (HOST6, CLIENT6, NEIGHBOUR6)] {
        world.must_hear_nothing(client, (host, 80));
        must(&mut doorman, WEB, client, Act::Open(MINUTE));
        world.must_connect(client, (host, 80));
        world.must_hear_nothing(neighbour, (host, 80));
        let left = remaining(&mut doorman, WEB, client).unwrap();
        assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
        must(&mut doorman, WEB, client, Act::Close);
        world.must_hear_nothing(client, (host, 80));
        must(&mut doorman, WEB, client, Act::Close);
    }
    assert!(!run("nft list tables").contains("postern"));
}

#[test]
fn what_the_user_put_in_for_ever_is_not_an_opening() {
    let Some(_world) = World::new() else { return };
    nft(DEFAULT_DROP);
    nft("add element inet filter web4 { 10.77.0.9 timeout 0s, 10.77.0.8 timeout 1h }");
    let (mut doorman, _) = start(&[(WEB, set(&["inet filter web4"]))]).unwrap();
    let clients: Vec<_> =
        doorman.list().unwrap().openings.iter().map(|opening| opening.client.to_string()).collect();
    assert_eq!(clients, ["10.77.0.8"]);
}

#[test]
fn a_set_that_goes_away_is_told_in_words() {
    let Some(_world) = World::new() else { return };
    nft(DEFAULT_DROP);
    let (mut doorman, _) = start(&[(WEB, set(&["inet filter web4"]))]).unwrap();
    must(&mut doorman, WEB, CLIENT4, Act::Open(MINUTE));
    nft("flush ruleset");
    let error = say(&mut doorman, WEB, CLIENT4, Act::Open(MINUTE)).unwrap_err();
    assert_eq!(error, "the set inet filter web4 is gone; reload the ruleset that declares it");
    must(&mut doorman, WEB, CLIENT4, Act::Close);
    assert_eq!(doorman.list().unwrap().openings, []);
    nft(DEFAULT_DROP);
    must(&mut doorman, WEB, CLIENT4, Act::Open(MINUTE));
}

#[test]
fn every_mistake_in_sets_is_told_at_once() {
    let Some(_world) = World::new() else { return };
    nft("table inet filter {
            set no_timeout { type ipv4_addr; }
            set ranges { type ipv4_addr; flags interval, timeout; }
            set pairs { type ipv4_addr . inet_service; flags timeout; }
            set ports { type inet_service; flags timeout; }
            set marks { type mark; flags timeout; }
            set fixed { type ipv4_addr; flags constant; }
            map to_port { type ipv4_addr : inet_service; flags timeout; }
            set good4 { type ipv4_addr; flags timeout; }
            set also4 { type ipv4_addr; flags timeout; }
            set good6 { type ipv6_addr; flags timeout; }
        }");
    let doors = [
        set(&["inet nowhere a"]),
        set(&["inet filter nothing", "ip filter good4"]),
        set(&["inet filter no_timeout"]),
        set(&["inet filter ranges"]),
        set(&["inet filter pairs", "inet filter ports"]),
        set(&["inet filter marks"]),
        set(&["inet filter fixed"]),
        set(&["inet filter to_port"]),
        set(&["inet filter good4", "inet filter also4"]),
        set(&["inet filter good6"]),
    ];
    let doors: Vec<_> = (0..).map(DoorId).zip(doors).collect();
    let told: Vec<_> =
        check_sets(&doors).iter().map(|(door, mistake)| format!("{} {mistake}", door.0)).collect();
    let expected = [
        "0 there is no set inet nowhere a; declare it in your ruleset: type ipv4_addr (or ipv6_addr), flags timeout",
        "1 there is no set inet filter nothing; declare it in your ruleset: type ipv4_addr (or ipv6_addr), flags timeout",
        "1 there is no set ip filter good4; declare it in your ruleset: type ipv4_addr (or ipv6_addr), flags timeout",
        "2 the set inet filter no_timeout has no timeouts, so an opening would never end; declare it with: flags timeout",
        "3 the set inet filter ranges holds intervals, which are slow to change; declare it without: flags interval",
        "4 the set inet filter pairs does not hold plain addresses; declare it with: type ipv4_addr, or: type ipv6_addr",
        "4 the set inet filter ports does not hold plain addresses; declare it with: type ipv4_addr, or: type ipv6_addr",
        "5 the set inet filter marks does not hold plain addresses; declare it with: type ipv4_addr, or: type ipv6_addr",
        "6 the set inet filter fixed is constant; declare it without: flags constant",
        "7 inet filter to_port is a map, not a set; declare a set",
        "8 the sets inet filter good4 and inet filter also4 are both for IPv4 addresses; name one for IPv4 and one for IPv6",
    ];
    assert_eq!(told, expected);
    let Err(DoormanError::Doors(refused)) = start(&doors) else { panic!("doors without sets") };
    let refused: Vec<_> = refused.iter().map(|(door, mistake)| format!("{} {mistake}", door.0)).collect();
    assert_eq!(refused, expected);
}

#[test]
fn a_table_of_another_owner_is_told() {
    let Some(_world) = World::new() else { return };
    // An owner must live: another doorman, whose set a user could name.
    let (_other, _) = start(&[crate::ssh()]).unwrap();
    let told = check_sets(&[(WEB, set(&["inet postern door.tcp-22.link"]))]);
    assert!(told[0].1.to_string().contains("does not hold plain addresses"), "{}", told[0].1);
    let mut owner =
        std::process::Command::new("nft").arg("-i").stdin(std::process::Stdio::piped()).spawn().unwrap();
    use std::io::Write as _;
    let script =
        b"add table inet theirs { flags owner; }\nadd set inet theirs s { type ipv4_addr; flags timeout; }\n";
    owner.stdin.as_mut().unwrap().write_all(script).unwrap();
    crate::world::wait_until("nft has made its set", || run("nft list sets").contains("inet theirs"));
    let told = check_sets(&[(WEB, set(&["inet theirs s"]))]);
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].1.to_string().contains("is owned by another program"), "{}", told[0].1);
}
