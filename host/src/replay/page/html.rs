//! Html: writes the page. Whatever comes from outside is escaped.

use std::fmt::{self, Display, Write};
use std::net::IpAddr;
use std::time::Duration;

use postern_capture::Shown;
use postern_core::Moment;
use postern_text::piece;

use super::lane::{Bar, ClientLane, Step, Weight};
use super::lanes::ShownLanes;
use crate::replay::seen::{Offset, about, time_of_day};
use crate::replay::tally::{Openings, Tally};
use crate::replay::teller::Turn;

const STYLE: &str = include_str!("style.css");
/// Lanes that are unfolded, of those at which there is something to see.
const MOST_OPEN: usize = 40;

/// The overview's measures, in its own units: where time begins, how wide it is, the height of a row.
const LABELS: f64 = 210.0;
const TIMES: f64 = 960.0;
const ROW: f64 = 20.0;
const AXIS: f64 = 26.0;

/// What stands above everything.
#[derive(Debug)]
pub(super) struct Heading {
    pub(super) capture: String,
    pub(super) rules: String,
    pub(super) local: Vec<IpAddr>,
}

/// Shows a text as a text.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in piece(&self.0).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The whole page.
pub(super) fn page(
    heading: &Heading,
    tally: &Tally,
    openings: &Openings,
    summary: &[String],
    shown: &ShownLanes<'_>,
) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut page, heading, tally, openings, summary, shown);
    page
}

fn write(
    to: &mut String,
    heading: &Heading,
    tally: &Tally,
    openings: &Openings,
    summary: &[String],
    shown: &ShownLanes<'_>,
) -> fmt::Result {
    let Heading { capture, rules, local } = heading;
    writeln!(
        to,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>Replay of {}</title>\n<style>\n{STYLE}</style>",
        Escaped(capture)
    )?;
    writeln!(to, "<header>\n<h1>Replay of {}</h1>", Escaped(capture))?;
    let machine = if local.is_empty() {
        "every destination counts as this machine".to_owned()
    } else {
        let local: Vec<_> = local.iter().map(ToString::to_string).collect();
        format!("this machine is {}", local.join(", "))
    };
    let begin = tally.first.map_or_else(String::new, |first| format!(", from {}", time_of_day(first)));
    writeln!(
        to,
        "<p>Rules: <b>{}</b>; {}{begin}. Nothing was opened or run.</p>",
        Escaped(rules),
        Escaped(machine)
    )?;
    writeln!(to, "<dl class=\"sums\">")?;
    for (name, count) in
        [("packets", tally.packets), ("asked for by rules", tally.judged), ("doors opened", openings.opened)]
    {
        writeln!(to, "<div><dt>{name}</dt><dd>{count}</dd></div>")?;
    }
    writeln!(to, "<div><dt>time</dt><dd>{}</dd></div>\n</dl>", about(tally.end.0))?;
    // The first says what the figures do.
    for line in summary.iter().skip(1) {
        writeln!(to, "<p>{}</p>", Escaped(line))?;
    }
    writeln!(to, "</header>\n<main>")?;
    if shown.lanes.is_empty() {
        writeln!(to, "<p>No rule asked for any packet. <code>--all</code> shows the packets and why.</p>")?;
    } else {
        overview(to, tally, shown)?;
        let mut unfolded = MOST_OPEN;
        for (n, lane_of) in shown.lanes.iter().enumerate() {
            let is_open = unfolded > 0 && (lane_of.weight > Weight::None || shown.lanes.len() <= MOST_OPEN);
            unfolded -= usize::from(is_open);
            lane(to, n, lane_of, is_open)?;
        }
    }
    if shown.left_out > 0 {
        writeln!(
            to,
            "<p class=\"more\">{} more clients are not shown: those of whose packets least came.</p>",
            shown.left_out
        )?;
    }
    writeln!(to, "</main>\n</html>")
}

/// All clients over one time, a row each.
fn overview(to: &mut String, tally: &Tally, shown: &ShownLanes<'_>) -> fmt::Result {
    let latest = shown.lanes.iter().filter_map(|lane| lane.steps.last()).map(|step| step.last).max();
    let end = latest.unwrap_or_default().max(tally.end).0.max(Duration::from_micros(1));
    let x = |at: Moment| LABELS + TIMES * (at.0.as_secs_f64() / end.as_secs_f64()).min(1.0);
    let rows = shown.lanes.len() as f64;
    let height = AXIS + ROW * rows + 6.0;
    writeln!(
        to,
        "<section class=\"overview\"><h2>All clients over time</h2>\n<svg viewBox=\"0 0 1200 {height}\" role=\"img\" aria-label=\"All clients over time\">"
    )?;
    for tick in 0..=4_u32 {
        let at = Moment(end * tick / 4);
        let anchor = match tick {
            0 => "start",
            4 => "end",
            _ => "middle",
        };
        writeln!(
            to,
            "<line class=\"tick\" x1=\"{x:.1}\" y1=\"{AXIS}\" x2=\"{x:.1}\" y2=\"{height}\"/><text class=\"axis\" x=\"{x:.1}\" y=\"16\" text-anchor=\"{anchor}\">{}</text>",
            about(at.0),
            x = x(at)
        )?;
    }
    for (n, lane) in shown.lanes.iter().enumerate() {
        let y = AXIS + ROW * n as f64 + ROW / 2.0;
        writeln!(
            to,
            "<a href=\"#lane-{n}\"><line class=\"row\" x1=\"{LABELS}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LABELS + TIMES,
            LABELS - 10.0,
            y + 4.0,
            Escaped(Shown(lane.client))
        )?;
        for bar in &lane.bars {
            let until = bar.end.map_or(LABELS + TIMES, |(until, _)| x(until));
            let from = x(bar.from);
            writeln!(
                to,
                "<rect class=\"open\" x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"8\" rx=\"3\"/>",
                y - 4.0,
                (until - from).max(2.0)
            )?;
        }
        for step in lane.steps.iter().filter(|step| step.packet.is_some()) {
            writeln!(
                to,
                "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{y}\" r=\"3.5\"/>",
                worst(step),
                x(step.at)
            )?;
            if step.last > step.at {
                writeln!(
                    to,
                    "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{y}\" r=\"3.5\"/>",
                    worst(step),
                    x(step.last)
                )?;
            }
        }
        writeln!(to, "</a>")?;
    }
    writeln!(to, "</svg></section>")
}

/// One client, step by step.
fn lane(to: &mut String, n: usize, lane: &ClientLane, is_open: bool) -> fmt::Result {
    let packets: u64 = lane.steps.iter().filter_map(|step| Some(step.packet.as_ref()?.count)).sum();
    let open = if is_open { " open" } else { "" };
    writeln!(
        to,
        "<details class=\"lane\" id=\"lane-{n}\"{open}><summary><b>{}</b> <span>{packets} packet{}</span>",
        Escaped(Shown(lane.client)),
        if packets == 1 { "" } else { "s" }
    )?;
    for bar in &lane.bars {
        write!(to, " <span class=\"tag open\">{} opened</span>", Escaped(&bar.door))?;
    }
    let refused = lane.steps.iter().flat_map(|step| &step.notes).filter(|note| note.turn == Turn::Refused);
    let refused = refused.count();
    if refused > 0 {
        write!(to, " <span class=\"tag refused\">{refused} refused</span>")?;
    }
    let columns = lane.steps.len();
    writeln!(
        to,
        "</summary>\n<div class=\"scroll\"><div class=\"steps\" style=\"grid-template-columns:repeat({columns},minmax(10.5rem,max-content))\">"
    )?;
    let mut before: Option<Moment> = None;
    for (place, shown) in lane.steps.iter().enumerate() {
        step(to, place, shown, before)?;
        before = Some(shown.last);
    }
    for (row, bar) in lane.bars.iter().enumerate() {
        opening(to, row, bar, columns)?;
    }
    writeln!(to, "</div></div>")?;
    if lane.left_out > 0 {
        writeln!(to, "<p class=\"more\">{} more are not shown.</p>", lane.left_out)?;
    }
    writeln!(to, "</details>")
}

fn step(to: &mut String, place: usize, step: &Step, before: Option<Moment>) -> fmt::Result {
    let kind = if step.packet.is_some() { "packet" } else { "event" };
    writeln!(
        to,
        "<div class=\"step {kind} {}\" style=\"grid-column:{}\"><time title=\"{}\">{}</time>",
        worst(step),
        place + 1,
        Offset(step.at),
        match before {
            Some(before) => format!("{} later", about(step.at.since(before))),
            None => Offset(step.at).to_string(),
        }
    )?;
    if let Some(packet) = &step.packet {
        write!(to, "<div class=\"port\">{}", Escaped(&packet.port))?;
        if !packet.flags.is_empty() {
            write!(to, " <small>{}</small>", Escaped(&packet.flags))?;
        }
        match packet.count {
            1 => write!(to, " <small>#{}</small>", packet.number)?,
            count => {
                let others = if packet.ports_differ { ", also to other ports," } else { "" };
                let (number, more, last) = (packet.number, count - 1, Offset(step.last));
                write!(to, " <small>#{number} and {more} more{others} until {last}</small>")?;
            }
        }
        writeln!(to, "</div>")?;
    }
    for note in &step.notes {
        let (class, mark) = look(note.turn);
        write!(to, "<p class=\"{class}\"><i>{mark}</i> {}</p>", Escaped(&note.words))?;
    }
    writeln!(to, "</div>")
}

fn opening(to: &mut String, row: usize, bar: &Bar, columns: usize) -> fmt::Result {
    let first = bar.first_step + 1;
    let (last, until) = match bar.end {
        Some((until, step)) => (step + 1, format!("for {}", about(until.since(bar.from)))),
        None => (columns, "until after the capture ends".to_owned()),
    };
    let (last, open_end) = (last.max(first), if bar.end.is_none() { " on" } else { "" });
    writeln!(
        to,
        "<div class=\"bar{open_end}\" style=\"grid-row:{};grid-column:{first}/{}\">{} is open {until}</div>",
        row + 2,
        last + 1,
        Escaped(&bar.door)
    )
}

/// The class of a note, and the mark before it, which says the same without colours.
const fn look(turn: Turn) -> (&'static str, &'static str) {
    match turn {
        Turn::Stage(_) => ("stage", "\u{25b8}"),
        Turn::StartsOver => ("over", "\u{21ba}"),
        Turn::Solved => ("solved", "\u{2713}"),
        Turn::Opened(_) | Turn::Extended(_) => ("opened", "\u{25cf}"),
        Turn::Closed => ("closed", "\u{25cb}"),
        Turn::Tried => ("tried", "\u{2713}"),
        Turn::Refused => ("refused", "\u{2717}"),
        Turn::Ignored => ("ignored", "\u{2013}"),
        Turn::Other => ("other", "\u{00b7}"),
    }
}

/// The class of a step as a whole: that of what matters most.
fn worst(step: &Step) -> &'static str {
    let weight = |turn: &Turn| match turn {
        Turn::Refused => 7,
        Turn::Opened(_) | Turn::Extended(_) => 6,
        Turn::Tried => 5,
        Turn::Solved => 4,
        Turn::StartsOver => 3,
        Turn::Stage(_) => 2,
        Turn::Closed => 1,
        Turn::Other | Turn::Ignored => 0,
    };
    let turns = step.notes.iter().map(|note| note.turn);
    turns.max_by_key(weight).map_or("ignored", |turn| look(turn).0)
}
