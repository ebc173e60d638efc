//! Audience: who hears what replicas tell.

use std::io;

use super::json::Json;
use super::output::Output;
use super::page::Page;
use super::rule_set::RuleSet;
use super::seen::Seen;
use super::tally::{Openings, Tally};
use super::teller::Told;
use super::text::Text;
use crate::cli::ReplayArgs;

/// Hears what replicas tell of the same packets; lists have an entry for each replica.
pub(super) trait Audience {
    /// What happened between two packets.
    fn later(&mut self, told: &[Vec<Told>]) -> io::Result<()>;

    /// A packet as the first replica saw it, and what came of it.
    fn packet(&mut self, seen: &Seen, told: &[Vec<Told>]) -> io::Result<()>;

    /// There are no more packets.
    fn end(&mut self, tally: &Tally, openings: &[Openings]) -> io::Result<()>;
}

/// Everything that writes down what a single replica tells.
pub(super) struct Outputs(Vec<Box<dyn Output>>);

impl Outputs {
    /// As the command line says. A page takes the place of the text.
    ///
    /// # Errors
    /// If a file for a page cannot be made.
    pub(super) fn of(args: &ReplayArgs, rules: &RuleSet) -> io::Result<Self> {
        let mut outputs: Vec<Box<dyn Output>> = Vec::new();
        if let Some(file) = &args.html {
            outputs.push(Box::new(Page::create(file, args, rules)?));
        }
        outputs.push(if args.json {
            Box::new(Json::begin(args, rules)?)
        } else {
            Box::new(Text::new(args.all, args.html.is_some()))
        });
        Ok(Self(outputs))
    }
}

impl Audience for Outputs {
    fn later(&mut self, told: &[Vec<Told>]) -> io::Result<()> {
        let told = told.first().map_or(&[][..], Vec::as_slice);
        self.0.iter_mut().try_for_each(|output| output.later(told))
    }

    fn packet(&mut self, seen: &Seen, told: &[Vec<Told>]) -> io::Result<()> {
        let told = told.first().map_or(&[][..], Vec::as_slice);
        self.0.iter_mut().try_for_each(|output| output.packet(seen, told))
    }

    fn end(&mut self, tally: &Tally, openings: &[Openings]) -> io::Result<()> {
        let Some(openings) = openings.first() else { return Ok(()) };
        self.0.iter_mut().try_for_each(|output| output.end(tally, openings))
    }
}
