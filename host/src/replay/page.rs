//! Page: a replay as one HTML page that shows it, a lane for each client. It has no script, and loads nothing from anywhere.

mod html;
mod lane;
mod lanes;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::audience::Output;
use super::rule_set::RuleSet;
use super::seen::Seen;
use super::tally::{Openings, Tally};
use super::teller::Told;
use super::text::summary;
use crate::cli::ReplayArgs;
use html::Heading;
use lanes::Lanes;

/// Collects what is shown, and writes it when the capture ends.
pub(super) struct Page {
    file: File,
    heading: Heading,
    lanes: Lanes,
    /// Whether packets are shown that nobody asked for.
    all: bool,
}

impl Page {
    /// A page in this file, which is made anew.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn create(file: &Path, args: &ReplayArgs, rules: &RuleSet) -> io::Result<Self> {
        let made = File::create(file).map_err(|error| {
            io::Error::new(error.kind(), format!("{} cannot be written: {error}", file.display()))
        })?;
        let heading = Heading {
            capture: args.capture.display().to_string(),
            rules: rules.name.clone(),
            local: args.local.clone(),
        };
        Ok(Self { file: made, heading, lanes: Lanes::default(), all: args.all })
    }
}

impl Output for Page {
    fn later(&mut self, told: &[Told]) -> io::Result<()> {
        told.iter().for_each(|told| self.lanes.tell(told));
        Ok(())
    }

    fn packet(&mut self, seen: &Seen, told: &[Told]) -> io::Result<()> {
        if seen.drop.is_none() || self.all {
            self.lanes.packet(seen, told);
        }
        Ok(())
    }

    fn end(&mut self, tally: &Tally, openings: &Openings) -> io::Result<()> {
        let shown = self.lanes.shown();
        let page = html::page(&self.heading, tally, openings, &summary(tally, openings), &shown);
        self.file.write_all(page.as_bytes())
    }
}
