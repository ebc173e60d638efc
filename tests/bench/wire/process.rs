//! Process: a program under measurement with all processes that it has started, and what the kernel accounts to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{Namespace, sleep_until};

/// How long a process may take to get ready, and to catch up: a thousand modules are compiled within it.
const PATIENCE: Duration = Duration::from_secs(600);
/// A process that uses less CPU than this between two looks is quiet.
const QUIET: Duration = Duration::from_micros(500);
const LOOK: Duration = Duration::from_millis(200);

/// A running program; killed when dropped, and its other processes end with the first.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// How long it took to say that it is ready.
    pub(crate) ready_after: Duration,
}

impl Process {
    /// Starts it in a namespace and waits for a line with `ready` in it.
    pub(crate) fn start(namespace: &Namespace, mut command: Command, ready: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = namespace.spawn(&mut command).unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (sender, lines) = mpsc::channel();
        follow(child.stdout.take().expect("asked for"), sender.clone());
        follow(child.stderr.take().expect("asked for"), sender);
        let mut process = Self { child, lines, ready_after: Duration::ZERO };
        process.wait_for(ready);
        process.ready_after = start.elapsed();
        process
    }

    /// Waits for a line with `words` in it.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let mut said = String::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => said = said + &line + "\n",
                Err(error) => panic!("it does not say {words:?} ({error}) but:\n{said}"),
            }
        }
    }

    /// Whether a line with `words` in it comes within this time.
    pub(crate) fn has_said(&self, words: &str, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let left = || deadline.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| self.lines.recv_timeout(left()).ok()).any(|line| line.contains(words))
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.tasks().into_iter())
    }

    /// CPU time so far of the process that it has started in this role, or of the first process itself.
    pub(crate) fn cpu_of(&self, role: Option<&str>) -> Duration {
        let is_role = |pid: &u32| {
            let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            role.is_some_and(|role| arguments.ends_with(&format!("\0role\0{role}\0")))
        };
        let pid = match role {
            None => Some(self.child.id()),
            Some(_) => self.processes().into_iter().find(is_role),
        };
        cpu(pid.into_iter().flat_map(tasks))
    }

    /// CPU time of those processes that the first one has started, that have ended, and that it was told of.
    pub(crate) fn cpu_of_ended(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields = stat.rsplit(") ").next().expect("a name in brackets").split(' ');
        // cutime and cstime, in hundredths.
        let ticks: u64 = fields.skip(13).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(10 * ticks)
    }

    /// Times that any of its threads went to sleep of itself, so far.
    pub(crate) fn naps(&self) -> u64 {
        let naps = self.tasks().into_iter().filter_map(|task| {
            let status = fs::read_to_string(task.join("status")).ok()?;
            status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?
                .trim()
                .parse::<u64>()
                .ok()
        });
        naps.sum()
    }

    /// Waits until it has nothing to do.
    pub(crate) fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.cpu();
        while Instant::now() < deadline {
            sleep_until(Instant::now() + LOOK);
            let now = self.cpu();
            if now - before < QUIET {
                return;
            }
            before = now;
        }
    }

    /// Resident memory in bytes. What processes share counts for each of them.
    pub(crate) fn resident(&self) -> u64 {
        self.kibibytes("status", "VmRSS:")
    }

    /// The same, but what `n` processes share counts a nth for each.
    pub(crate) fn proportional(&self) -> u64 {
        self.kibibytes("smaps_rollup", "Pss:")
    }

    fn kibibytes(&self, file: &str, field: &str) -> u64 {
        let of = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
            let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("it has memory");
            1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
        };
        self.processes().into_iter().map(of).sum()
    }

    /// Open files of all its processes.
    pub(crate) fn descriptors(&self) -> usize {
        let of = |pid| fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
        self.processes().into_iter().map(of).sum()
    }

    /// The process that was started, and those that it and they have started.
    fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            let lists =
                tasks(*pid).into_iter().filter_map(|task| fs::read_to_string(task.join("children")).ok());
            let children: Vec<u32> = lists
                .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
                .collect();
            found.extend(children);
            next += 1;
        }
        found
    }

    fn tasks(&self) -> Vec<PathBuf> {
        self.processes().into_iter().flat_map(tasks).collect()
    }

    /// Closes its standard input and waits for a line with `words` in it.
    pub(crate) fn finish(mut self, words: &str) -> String {
        drop(self.child.stdin.take());
        self.wait_for(words)
    }

    /// Asks it to end, as systemd does, and waits for a line with `words` in it.
    pub(crate) fn terminate(self, words: &str) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.wait_for(words)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folders of the threads of a process, if there is such a process.
fn tasks(pid: u32) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    tasks.flatten().map(|task| task.path()).collect()
}

/// CPU time of these threads so far.
fn cpu(tasks: impl Iterator<Item = PathBuf>) -> Duration {
    let nanos = tasks.filter_map(|task| {
        let statistics = fs::read_to_string(task.join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn follow(source: impl std::io::Read + Send + 'static, sender: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            // The receiver may be gone, but the pipe must be emptied.
            let _ = sender.send(line);
        }
    });
}
