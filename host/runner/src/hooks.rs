//! Hooks: runs commands because something happened, a few at once, and says what becomes of those that fail. Nothing waits for them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use postern_core::{HookRun, Observer, Report, TenantId, What};
use postern_text::panic::PastPanic;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::runtime::Handle;

use crate::execution::Execution;
use crate::notes::{InheritedNotes, Note, NotedPhase, Waited};
use crate::shims::Shims;

/// Commands of one hook at once for one owner's events, of all hooks for one owner's, and of all.
const MOST_OF_HOOK: usize = 2;
const MOST_OF_OWNER: usize = 16;
const MOST: usize = 64;

/// How many commands are running.
#[derive(Debug, Default)]
struct RunningHooks {
    /// Of each hook, by whose events they are run for.
    of: HashMap<(TenantId, u32), usize>,
    /// Those that a runner before left, for nobody knows whom.
    left: usize,
}

/// Runs commands because something happened.
#[derive(Clone)]
pub struct HookRunner {
    runtime: Handle,
    observer: Arc<dyn Observer>,
    running: Arc<Mutex<RunningHooks>>,
    /// How they are started and ended; none if they are started directly.
    shims: Option<Arc<Shims>>,
}

/// A command's place among those that run.
struct Place {
    running: Arc<Mutex<RunningHooks>>,
    /// None if a runner before left it.
    of: Option<(TenantId, u32)>,
}

impl HookRunner {
    /// Has commands started by these shims, waits for them on the runtime that this is called on, and reports to `observer`.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(observer: Arc<dyn Observer>, shims: Option<Arc<Shims>>) -> Self {
        Self { runtime: Handle::current(), observer, running: Arc::default(), shims }
    }

    /// Has a command run, unless too many do; returns at once.
    pub fn run(&self, run: HookRun) {
        let observer = Arc::clone(&self.observer);
        let program = run.argv.first().cloned().unwrap_or_default();
        let (hook, place) = (HookRun::name_of(run.hook), run.place.clone());
        let failed = move |why: &str| {
            let (hook, place) = (hook.as_str().into(), Some(place.as_str().into()));
            let detail = format!("{program} {why}").into();
            observer.report(&Report::new(What::HookFailed { hook, place, detail }));
        };
        let Some(place) = self.place(&run) else {
            return failed("is not run for this event: too many commands of hooks are running");
        };
        let shims = self.shims.clone();
        self.runtime.spawn(async move {
            let _place = place;
            if let Err(why) = perform(run, shims.as_ref()).await {
                failed(&why);
            }
        });
    }

    /// Takes over the commands that a runner before left running: they go on until they end or their time is over.
    pub fn take_over(&self, inherited: &mut InheritedNotes) {
        for (hook, note) in inherited.take_hooks() {
            self.running.lock().past_panic().left += 1;
            let place = Place { running: Arc::clone(&self.running), of: None };
            let observer = Arc::clone(&self.observer);
            self.runtime.spawn(async move {
                let _place = place;
                if let Some(why) = failure_of(&note).await {
                    let hook = HookRun::name_of(hook).into();
                    let detail = format!("a command that the runner before had started {why}").into();
                    observer.report(&Report::new(What::HookFailed { hook, place: None, detail }));
                }
            });
        }
    }

    fn place(&self, run: &HookRun) -> Option<Place> {
        let mut running = self.running.lock().past_panic();
        let of_owner = running.of.iter().filter(|((owner, _), _)| *owner == run.owner);
        if of_owner.map(|(_, count)| count).sum::<usize>() >= MOST_OF_OWNER
            || running.of.values().sum::<usize>() + running.left >= MOST
        {
            return None;
        }
        let of = (run.owner.clone(), run.hook);
        let of_hook = running.of.entry(of.clone()).or_default();
        (*of_hook < MOST_OF_HOOK).then(|| {
            *of_hook += 1;
            Place { running: Arc::clone(&self.running), of: Some(of) }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.running.lock().past_panic();
        let Some(of) = &self.of else {
            running.left -= 1;
            return;
        };
        if let Some(of_hook) = running.of.get_mut(of) {
            *of_hook -= 1;
            if *of_hook == 0 {
                running.of.remove(of);
            }
        }
    }
}

/// Runs a command to its end.
async fn perform(run: HookRun, shims: Option<&Arc<Shims>>) -> Result<(), String> {
    let HookRun { hook, argv, user, limit, event, environment, .. } = run;
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let note = shims.and_then(|shims| shims.notes.hook(hook));
    let execution = Execution {
        program,
        arguments: arguments.to_vec(),
        user: user.as_deref(),
        environment,
        input: input(&event).map_err(|error| format!("cannot be started: {error}"))?,
        limit,
        shim: shims.zip(note.as_ref()),
    };
    execution.run().await
}

/// Waits for the end of a command that this process has not started; what was wrong with that.
async fn failure_of(note: &Note) -> Option<String> {
    match note.wait_or_end().await {
        Waited::TookTooLong => Some("ran longer than its timeout and was killed".to_owned()),
        Waited::LostShim => Some("was killed with the process that watches it".to_owned()),
        Waited::Ended => match note.phase() {
            NotedPhase::Ended(status) if status != 0 => {
                Some(format!("failed ({})", ExitStatus::from_raw(status)))
            }
            _ => None,
        },
    }
}

/// A file in memory with this text: unlike a pipe nobody must write into it while the command reads, or does not.
fn input(text: &str) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("event", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    #[derive(Default)]
    struct Failures(Mutex<Vec<String>>);

    impl Observer for Failures {
        fn report(&self, report: &Report<'_>) {
            if let What::HookFailed { hook, place, detail } = &report.what {
                let place = place.as_deref().unwrap_or_default();
                self.0.lock().unwrap().push(format!("{place} {hook} {detail}"));
            }
        }

        fn count_drops(&self, _: Option<&TenantId>, _: postern_core::DropReason, _: u64) {}
    }

    fn shell(script: &str, limit: Duration) -> HookRun {
        HookRun {
            hook: 0,
            place: "p.toml:7".to_owned(),
            owner: TenantId::host(),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            user: None,
            limit,
            event: r#"{"event":"open"}"#.to_owned(),
            environment: vec![("POSTERN_EVENT".to_owned(), "open; $(exit 1)".to_owned())],
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    /// What is reported as failed when these were run and are done.
    fn failures(runs: Vec<HookRun>) -> Vec<String> {
        let failures = Arc::new(Failures::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let hooks = HookRunner::new(Arc::clone(&failures) as Arc<dyn Observer>, None);
        runs.into_iter().for_each(|run| hooks.run(run));
        runtime.block_on(async {
            while !hooks.running.lock().unwrap().of.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        failures.0.lock().unwrap().clone()
    }

    #[test]
    fn a_command_reads_what_happened_and_finds_it_in_its_environment_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let script = format!("(cat; echo \"$POSTERN_EVENT\"; env | wc -l) > {}", file.display());
        assert!(failures(vec![shell(&script, LONG)]).is_empty());
        let told = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = told.lines().map(str::trim).collect();
        // PATH and PWD, which the shell itself adds.
        assert_eq!(lines, [r#"{"event":"open"}"#, "open; $(exit 1)", "3"]);
    }

    #[test]
    fn what_fails_or_takes_too_long_is_said_and_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("late");
        let slow = format!("(sleep 1; touch {}) & sleep 60", file.display());
        let begun = Instant::now();
        let mut missing = shell("", LONG);
        missing.argv = vec!["/no/such/program".to_owned()];
        missing.hook = 1;
        let said = failures(vec![
            shell("echo why >&2; exit 3", LONG),
            shell(&slow, Duration::from_millis(200)),
            missing,
        ]);
        assert!(begun.elapsed() < Duration::from_secs(20));
        for part in [
            "p.toml:7 hooks[0] /bin/sh failed (exit status: 3): why",
            "p.toml:7 hooks[0] /bin/sh ran longer than 200ms and was killed",
            "p.toml:7 hooks[1] /no/such/program cannot be started: ",
        ] {
            assert!(said.iter().any(|said| said.starts_with(part)), "no {part:?} in {said:?}");
        }
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!Path::new(&file).exists());
    }

    #[test]
    fn few_run_at_once_and_what_is_not_run_is_said() {
        let wait = |hook| HookRun { hook, ..shell("sleep 0.3", LONG) };
        let said = failures((0..4).map(|_| wait(0)).chain([wait(1)]).collect());
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("is not run for this event"), "{said:?}");
        let of = |owner: &str, hook| HookRun { owner: TenantId::new(owner), ..wait(hook) };
        let of_one = failures((0..20).map(|hook| of("one", hook)).chain([of("two", 0)]).collect());
        assert_eq!(of_one.len(), 4, "{of_one:?}");
        let of_five =
            (0..16).flat_map(|hook| ["one", "two", "three", "four", "five"].map(|owner| of(owner, hook)));
        let all = failures(of_five.collect());
        assert_eq!(all.len(), 16, "{all:?}");
    }
}
