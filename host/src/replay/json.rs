//! Json: a replay for programs, an object a line: those of the log, each with its packet, and one for each packet.

use std::io;

use postern_capture::Shown;
use postern_core::{DropReason, Moment, Timestamp, Transport};
use postern_text::terminal;
use serde_json::{Map, Value, json};

use super::output::Output;
use super::rule_set::RuleSet;
use super::seen::{Seen, flags, time_of_day};
use super::tally::{Openings, Tally};
use super::teller::Told;
use crate::cli::ReplayArgs;

/// Writes objects to standard output.
pub(super) struct Json {
    lines: terminal::Lines,
    all: bool,
    first: Timestamp,
}

impl Json {
    /// Writes what is known before the first packet.
    pub(super) fn begin(args: &ReplayArgs, rules: &RuleSet) -> io::Result<Self> {
        let mut lines = terminal::Lines::of_stdout();
        let capture = args.capture.display().to_string();
        let local: Vec<_> = args.local.iter().map(ToString::to_string).collect();
        lines.json(json!({ "event": "replay", "capture": capture, "rules": rules.name, "local": local }))?;
        Ok(Self { lines, all: args.all, first: Timestamp::default() })
    }
}

impl Output for Json {
    fn later(&mut self, told: &[Told]) -> io::Result<()> {
        told.iter().try_for_each(|told| self.lines.json(Value::Object(object(told, self.first, None))))
    }

    fn packet(&mut self, seen: &Seen, told: &[Told]) -> io::Result<()> {
        if seen.number == 1 {
            self.first = seen.time;
        }
        if seen.drop.is_some() && told.is_empty() && !self.all {
            return Ok(());
        }
        self.lines.json(Value::Object(packet(seen)))?;
        let told = told.iter().map(|told| object(told, self.first, Some(seen)));
        told.map(Value::Object).try_for_each(|object| self.lines.json(object))
    }

    fn end(&mut self, tally: &Tally, openings: &Openings) -> io::Result<()> {
        let dropped: Map<_, _> = tally
            .drops(openings)
            .iter()
            .map(|(reason, count)| (reason.name().to_owned(), (*count).into()))
            .collect();
        let left = openings.left.iter().map(|(door, client, left)| {
            json!({ "door": **door, "src": Shown(*client).to_string(), "lasts_s": left.as_secs_f64() })
        });
        self.lines.json(json!({
            "event": "end",
            "at_s": tally.end.0.as_secs_f64(),
            "packets": tally.packets,
            "judged": tally.judged,
            "opened": openings.opened,
            "dropped": dropped,
            "open": left.collect::<Vec<_>>(),
        }))?;
        self.lines.flush()
    }
}

/// What was told, as the log's line would be, with its time and its packet.
pub(super) fn object(told: &Told, first: Timestamp, packet: Option<&Seen>) -> Map<String, Value> {
    let time = packet.map_or_else(|| first.plus(told.at.0), |packet| packet.time);
    let mut object = told.line.json(time_of_day(time));
    object.insert("at_s".to_owned(), seconds(told.at));
    if let Some(packet) = packet {
        object.insert("packet".to_owned(), packet.number.into());
    }
    object
}

/// A packet.
pub(super) fn packet(seen: &Seen) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    put("timestamp", time_of_day(seen.time).into());
    put("event", "packet".into());
    put("at_s", seconds(seen.at));
    put("packet", seen.number.into());
    put("length", seen.length.into());
    if let Some(knock) = &seen.knock {
        put("src", knock.source.to_string().into());
        put("dst", knock.destination.to_string().into());
        put("transport", knock.transport.to_string().into());
        match knock.transport {
            Transport::Tcp | Transport::Udp => {
                put("src_port", knock.source_port.into());
                put("dst_port", knock.destination_port.into());
            }
            Transport::Icmp | Transport::Icmpv6 => {
                put("type", knock.destination_port.into());
                put("code", knock.source_port.into());
            }
        }
        if knock.transport == Transport::Tcp {
            put("flags", flags(knock.tcp_flags).collect::<Vec<_>>().into());
        }
    }
    if let Some(reason) = seen.drop {
        put("drop", DropReason::name(reason).into());
    }
    object
}

fn seconds(at: Moment) -> Value {
    at.0.as_secs_f64().into()
}
