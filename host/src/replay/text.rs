//! Text: a replay for people, a line for each packet and below it what came of it.

use std::{fmt, io};

use postern_capture::Shown;
use postern_text::terminal;

use super::output::Output;
use super::seen::{Offset, Seen, Way, about, time_of_day};
use super::tally::{Openings, Tally};
use super::teller::Told;

/// Writes lines to standard output.
pub(super) struct Text {
    lines: terminal::Lines,
    /// Whether packets are told that nobody asked for.
    all: bool,
    /// Whether nothing is told but what it comes to as a whole.
    is_brief: bool,
}

/// The line of a packet.
pub(super) struct PacketLine<'a> {
    pub(super) seen: &'a Seen,
    /// Whether it says why no rule was asked.
    pub(super) says_why: bool,
}

impl Text {
    pub(super) fn new(all: bool, is_brief: bool) -> Self {
        Self { lines: terminal::Lines::of_stdout(), all, is_brief }
    }
}

impl fmt::Display for PacketLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { number, at, length, knock, drop, .. } = self.seen;
        write!(f, "{} #{number} ", Offset(*at))?;
        match knock {
            Some(knock) => write!(f, "{}", Way(knock))?,
            None => write!(f, "{length} bytes")?,
        }
        drop.filter(|_| self.says_why).map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

impl Output for Text {
    fn later(&mut self, told: &[Told]) -> io::Result<()> {
        if self.is_brief {
            return Ok(());
        }
        told.iter()
            .try_for_each(|told| self.lines.line(format_args!("{} {}", Offset(told.at), told.line.words)))
    }

    fn packet(&mut self, seen: &Seen, told: &[Told]) -> io::Result<()> {
        if self.is_brief || (seen.drop.is_some() && told.is_empty() && !self.all) {
            return Ok(());
        }
        self.lines.line(PacketLine { seen, says_why: true })?;
        told.iter().try_for_each(|told| self.lines.line(format_args!("  {}", told.line.words)))
    }

    fn end(&mut self, tally: &Tally, openings: &Openings) -> io::Result<()> {
        for line in summary(tally, openings) {
            self.lines.line(line)?;
        }
        self.lines.flush()
    }
}

/// What a replay comes to as a whole, in sentences.
pub(super) fn summary(tally: &Tally, openings: &Openings) -> Vec<String> {
    let Some(first) = tally.first else { return vec!["no packets".to_owned()] };
    let mut lines = vec![format!(
        "{} from {} on, in {}; rules asked for {}, and opened a door {}",
        counted(tally.packets, "packet"),
        time_of_day(first),
        about(tally.end.0),
        tally.judged,
        counted(openings.opened, "time"),
    )];
    let drops = tally.drops(openings);
    if !drops.is_empty() {
        let drops: Vec<_> = drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        lines.push(format!("came to nothing: {}", drops.join(", ")));
    }
    for (door, client, left) in &openings.left {
        let (client, left) = (Shown(*client), about(*left));
        lines.push(format!("{door} is still open for {client} when the capture ends, for {left}"));
    }
    lines
}

/// So many of something.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
