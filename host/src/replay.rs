//! Replay: every packet of a capture file through decoding, rules and the engine, in the file's own time, without a daemon and a firewall.
//!
//! What the daemon would have done is told in the daemon's own words. Nothing is captured, opened or run: doors count as open at once, commands are
//! named, and what is used once is kept in memory. Two runs tell the same: no clock is read but for the time that a call may take.

mod audience;
mod comparison;
mod json;
mod output;
mod page;
mod replica;
mod rule_set;
mod seen;
mod tally;
mod teller;
mod text;

use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use postern_capture::{SavedCapture, SavedCaptureError, StatedAddresses};
use postern_config::Mistakes;
use postern_core::Moment;
use postern_sandbox::{RunPermit, Runtime};
use postern_text::{piece, terminal};

use crate::check::tell;
use crate::cli::ReplayArgs;
use crate::exit::Exit;
use audience::{Audience, Outputs};
use comparison::Comparison;
use replica::Replica;
use rule_set::{RuleLoading, RuleSet};
use tally::Tally;

/// Tells what rules say of the packets of a capture file, or where two sets of rules disagree about them.
///
/// # Errors
/// If the file is no capture or is damaged, if the system does not let us run rules, or what is told cannot be written.
pub fn replay(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let is_closed_pipe = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    };
    match with_rules(args) {
        // Whoever reads has read enough.
        Err(error) if is_closed_pipe(&error) => Ok(Exit::Success),
        done => done,
    }
}

fn with_rules(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let runtime = Runtime::start()?;
    let needs_fields = args.json || args.against.is_some();
    let loading = RuleLoading { runtime: &runtime, trust: args.file.trust(), needs_fields };
    let refused = |mistakes: Mistakes| tell(&mistakes, "nothing was replayed");
    let read = match &args.rules {
        Some(dir) => loading.folder(dir)?,
        None => loading.config(&args.file.config)?,
    };
    let rules = match read {
        Ok(rules) => rules,
        Err(mistakes) => return refused(mistakes),
    };
    let interface = args.interface.clone().unwrap_or_else(|| rules.interface().to_owned());
    let mut capture = SavedCapture::open(&args.capture, &interface)?;
    say_what_is_assumed(args, &rules, &interface)?;
    let addresses = Rc::new(StatedAddresses::new(&args.local));
    let link = capture.link();
    let replica = |rules| Replica::new(rules, Rc::clone(&addresses), link);
    let Some(other) = &args.against else {
        let mut outputs = Outputs::of(args, &rules)?;
        play(&mut capture, &mut [replica(rules)], &runtime.running(), &mut outputs)?;
        return Ok(Exit::Success);
    };
    let other = match loading.at(other)? {
        Ok(other) => other,
        Err(mistakes) => return refused(mistakes),
    };
    let mut comparison = Comparison::new([&rules, &other], args)?;
    play(&mut capture, &mut [replica(rules), replica(other)], &runtime.running(), &mut comparison)?;
    Ok(if comparison.agrees() { Exit::Success } else { Exit::Mistakes })
}

/// Says once what nobody has said of the capture, and what counts instead.
fn say_what_is_assumed(args: &ReplayArgs, rules: &RuleSet, interface: &str) -> io::Result<()> {
    if args.local.is_empty() {
        terminal::err("note: every destination counts as this machine; --local ADDRESS says which do")?;
    }
    if args.interface.is_none() && rules.tells_interfaces_apart() {
        let interface = piece(interface);
        terminal::err(format_args!(
            "note: every packet counts as captured on {interface}; --interface NAME says where it was"
        ))?;
    }
    Ok(())
}

/// Plays a capture to all replicas, packet by packet, and has `audience` hear what they tell. What comes before damage in the file counts.
fn play(
    capture: &mut SavedCapture,
    replicas: &mut [Replica],
    running: &RunPermit<'_>,
    audience: &mut dyn Audience,
) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    let damage = play_packets(capture, replicas, running, audience, &mut tally)?;
    let openings: Vec<_> = replicas.iter_mut().map(|replica| replica.openings(tally.end)).collect();
    audience.end(&tally, &openings)?;
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

fn play_packets(
    capture: &mut SavedCapture,
    replicas: &mut [Replica],
    running: &RunPermit<'_>,
    audience: &mut dyn Audience,
    tally: &mut Tally,
) -> io::Result<Option<SavedCaptureError>> {
    let mut told: Vec<_> = replicas.iter().map(|_| Vec::new()).collect();
    loop {
        let frame = match capture.read() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(damage) => return Ok(Some(damage)),
        };
        let first = *tally.first.get_or_insert(frame.time);
        // A clock that was set back takes no time back: it is only the rules that see it.
        let since = Moment(Duration::from_micros(frame.time.0.saturating_sub(first.0)));
        let at = tally.end.max(since);
        for (replica, told) in replicas.iter_mut().zip(&mut told) {
            replica.wait_until(at);
            replica.hand_over(told);
        }
        if told.iter().any(|told| !told.is_empty()) {
            audience.later(&told)?;
        }
        tally.packets += 1;
        tally.end = at;
        let mut seen = None;
        for (replica, told) in replicas.iter_mut().zip(&mut told) {
            let by_this = replica.see(&frame, tally.packets, at, running);
            replica.hand_over(told);
            seen.get_or_insert(by_this);
        }
        if let Some(seen) = seen {
            tally.note(&seen);
            audience.packet(&seen, &told)?;
        }
    }
}
