//! Hooks: runs commands because something happened, a few at once, and says what becomes of those that fail. Nothing waits for them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::process::{Command as StdCommand, Stdio};
use std::sync::{Arc, Mutex};

use postern_core::{HookRun, Observer, Report, TenantId, What};
use postern_text::duration;
use postern_text::panic::PastPanic;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::as_user;
use crate::runner::{GroupGuard, PATH, StderrBuffer, group_of};

/// Commands of one hook at once for one owner's events, of all hooks for one owner's, and of all.
const MOST_OF_HOOK: usize = 2;
const MOST_OF_OWNER: usize = 16;
const MOST: usize = 64;

/// How many commands of each hook are running, by whose events they are run for.
type Running = Arc<Mutex<HashMap<(TenantId, u32), usize>>>;

/// Runs commands because something happened.
#[derive(Clone)]
pub struct HookRunner {
    runtime: Handle,
    observer: Arc<dyn Observer>,
    running: Running,
}

/// A command's place among those that run.
struct Place {
    running: Running,
    of: (TenantId, u32),
}

impl HookRunner {
    /// Waits for commands on the runtime that this is called on, and reports to `observer`.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self { runtime: Handle::current(), observer, running: Arc::default() }
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
        self.runtime.spawn(async move {
            let _place = place;
            if let Err(why) = perform(&run).await {
                failed(&why);
            }
        });
    }

    fn place(&self, run: &HookRun) -> Option<Place> {
        let mut running = self.running.lock().past_panic();
        let of_owner = running.iter().filter(|((owner, _), _)| *owner == run.owner);
        if of_owner.map(|(_, count)| count).sum::<usize>() >= MOST_OF_OWNER
            || running.values().sum::<usize>() >= MOST
        {
            return None;
        }
        let of = (run.owner.clone(), run.hook);
        let of_hook = running.entry(of.clone()).or_default();
        (*of_hook < MOST_OF_HOOK).then(|| {
            *of_hook += 1;
            Place { running: Arc::clone(&self.running), of }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.running.lock().past_panic();
        if let Some(of_hook) = running.get_mut(&self.of) {
            *of_hook -= 1;
            if *of_hook == 0 {
                running.remove(&self.of);
            }
        }
    }
}

/// Runs a command to its end.
async fn perform(run: &HookRun) -> Result<(), String> {
    let Some((program, arguments)) = run.argv.split_first() else { return Ok(()) };
    let not_started = |error: io::Error| format!("cannot be started: {error}");
    let words = StderrBuffer::new();
    let mut command = Command::from(match &run.user {
        None => StdCommand::new(program),
        Some(user) => as_user::command(user, program),
    });
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(run.environment.iter().map(|(name, value)| (name, value)))
        .stdin(event(&run.event).map_err(not_started)?)
        .stdout(Stdio::null())
        .stderr(words.as_ref().map_or_else(Stdio::null, StderrBuffer::writer))
        // Its own group, so that what it starts can be ended with it.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(not_started)?;
    let mut group = GroupGuard(group_of(&child));
    let Ok(ended) = timeout(run.limit, child.wait()).await else {
        drop(group);
        drop(child.kill().await);
        return Err(format!("ran longer than {} and was killed", duration::show(run.limit)));
    };
    group.0 = None;
    let status = ended.map_err(|error| format!("cannot be waited for: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let words = words.map(StderrBuffer::read).unwrap_or_default();
    let separator = if words.is_empty() { "" } else { ": " };
    Err(format!("failed ({status}){separator}{words}"))
}

/// A file in memory with this text: unlike a pipe nobody must write into it while the command reads, or does not.
fn event(text: &str) -> io::Result<Stdio> {
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
        let hooks = HookRunner::new(Arc::clone(&failures) as Arc<dyn Observer>);
        runs.into_iter().for_each(|run| hooks.run(run));
        runtime.block_on(async {
            while !hooks.running.lock().unwrap().is_empty() {
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
