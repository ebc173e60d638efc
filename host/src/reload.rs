//! Reload: prepares the next generation off the packet path.

use std::path::PathBuf;
use std::thread;

use crossbeam_channel::{Sender, bounded};

use crate::config::{Config, Mistakes};
use crate::happening::{Happening, Teller};
use crate::rules::{Generation, Loader, Runtime};

/// A thread that reads, checks, compiles and tries what the files say. It touches nothing that runs.
pub(crate) struct Preparer {
    requests: Sender<u64>,
}

impl Preparer {
    /// Prepares on a thread of its own from now on.
    pub(crate) fn start(file: PathBuf, mut loader: Loader, teller: Teller) -> std::io::Result<Self> {
        let (requests, queue) = bounded(1);
        // Nobody waits for it at the end: a long compilation must not hold up a stop.
        thread::Builder::new().name("loader".to_owned()).stack_size(Runtime::STACK).spawn(move || {
            for number in queue {
                let prepared = Box::new(prepare(&file, number, &mut loader));
                if teller.blocking_send(Happening::Prepared(prepared)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Asks for a generation with this number. It comes as a happening. The caller asks for one at a time.
    pub(crate) fn request(&self, number: u64) {
        let _ = self.requests.try_send(number);
    }
}

/// Reads, checks, compiles and tries everything.
pub(crate) fn prepare(
    file: &std::path::Path,
    number: u64,
    loader: &mut Loader,
) -> Result<(Config, Generation), Mistakes> {
    let config = Config::load(file)?;
    let generation = Generation::build(number, &config, loader)?;
    Ok((config, generation))
}
