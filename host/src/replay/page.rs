//! Page: a replay as one HTML page that shows it, a lane for each client. It has no script, and loads nothing from anywhere.

mod html;
mod lane;
mod lanes;

use std::io;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::rule_set::RuleSet;
use super::seen::Seen;
use super::tally::{Openings, Tally};
use super::teller::Told;
use super::text::summary;
use crate::cli::ReplayArgs;
use crate::whole_file;
use html::Heading;
use lanes::Lanes;

/// Collects what is shown, and writes it when the capture ends.
pub(super) struct Page {
    file: PathBuf,
    heading: Heading,
    lanes: Lanes,
    /// Whether packets are shown that nobody asked for.
    all: bool,
}

impl Page {
    /// A page in this file. What is there stays until the page is written as a whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn create(file: &Path, args: &ReplayArgs, rules: &RuleSet) -> io::Result<Self> {
        whole_file::check(file).map_err(|error| not_written(file, &error))?;
        let heading = Heading {
            capture: args.capture.display().to_string(),
            rules: rules.name.clone(),
            local: args.local.clone(),
        };
        Ok(Self { file: file.to_owned(), heading, lanes: Lanes::default(), all: args.all })
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
        whole_file::write(&self.file, page.as_bytes()).map_err(|error| not_written(&self.file, &error))
    }
}

fn not_written(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} cannot be written: {error}", file.display()))
}
