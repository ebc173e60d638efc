//! The doorman against a real kernel, with real packets, in network namespaces of its own.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod world;

mod adoption;
mod clients;
mod connections;
mod doors;
mod guard;
mod notes;
mod other_filters;
mod packets;
mod redirections;
mod sets;
mod trial;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use postern_core::{
    Act, ConfigIdentity, DoorId, GuardDoor, GuardProtocol, NetDoor, OnClose, Order, PortRange,
};
use postern_doorman::{Doorman, DoormanError, KeptConnections, Posture, Release};

use crate::world::run;

const SSH: DoorId = DoorId(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A guard door of these ports, named after the first.
fn guard(ports: &[(GuardProtocol, u16)], on_close: OnClose) -> NetDoor {
    let name =
        ports.first().map_or_else(|| "none".to_owned(), |(protocol, port)| format!("{protocol}-{port}"));
    let ports = ports.iter().map(|(protocol, port)| PortRange::single(*protocol, *port)).collect();
    NetDoor::Guard(GuardDoor { name: name.into(), ports, always: Vec::new(), prefixes: Vec::new(), on_close })
}

/// The configuration that the tests' doormen are for.
fn identity() -> ConfigIdentity {
    ConfigIdentity::new("00c0ffee", "/etc/postern/postern.toml")
}

/// Starts a doorman that may let go of what nobody guards any more.
fn start(doors: &[(DoorId, NetDoor)]) -> Result<(Doorman, Posture), DoormanError> {
    let (doorman, _) = Doorman::start(Some(identity()), doors, Release::Now)?;
    let posture = doorman.posture();
    Ok((doorman, posture))
}

/// As [`start`], right behind the end of another doorman: the kernel lets go of the table a moment after its owner is gone.
fn start_next(doors: &[(DoorId, NetDoor)]) -> (Doorman, Posture) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match start(doors) {
            Ok(started) => return started,
            Err(error) => {
                assert!(matches!(error, DoormanError::Owned(_)) && Instant::now() < end, "{error}");
            }
        }
    }
}

fn set_doors(doorman: &mut Doorman, doors: &[(DoorId, NetDoor)]) -> Result<KeptConnections, DoormanError> {
    doorman.set_doors(doors, Release::Now)
}

fn ssh() -> (DoorId, NetDoor) {
    (SSH, guard(&[(GuardProtocol::Tcp, 22)], OnClose::Keep))
}

fn set(sets: &[&str]) -> NetDoor {
    NetDoor::Set { sets: sets.iter().map(|set| set.parse().unwrap()).collect() }
}

fn order(door: DoorId, client: &str, act: Act) -> Order {
    Order { serial: 7, door, client: client.parse().unwrap(), occurrence: 0, act }
}

/// Gives one order and expects it to be carried out.
fn must(doorman: &mut Doorman, door: DoorId, client: &str, act: Act) {
    say(doorman, door, client, act).unwrap();
}

/// Gives one order and returns the outcome.
fn say(doorman: &mut Doorman, door: DoorId, client: &str, act: Act) -> Result<(), String> {
    let receipts = doorman.carry_out(&[order(door, client, act)]);
    assert_eq!((receipts.len(), receipts[0].serial), (1, 7));
    receipts[0].outcome.clone().map_err(|error| error.to_string())
}

/// What the kernel says remains of an opening.
fn remaining(doorman: &mut Doorman, door: DoorId, client: &str) -> Option<Duration> {
    let client = client.parse::<postern_core::Client>().unwrap();
    let openings = doorman.list().unwrap().openings;
    openings
        .iter()
        .find(|opening| opening.door == door && opening.client == client)
        .map(|opening| opening.remaining)
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("::", port)).unwrap()
}

fn postern_table() -> String {
    run("nft -nn list table inet postern")
}
