//! Comparison: where two sets of rules disagree about the same packets.

use std::collections::{HashMap, VecDeque};
use std::io;

use postern_core::Timestamp;
use postern_text::terminal;
use serde_json::{Value, json};

use super::audience::Audience;
use super::json;
use super::rule_set::RuleSet;
use super::seen::{Offset, Seen};
use super::tally::{Openings, Tally};
use super::teller::{Told, Turn};
use super::text::{PacketLine, counted};
use crate::cli::ReplayArgs;

/// What stands before what only one of them tells.
const SIGNS: [char; 2] = ['-', '+'];
/// The same for programs.
const SIDES: [&str; 2] = ["first", "second"];

/// Writes to standard output what only one of two replicas tells.
pub(super) struct Comparison {
    lines: terminal::Lines,
    is_json: bool,
    first: Timestamp,
    /// Packets at which they disagree.
    packets: u64,
    /// Times between packets at which they disagree.
    others: u64,
}

impl Comparison {
    /// Of what these tell.
    pub(super) fn new(rules: [&RuleSet; 2], args: &ReplayArgs) -> io::Result<Self> {
        let mut lines = terminal::Lines::of_stdout();
        let [one, other] = rules.map(|rules| &*rules.name);
        if args.json {
            let capture = args.capture.display().to_string();
            lines.json(json!({ "event": "compare", "capture": capture, "first": one, "second": other }))?;
        } else {
            lines.line(format_args!("--- {one}"))?;
            lines.line(format_args!("+++ {other}"))?;
        }
        Ok(Self { lines, is_json: args.json, first: Timestamp::default(), packets: 0, others: 0 })
    }

    /// Whether they have agreed so far.
    pub(super) const fn agrees(&self) -> bool {
        self.packets == 0 && self.others == 0
    }

    fn tell(&mut self, only: [Vec<&Told>; 2], packet: Option<&Seen>) -> io::Result<()> {
        for ((told, sign), side) in only.into_iter().zip(SIGNS).zip(SIDES) {
            for told in told {
                if self.is_json {
                    let mut object = json::object(told, self.first, packet);
                    object.insert("only".to_owned(), side.into());
                    self.lines.json(Value::Object(object))?;
                } else if packet.is_some() {
                    self.lines.line(format_args!("{sign} {}", told.line.words))?;
                } else {
                    self.lines.line(format_args!("{sign} {} {}", Offset(told.at), told.line.words))?;
                }
            }
        }
        Ok(())
    }
}

impl Audience for Comparison {
    fn later(&mut self, told: &[Vec<Told>]) -> io::Result<()> {
        let only = only(told);
        if only.iter().any(|only| !only.is_empty()) {
            self.others += 1;
            self.tell(only, None)?;
        }
        Ok(())
    }

    fn packet(&mut self, seen: &Seen, told: &[Vec<Told>]) -> io::Result<()> {
        if seen.number == 1 {
            self.first = seen.time;
        }
        let only = only(told);
        if only.iter().any(|only| !only.is_empty()) {
            self.packets += 1;
            if self.is_json {
                // Whether any rule was asked is each one's own matter.
                let mut object = json::packet(seen);
                object.remove("drop");
                self.lines.json(Value::Object(object))?;
            } else {
                self.lines.line(PacketLine { seen, says_why: false })?;
            }
            self.tell(only, Some(seen))?;
        }
        Ok(())
    }

    fn end(&mut self, tally: &Tally, _openings: &[Openings]) -> io::Result<()> {
        let Self { packets, others, .. } = *self;
        if self.is_json {
            let end = json!({ "event": "end", "packets": tally.packets, "differ": packets, "differ_between": others });
            self.lines.json(end)?;
        } else {
            let all = counted(tally.packets, "packet");
            self.lines.line(match (packets, others) {
                (0, 0) => format!("they agree on {all}"),
                (packets, 0) => format!("they disagree at {packets} of {all}"),
                (packets, others) => format!(
                    "they disagree at {packets} of {all}, and at {} between packets",
                    counted(others, "time")
                ),
            })?;
        }
        self.lines.flush()
    }
}

/// What only the one and only the other tells, each in its order. Whether a rule asked for a packet that it ignores is no difference, nor is by
/// which module it said something.
fn only(told: &[Vec<Told>]) -> [Vec<&Told>; 2] {
    let [one, other] = told else { return [Vec::new(), Vec::new()] };
    let counts = |told: &&Told| told.turn != Turn::Ignored;
    let mut others: Vec<Option<&Told>> = other.iter().filter(counts).map(Some).collect();
    // All that is open at the end of a capture may be told at once.
    let mut places: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (place, told) in others.iter().enumerate() {
        places.entry(told.map_or("", |told| &told.line.words)).or_default().push_back(place);
    }
    let mut only = Vec::new();
    for told in one.iter().filter(counts) {
        let same = places.get_mut(&*told.line.words).and_then(|places| {
            let is_same = |place: &usize| others[*place].is_some_and(|other| is_same(told, other));
            places.iter().position(is_same).and_then(|place| places.remove(place))
        });
        match same {
            Some(place) => others[place] = None,
            None => only.push(told),
        }
    }
    [only, others.into_iter().flatten().collect()]
}

fn is_same(one: &Told, other: &Told) -> bool {
    fn fields(told: &Told) -> impl Iterator<Item = &(&'static str, crate::observe::Value)> {
        told.line.fields.iter().filter(|(name, _)| *name != "module")
    }
    one.at == other.at && one.line.words == other.line.words && fields(one).eq(fields(other))
}
