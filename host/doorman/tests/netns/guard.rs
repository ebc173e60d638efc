//! The table `inet postern`: what it looks like, whose it is, and what it survives.

use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use postern_core::{Act, ConfigIdentity, DoorId, GuardProtocol, OnClose, Unprotected};
use postern_doorman::{Changes, Doorman, DoormanError, Posture, Release, reset};

use crate::world::{CLIENT4, CLIENT6, HOST4, NEIGHBOUR4, World, nft, run, try_nft, wait_until};
use crate::{
    MINUTE, SSH, guard, identity, listen, must, postern_table, remaining, say, set_doors, ssh, start,
    start_next,
};

#[test]
fn nft_shows_the_table_as_documented() {
    let Some(_world) = World::new() else { return };
    let door = (DoorId(2), guard(&[(GuardProtocol::Udp, 51820)], OnClose::Cut));
    let (_doorman, posture) = start(&[ssh(), door]).unwrap();
    assert_eq!(posture, Posture::Owned);
    let rules = "iifname \"lo\" accept
        meta l4proto . th dport vmap @ports
        }";
    let sets = |name: &str| {
        format!(
            "set door.{name}.ip {{
            type ipv4_addr
            flags timeout
            counter
            }}
            set door.{name}.ip6 {{
            type ipv6_addr
            flags timeout
            counter
            }}
            set door.{name}.link {{
            type ifname . ipv6_addr
            flags timeout
            counter
            }}"
        )
    };
    let chain = |name: &str, last: &str| {
        format!(
            "chain door.{name} {{
            ip saddr @door.{name}.ip accept
            ip6 saddr @door.{name}.ip6 accept
            iifname . ip6 saddr @door.{name}.link accept
            {last}counter packets 0 bytes 0 drop
            }}"
        )
    };
    let (ssh_sets, vpn_sets) = (sets("tcp-22"), sets("udp-51820"));
    let (ssh_chain, vpn_chain) = (chain("tcp-22", "ct state 0x2 accept\n"), chain("udp-51820", ""));
    let expected = format!(
        "set config.00c0ffee {{
        type mark
        comment \"/etc/postern/postern.toml\"
        }}
        {ssh_sets}
        {vpn_sets}
        map ports {{
        type inet_proto . inet_service : verdict
        flags interval
        elements = {{ 6 . 22 : jump door.tcp-22,
        17 . 51820 : jump door.udp-51820 }}
        }}
        {ssh_chain}
        {vpn_chain}
        chain prerouting {{
        type filter hook prerouting priority -150; policy accept;
        fib daddr type != 2 accept
        {rules}
        chain input {{
        type filter hook input priority -10; policy accept;
        {rules}
        }}"
    );
    let trim = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    let shown = trim(&postern_table());
    assert!(shown.ends_with(&trim(&expected)), "shown:\n{shown}\nexpected:\n{}", trim(&expected));
}

#[test]
fn the_next_doorman_takes_over_what_is_open() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (mut first, _) = start(&[ssh()]).unwrap();
    must(&mut first, SSH, CLIENT4, Act::Open(MINUTE));
    must(&mut first, SSH, CLIENT6, Act::Open(2 * MINUTE));
    let before = postern_table();
    let first_left = remaining(&mut first, SSH, CLIENT4).unwrap();
    drop(first);
    world.must_connect(CLIENT4, (HOST4, 22));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));

    let (mut second, posture) = start(&[ssh()]).unwrap();
    assert_eq!(posture, Posture::Owned);
    world.must_connect(CLIENT4, (HOST4, 22));
    let left = remaining(&mut second, SSH, CLIENT4).unwrap();
    assert!(left <= first_left && left > MINUTE / 2, "{left:?} after {first_left:?}");
    assert!(remaining(&mut second, SSH, CLIENT6).unwrap() > MINUTE);
    assert_eq!(rules(&postern_table()), rules(&before));
    must(&mut second, SSH, CLIENT4, Act::Close);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
}

#[test]
fn a_second_living_doorman_is_refused() {
    let Some(_world) = World::new() else { return };
    let (first, _) = start(&[ssh()]).unwrap();
    let error = start(&[ssh()]).err().unwrap();
    let words = "another posternd owns the table inet postern for the configuration /etc/postern/postern.toml; stop it first";
    assert_eq!(error.to_string(), words);
    assert!(matches!(reset(identity()), Err(DoormanError::Owned(_))));
    let (second, posture) = start(&[]).unwrap();
    assert_eq!(posture, Posture::Unguarded);
    drop((first, second));
    start_next(&[ssh()]);
}

#[test]
fn nobody_else_can_take_the_table_away() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (mut doorman, _) = start(&[ssh()]).unwrap();
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    nft("add table inet other");
    nft("flush ruleset");
    assert!(!run("nft list tables").contains("other"));
    for script in
        ["delete table inet postern", "add element inet postern door.tcp-22.ip { 10.77.0.3 timeout 1h }"]
    {
        let error = try_nft(script).unwrap_err();
        assert!(error.contains("Operation not permitted"), "{error}");
    }
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    world.must_connect(CLIENT4, (HOST4, 22));
    assert_eq!(doorman.posture(), Posture::Owned);
}

#[test]
fn a_table_without_owner_is_watched_and_put_back() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    nft("add table inet postern");
    let (mut doorman, posture) = start(&[ssh()]).unwrap();
    assert_eq!(posture, Posture::Plain(Unprotected::Found));
    let mut changes = Changes::watch(doorman.port_id()).unwrap();
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    assert!(!changes.drain(), "its own change");
    nft("add table inet other; add set inet other s { type mark; }");
    assert!(changes.drain());
    nft("add element inet other s { 1 }");
    assert!(!changes.drain(), "an addition to a set takes nothing away");

    nft("flush ruleset");
    assert!(changes.drain());
    assert!(!changes.drain());
    assert_eq!(doorman.list().unwrap().openings, []);
    let refused = say(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE)).unwrap_err();
    assert_eq!(refused, "the table inet postern is gone; another program removed it");
    must(&mut doorman, SSH, CLIENT4, Act::Close);
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
    // What nobody owns any more can be owned.
    assert_eq!(doorman.restore_table().unwrap().0, Posture::Owned);
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    world.must_connect(CLIENT4, (HOST4, 22));
}

#[test]
fn lost_news_are_a_change() {
    let Some(_world) = World::new() else { return };
    let (doorman, _) = start(&[ssh()]).unwrap();
    let mut changes = Changes::watch(doorman.port_id()).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&changes, 1).unwrap();
    nft("add table inet other; add set inet other s { type mark; }");
    changes.drain();
    for _ in 0..64 {
        nft(
            "add element inet other s { 1 }; flush set inet other s; delete set inet other s; add set inet other s { type mark; }",
        );
    }
    assert!(changes.drain());
}

#[test]
fn a_reload_keeps_what_stays() {
    let Some(world) = World::new() else { return };
    let (_ssh, _web) = (listen(22), listen(80));
    let web = |id| (DoorId(id), guard(&[(GuardProtocol::Tcp, 80)], OnClose::Cut));
    let (mut doorman, _) = start(&[ssh()]).unwrap();
    must(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE));
    world.must_connect(NEIGHBOUR4, (HOST4, 80));

    set_doors(&mut doorman, &[ssh(), web(2)]).unwrap();
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 80));
    world.must_connect(CLIENT4, (HOST4, 22));
    assert!(postern_table().contains("6 . 80 : jump door.tcp-80"), "{}", postern_table());

    // A mistake changes nothing.
    let error = set_doors(&mut doorman, &[web(2), (DoorId(3), guard(&[], OnClose::Keep))]).unwrap_err();
    assert_eq!(error.to_string(), "it guards no port; name at least one");
    must(&mut doorman, SSH, CLIENT4, Act::Extend(MINUTE));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));

    set_doors(&mut doorman, &[web(2)]).unwrap();
    world.must_connect(NEIGHBOUR4, (HOST4, 22));
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 80));
    let error = say(&mut doorman, SSH, CLIENT4, Act::Open(MINUTE)).unwrap_err();
    assert_eq!(error, "it is not in the packet filter any more");

    set_doors(&mut doorman, &[]).unwrap();
    world.must_connect(NEIGHBOUR4, (HOST4, 80));
    set_doors(&mut doorman, &[ssh()]).unwrap();
    world.must_hear_nothing(NEIGHBOUR4, (HOST4, 22));
}

#[test]
fn a_port_that_stays_guarded_is_never_open_during_reloads() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let (mut doorman, _) = start(&[ssh()]).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let tries = std::thread::scope(|scope| {
        let stop = stop;
        let tries = scope.spawn(|| {
            world.on_client(move || {
                let mut tries = 0;
                while stopped.try_recv() == Err(TryRecvError::Empty) {
                    let target = (HOST4.parse::<std::net::IpAddr>().unwrap(), 22).into();
                    let reach =
                        crate::world::reach(NEIGHBOUR4.parse().unwrap(), target, Duration::from_millis(2));
                    assert!(matches!(reach, crate::world::Reach::Silence), "{reach:?}");
                    tries += 1;
                }
                tries
            })
        });
        for round in 0..200 {
            let ports: Vec<_> = (0..=round % 7).map(|port| (GuardProtocol::Tcp, 1000 + port)).collect();
            set_doors(&mut doorman, &[ssh(), (DoorId(2), guard(&ports, OnClose::Cut))]).unwrap();
            doorman.restore_table().unwrap();
        }
        drop(stop);
        tries.join().unwrap()
    });
    assert!(tries > 20, "only {tries} tries");
}

#[test]
fn without_guard_doors_a_table_is_let_go_of_only_by_its_own_configuration_when_that_is_whole() {
    let Some(world) = World::new() else { return };
    let _ssh = listen(22);
    let begin = |identity: Option<ConfigIdentity>, release| {
        Doorman::start(identity, &[], release).unwrap().0.posture()
    };
    assert_eq!(begin(Some(identity()), Release::Now), Posture::Unguarded);
    assert!(!run("nft list tables").contains("postern"));
    drop(start(&[ssh()]).unwrap());
    let other = ConfigIdentity::new("0ther", "/etc/other.toml");
    assert_eq!(begin(None, Release::Now), Posture::Unguarded);
    assert_eq!(begin(Some(other), Release::Now), Posture::Unguarded);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    assert_eq!(begin(Some(identity()), Release::Later), Posture::Owned);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    assert_eq!(begin(Some(identity()), Release::Now), Posture::Unguarded);
    assert!(!run("nft list tables").contains("postern"));
    world.must_connect(CLIENT4, (HOST4, 22));
}

#[test]
fn what_another_configuration_guards_is_left_to_it() {
    let Some(world) = World::new() else { return };
    let (_ssh, _web) = (listen(22), listen(80));
    drop(start(&[ssh()]).unwrap());
    let other = || ConfigIdentity::new("0ther", "/etc/other.toml");
    let web = (DoorId(2), guard(&[(GuardProtocol::Tcp, 80)], OnClose::Keep));
    let error = Doorman::start(Some(other()), &[web], Release::Now).err().unwrap();
    let words = "the table inet postern guards ports for another configuration, /etc/postern/postern.toml; \
                 start its daemon, or give its ports up with `posternd reset --config /etc/postern/postern.toml`";
    assert_eq!(error.to_string(), words);
    assert_eq!(reset(other()).unwrap_err().to_string(), words);
    world.must_hear_nothing(CLIENT4, (HOST4, 22));
    let (_doorman, posture) = start(&[ssh()]).unwrap();
    assert_eq!(posture, Posture::Owned);
}

#[test]
fn a_reset_removes_the_table() {
    let Some(_world) = World::new() else { return };
    assert!(!reset(identity()).unwrap());
    drop(start(&[ssh()]).unwrap());
    assert!(reset(identity()).unwrap());
    wait_until("the table is gone", || !run("nft list tables").contains("postern"));
}

#[test]
fn many_ports_can_be_guarded() {
    let Some(_world) = World::new() else { return };
    let door = |id: u32, first: u16, count: u16| {
        let ports: Vec<_> = (first..first + count).map(|port| (GuardProtocol::Tcp, port)).collect();
        (DoorId(id), guard(&ports, OnClose::Cut))
    };
    let mut doors: Vec<_> = (0..32).map(|id| door(id, 1000 + 64 * u16::try_from(id).unwrap(), 64)).collect();
    let (mut doorman, _) = start(&doors).unwrap();
    set_doors(&mut doorman, &doors[1..]).unwrap();
    doors.push(door(32, 10_000, 1));
    let error = set_doors(&mut doorman, &doors).unwrap_err();
    let words = "with it more than 2048 ports and ranges are guarded, all doors together; guard ranges instead of single ports";
    assert_eq!(error.to_string(), words);
    must(&mut doorman, DoorId(5), CLIENT6, Act::Open(MINUTE));
    assert_eq!(postern_table().matches(CLIENT6).count(), 1, "one element opens all ports");
    must(&mut doorman, DoorId(5), CLIENT6, Act::Close);
    assert_eq!(doorman.list().unwrap().openings, []);
}

/// The chains with their rules, without counts.
fn rules(table: &str) -> Vec<&str> {
    table
        .lines()
        .skip_while(|line| !line.contains("chain"))
        .map(|line| line.split(" packets").next().unwrap())
        .collect()
}
