//! Commands: which of a door's commands run for which kind of address, and what is said of it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use postern_tests::{Lab, SERVER4, SERVER6, eventually, tool};

use super::hit::{Hit, client, client6};
use super::pair::{Listener, Pair};
use super::section_without_commands;

/// A door of one step and its commands, and what comes of one packet to it.
struct Vector {
    door: &'static str,
    /// Where `DOOR` is its name.
    commands: &'static str,
    server: IpAddr,
    /// As in an account, without the door's name.
    ran: &'static [&'static str],
    /// What is said after OPEN SESAME; `DOOR` as above, and `CLIENT` is who knocked.
    said: &'static [&'static str],
}

/// Of the door that is waited for.
const CMD_TIMEOUT: Duration = Duration::from_secs(1);
const TIMED_OUT: &str = "timeout";

const ONLY_6: &str = "start_command_6 = echo DOOR start %IP% >> JOURNAL\n";
const RUNS_START: &str = "DOOR: running command: echo DOOR start CLIENT >> JOURNAL";

const VECTORS: [Vector; 5] = [
    Vector { door: "six-by-four", commands: ONLY_6, server: SERVER4, ran: &[], said: &[] },
    Vector { door: "six-by-six", commands: ONLY_6, server: SERVER6, ran: &["start"], said: &[RUNS_START] },
    Vector {
        door: "nostart",
        commands: "start_command =\nstop_command = echo DOOR stop %IP% >> JOURNAL\n",
        server: SERVER4,
        ran: &[],
        said: &[],
    },
    Vector {
        door: "fallback",
        commands: "start_command = echo DOOR start %IP% >> JOURNAL\n",
        server: SERVER6,
        ran: &["start"],
        said: &[RUNS_START],
    },
    Vector {
        door: "nostop",
        commands: "cmd_timeout = 1
start_command = echo DOOR start %IP% >> JOURNAL
stop_command = echo DOOR stop %IP% >> JOURNAL
stop_command_6 =
",
        server: SERVER6,
        ran: &["start", TIMED_OUT],
        said: &[RUNS_START, "CLIENT: DOOR: command timeout", "DOOR: running command: "],
    },
];

#[test]
fn commands_by_kind_of_address() {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let conf: String = (1..).zip(&VECTORS).map(|(number, vector)| vector.conf(number)).collect();
    let mut pair = Pair::start(&lab, &knockd, &conf);
    for (number, vector) in (1..).zip(&VECTORS) {
        let sent = Instant::now();
        let hit = Hit { client: 1, port: number.into(), flags: None };
        pair.send(&hit.frame(vector.client(number), vector.server));
        pair.settle();
        // When either was done, and so the one that waited less.
        let mut first = None;
        let told = || [&pair.knockd, &pair.postern].map(|listener| vector.told(number, listener));
        eventually(&format!("{:?}", vector.outcome(number)), || {
            let told = told();
            let is_done = told.each_ref().map(|told| *told == vector.outcome(number));
            if is_done.contains(&true) {
                first.get_or_insert_with(|| sent.elapsed());
            }
            (is_done == [true; 2]).then_some(())
        });
        if vector.ran.contains(&TIMED_OUT) {
            assert!(first >= Some(CMD_TIMEOUT), "{} after {first:?}", vector.door);
        }
    }
    // Nothing came late.
    pair.settle();
    for (number, vector) in (1..).zip(&VECTORS) {
        for listener in [&pair.knockd, &pair.postern] {
            assert_eq!(vector.told(number, listener), vector.outcome(number));
        }
    }
}

impl Vector {
    fn conf(&self, number: u8) -> String {
        let door = format!("{}={number}:udp", self.door);
        section_without_commands(&door, None) + &self.commands.replace("DOOR", self.door)
    }

    fn client(&self, number: u8) -> IpAddr {
        if self.server.is_ipv4() { client(number, 1) } else { client6(number, 1) }
    }

    /// What ran, and what is said of the door.
    fn told(&self, number: u8, listener: &Listener) -> (Vec<String>, Vec<String>) {
        let account = listener.accounts().remove(&self.client(number)).unwrap_or_default();
        (account.ran, listener.said_of(self.door))
    }

    /// What [`told`](Self::told) should become.
    fn outcome(&self, number: u8) -> (Vec<String>, Vec<String>) {
        let words =
            |text: &str| text.replace("DOOR", self.door).replace("CLIENT", &self.client(number).to_string());
        let said = ["CLIENT: DOOR: Stage 1", "CLIENT: DOOR: OPEN SESAME"].iter().chain(self.said);
        (
            self.ran.iter().map(|what| words(&format!("DOOR {what}"))).collect(),
            said.map(|line| words(line)).collect(),
        )
    }
}
