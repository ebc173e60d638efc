//! ClientLane: what happened to one client, in its order.

use postern_core::{Client, Moment};

use crate::replay::seen::{Seen, flags, port};
use crate::replay::teller::{Told, Turn};

/// Most steps of a lane. What comes after them is counted.
const MOST_STEPS: usize = 120;

/// What happened to one client.
#[derive(Debug)]
pub(super) struct ClientLane {
    pub(super) client: Client,
    pub(super) steps: Vec<Step>,
    pub(super) bars: Vec<Bar>,
    /// Steps that are not here.
    pub(super) left_out: u64,
    pub(super) weight: Weight,
}

/// How much there is to see. Later ones are shown rather than earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nothing came of its packets.
    #[default]
    None,
    /// It came somewhere.
    Some,
    /// A door opened, or did not.
    Most,
}

/// A packet and what came of it, or something that happened between packets.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) at: Moment,
    /// The last packet of several of which the same came.
    pub(super) last: Moment,
    /// None if it is no packet.
    pub(super) packet: Option<ShownPacket>,
    pub(super) notes: Vec<Note>,
}

/// A packet, or several of which the same came.
#[derive(Debug)]
pub(super) struct ShownPacket {
    /// The number of the first.
    pub(super) number: u64,
    pub(super) count: u64,
    /// Its port, and what flags it had.
    pub(super) port: String,
    pub(super) flags: String,
    /// Whether some of them went to other ports.
    pub(super) ports_differ: bool,
}

/// Something that came of a packet, or happened.
#[derive(Debug, PartialEq)]
pub(super) struct Note {
    pub(super) turn: Turn,
    pub(super) words: String,
}

/// A door that is open, from one step to another.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) door: Box<str>,
    client: Client,
    pub(super) from: Moment,
    pub(super) first_step: usize,
    /// None: it is open at the end.
    pub(super) end: Option<(Moment, usize)>,
}

impl ClientLane {
    pub(super) fn new(client: Client) -> Self {
        Self { client, steps: Vec::new(), bars: Vec::new(), left_out: 0, weight: Weight::None }
    }

    /// A packet of the client came, and this came of it for the client. How many bytes of words were kept, none without room for any.
    pub(super) fn packet<'a>(
        &mut self,
        seen: &Seen,
        told: impl Iterator<Item = &'a Told>,
        has_room: bool,
    ) -> usize {
        let Some(knock) = &seen.knock else { return 0 };
        let mut notes: Vec<_> = Vec::new();
        let mut told_here = Vec::new();
        for told in told {
            notes.push(Note { turn: told.turn, words: told.line.words.clone() });
            told_here.push(told);
        }
        if let Some(reason) = seen.drop {
            notes.push(Note { turn: Turn::Ignored, words: format!("no rule was asked: {reason}") });
        }
        let is_quiet = |notes: &[Note]| notes.iter().all(|note| note.turn == Turn::Ignored);
        if is_quiet(&notes)
            && let Some(Step { packet: Some(before), notes: earlier, last, .. }) = self.steps.last_mut()
            && is_quiet(earlier)
        {
            before.count += 1;
            before.ports_differ |= before.port != port(knock);
            *last = seen.at;
            return 0;
        }
        let flags: Vec<_> = flags(knock.tcp_flags).collect();
        let (port, flags) = (port(knock), flags.join(" "));
        let packet = ShownPacket { number: seen.number, count: 1, port, flags, ports_differ: false };
        let words = self.push(Step { at: seen.at, last: seen.at, packet: Some(packet), notes }, has_room);
        told_here.into_iter().for_each(|told| self.turn(told));
        words
    }

    /// Something happened that is not of the packet at hand. How many bytes of words were kept, none without room for any.
    pub(super) fn tell(&mut self, told: &Told, has_room: bool) -> usize {
        let note = Note { turn: told.turn, words: told.line.words.clone() };
        let words = match self.steps.last_mut() {
            Some(step) if has_room && step.packet.is_none() && step.at == told.at => {
                let words = note.words.len();
                step.notes.push(note);
                words
            }
            _ => self.push(Step { at: told.at, last: told.at, packet: None, notes: vec![note] }, has_room),
        };
        self.turn(told);
        words
    }

    fn push(&mut self, step: Step, has_room: bool) -> usize {
        if !has_room || self.steps.len() >= MOST_STEPS {
            self.left_out += 1;
            return 0;
        }
        let words = step.words();
        self.steps.push(step);
        words
    }

    /// Bytes of the words that are kept.
    pub(super) fn words(&self) -> usize {
        self.steps.iter().map(Step::words).sum()
    }

    /// What it means for the doors of the client.
    fn turn(&mut self, told: &Told) {
        let weight = match told.turn {
            Turn::Ignored | Turn::Other => Weight::None,
            Turn::Stage(_) | Turn::StartsOver => Weight::Some,
            Turn::Solved
            | Turn::Opened(_)
            | Turn::Extended(_)
            | Turn::Closed
            | Turn::Tried
            | Turn::Refused => Weight::Most,
        };
        self.weight = self.weight.max(weight);
        let (Some(door), Some(client)) = (&told.door, told.client) else { return };
        let step = self.steps.len().saturating_sub(1);
        match told.turn {
            Turn::Opened(_) if self.left_out == 0 => {
                let bar = Bar { door: door.clone(), client, from: told.at, first_step: step, end: None };
                self.bars.push(bar);
            }
            Turn::Closed => {
                let is_open = |bar: &&mut Bar| bar.end.is_none() && bar.door == *door && bar.client == client;
                if let Some(bar) = self.bars.iter_mut().find(is_open) {
                    bar.end = Some((told.at, step));
                }
            }
            _ => {}
        }
    }
}

impl Step {
    fn words(&self) -> usize {
        self.notes.iter().map(|note| note.words.len()).sum()
    }
}
