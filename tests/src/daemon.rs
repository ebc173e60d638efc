//! Daemon: a real `posternd` on a lab's server, with a folder of configuration of its own.
//!
//! If a test panics, everything needed to understand it is printed: the command, the files, the log.

pub(crate) mod log;
mod roles;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::deadline::{PATIENCE, eventually};
use crate::lab::Lab;
use log::{Entry, Log};
pub use roles::{ProcessStatus, is_running};

/// The longest file that is shown, in bytes.
const MOST_SHOWN: u64 = 1 << 20;

/// A configuration that a daemon can be started with.
#[derive(Debug)]
pub struct Setup<'lab> {
    lab: &'lab Lab,
    program: PathBuf,
    folder: TempDir,
    /// Whether compiled code is kept in its folder, and not where that of all tests is.
    keeps_code: bool,
    is_one_process: bool,
    /// For how long it is tried; none if it runs for good.
    lasts: Option<String>,
    environment: Vec<(String, OsString)>,
    /// A command that executes the one behind it, in another way than this process would; none if it is empty.
    through: Vec<String>,
}

/// What is at the other end of a daemon's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    Listens,
    Sleeps,
    Gone,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon<'lab> {
    /// None once it was stopped or killed.
    setup: Option<Setup<'lab>>,
    child: Child,
    command: String,
    log: Log,
    tail: Option<JoinHandle<()>>,
}

impl<'lab> Setup<'lab> {
    /// An empty configuration for the daemon at `program`.
    ///
    /// # Panics
    /// If no temporary folder can be made.
    #[must_use]
    pub fn new(lab: &'lab Lab, program: impl Into<PathBuf>) -> Self {
        let folder = TempDir::with_prefix("postern-").expect("a temporary folder");
        fs::create_dir(folder.path().join("rules")).expect("the folder is ours");
        Self {
            lab,
            program: program.into(),
            folder,
            keeps_code: false,
            is_one_process: false,
            lasts: None,
            environment: Vec::new(),
            through: Vec::new(),
        }
    }

    /// With this as `postern.toml`.
    #[must_use]
    #[track_caller]
    pub fn config(self, text: &str) -> Self {
        self.file("postern.toml", text)
    }

    /// With this as the file of the rule `name`.
    #[must_use]
    #[track_caller]
    pub fn rule(self, name: &str, text: &str) -> Self {
        self.file(&format!("rules/{name}.toml"), text)
    }

    /// With any other file, named relative to the folder.
    #[must_use]
    #[track_caller]
    pub fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        let parent = self.folder.path().join(name).parent().map(fs::create_dir_all);
        parent.unwrap_or(Ok(())).unwrap_or_else(|e| panic!("{name}: {e}"));
        write(self.folder.path(), name, contents.as_ref());
        self
    }

    /// With a place of its own for compiled code, the folder `code`: what other tests compiled is compiled again.
    #[must_use]
    pub const fn own_code(mut self) -> Self {
        self.keeps_code = true;
        self
    }

    /// In one process.
    #[must_use]
    pub const fn one_process(mut self) -> Self {
        self.is_one_process = true;
        self
    }

    /// To be tried for so long.
    #[must_use]
    pub fn tried(mut self, lasts: &str) -> Self {
        self.lasts = Some(lasts.to_owned());
        self
    }

    /// To run for good.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.lasts = None;
        self
    }

    /// Where compiled code is kept, after [`Setup::own_code`].
    #[must_use]
    pub fn code(&self) -> PathBuf {
        self.folder.path().join("code")
    }

    /// Where the daemon writes down what tenants are granted.
    #[must_use]
    pub fn grants(&self) -> PathBuf {
        self.folder.path().join("run/tenants")
    }

    /// As another user, which has these capabilities, named without `CAP_`. The folders that the daemon writes to must be that user's.
    #[must_use]
    pub fn user(mut self, user: u32, capabilities: &[&str]) -> Self {
        let mut kept = String::from("-all");
        for capability in capabilities {
            let _ = write!(kept, ",+{capability}");
        }
        let to = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
        let sets = ["inh-caps", "ambient-caps", "bounding-set"].map(|set| format!("--{set}={kept}"));
        self.through = ["setpriv".to_owned()].into_iter().chain(to).chain(sets).collect();
        self
    }

    /// With a limit of open files that it may raise.
    #[must_use]
    pub fn open_files(mut self, most_at_first: u32) -> Self {
        self.through = vec!["prlimit".to_owned(), format!("--nofile={most_at_first}:")];
        self
    }

    /// With this in the daemon's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `posternd check` to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn check(&self) -> Output {
        self.ask("check", &[])
    }

    /// Runs `posternd doctor` with these arguments to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn doctor(&self, arguments: &[&str]) -> Output {
        self.ask("doctor", arguments)
    }

    /// Runs `posternd check --tenant` with these arguments behind it to its end, as a user without any right who need not be able to get at the
    /// program.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn check_tenant<S: AsRef<OsStr>>(&self, user: u32, arguments: &[S]) -> Output {
        let program = File::open(&self.program).unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        command.args(["/proc/self/fd/0", "check", "--tenant"]).args(arguments).stdin(program);
        command.env("RUNTIME_DIRECTORY", self.folder.path().join("run")).current_dir("/");
        self.lab.server().run(|| command.output()).unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
    }

    /// Starts the daemon and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Daemon<'lab> {
        let daemon = self.launch();
        daemon.wait_for("ready", |_| true);
        daemon
    }

    /// Starts the daemon and does not wait: for those that are meant to fail.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    #[track_caller]
    pub fn launch(self) -> Daemon<'lab> {
        self.spawn(Hearing::Listens)
    }

    /// Starts the daemon with a log that has no reader.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    #[track_caller]
    pub fn launch_unheard(self) -> Daemon<'lab> {
        self.spawn(Hearing::Gone)
    }

    /// Starts the daemon with a reader of its log that never reads.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    #[track_caller]
    pub fn launch_unread(self) -> Daemon<'lab> {
        self.spawn(Hearing::Sleeps)
    }

    /// The program, as whom it is to run.
    #[track_caller]
    fn command(&self) -> Command {
        let Some((first, arguments)) = self.through.split_first() else {
            let mut command = Command::new(&self.program);
            command.stdin(Stdio::null());
            return command;
        };
        // By a descriptor: another user may have no way to where it was built.
        let program = File::open(&self.program).unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        let mut command = Command::new(first);
        command.args(arguments).arg("/proc/self/fd/0").stdin(program);
        command
    }

    /// The arguments of the daemon.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = match &self.lasts {
            Some(lasts) => vec!["try".into(), "--for".into(), lasts.into()],
            None => vec!["run".into()],
        };
        arguments.extend(["--log-format", "json", "--config"].map(OsString::from));
        arguments.push(self.folder.path().join("postern.toml").into());
        arguments.extend(self.is_one_process.then(|| "--one-process".into()));
        arguments
    }

    /// Runs what looks at the configuration and starts no daemon, with the daemon's folders.
    #[track_caller]
    fn ask(&self, subcommand: &str, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args([subcommand, "--config"]).arg(self.folder.path().join("postern.toml")).args(arguments);
        self.furnish(&mut command);
        self.lab.server().run(|| command.output()).unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
    }

    /// Its folders, and what else is in its environment.
    pub fn furnish(&self, command: &mut Command) {
        command.env("STATE_DIRECTORY", self.folder.path().join("state"));
        command.env("RUNTIME_DIRECTORY", self.folder.path().join("run"));
        if self.keeps_code {
            command.env("CACHE_DIRECTORY", self.code());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    #[track_caller]
    fn spawn(self, hearing: Hearing) -> Daemon<'lab> {
        let mut command = self.command();
        command.args(self.arguments());
        self.furnish(&mut command);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let spawned = self.lab.server().spawn(&mut command);
        let mut child = spawned.unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let (log, tail) = match (hearing, child.stderr.take()) {
            (Hearing::Listens, Some(stderr)) => Log::tail(stderr),
            (Hearing::Sleeps, stderr) => {
                child.stderr = stderr;
                Log::tail(io::empty())
            }
            (_, _) => Log::tail(io::empty()),
        };
        Daemon { setup: Some(self), child, command: format!("{command:?}"), log, tail: Some(tail) }
    }
}

impl<'lab> Daemon<'lab> {
    /// The folder of its configuration.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.setup.as_ref().expect("it runs").dir()
    }

    /// As [`Setup::grants`].
    #[must_use]
    pub fn grants(&self) -> PathBuf {
        self.setup.as_ref().expect("it runs").grants()
    }

    /// Where it can be asked.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.dir().join("run/control.sock")
    }

    /// As [`Setup::check_tenant`].
    #[must_use]
    #[track_caller]
    pub fn check_tenant<S: AsRef<OsStr>>(&self, user: u32, arguments: &[S]) -> Output {
        self.setup.as_ref().expect("it runs").check_tenant(user, arguments)
    }

    /// As [`Setup::doctor`].
    #[must_use]
    #[track_caller]
    pub fn doctor(&self, arguments: &[&str]) -> Output {
        self.setup.as_ref().expect("it runs").doctor(arguments)
    }

    /// Everything it said so far.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Waits for the first event of this name that fits.
    ///
    /// # Panics
    /// If there is none in time.
    #[track_caller]
    pub fn wait_for(&self, event: &str, fits: impl Fn(&Entry) -> bool) -> Entry {
        self.wait_since(0, event, fits)
    }

    /// Waits for the first event of this name that fits, behind a [`Log::mark`].
    ///
    /// # Panics
    /// If there is none in time.
    #[track_caller]
    pub fn wait_since(&self, mark: usize, event: &str, fits: impl Fn(&Entry) -> bool) -> Entry {
        let look = |entries: &[Entry]| {
            entries.iter().skip(mark).find(|entry| entry.event() == event && fits(entry)).cloned()
        };
        match self.log.wait(PATIENCE, look) {
            Ok(entry) => entry,
            Err(why) => panic!("no such event {event:?} {why}"),
        }
    }

    /// Asserts that no event of this name that fits was logged so far. Wait first for something that comes after it would have.
    ///
    /// # Panics
    /// If there is one.
    #[track_caller]
    pub fn expect_none(&self, event: &str, fits: impl Fn(&Entry) -> bool) {
        let found = self.log.entries().into_iter().find(|entry| entry.event() == event && fits(entry));
        assert!(found.is_none(), "unexpected: {}", found.map_or_else(String::new, |entry| entry.to_string()));
    }

    /// What happened with a client so far, an event an item: see [`Entry::told`].
    #[must_use]
    pub fn story(&self, client: IpAddr) -> Vec<String> {
        tell(&self.log.entries(), client)
    }

    /// Waits until as much has happened with a client as in `expected`, and asserts that it was just that.
    ///
    /// # Panics
    /// If it was not, or not in time.
    #[track_caller]
    pub fn expect_story(&self, client: IpAddr, expected: &[&str]) {
        let enough = |entries: &[Entry]| {
            let story = tell(entries, client);
            let is_right_so_far = story.iter().zip(expected).all(|(is, should)| is == should);
            (story.len() >= expected.len() || !is_right_so_far).then_some(story)
        };
        let story = self.log.wait(PATIENCE, enough).unwrap_or_else(|_| self.story(client));
        assert_eq!(story, expected, "what happened with {client}");
    }

    /// Writes a file of its configuration the way editors do: beside it first, then in its place.
    #[track_caller]
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        write(self.dir(), name, contents.as_ref());
    }

    /// Writes the file of a rule, and waits until the daemon has taken it.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn change_rule(&self, name: &str, text: &str) -> Entry {
        let mark = self.log.mark();
        self.write(&format!("rules/{name}.toml"), text);
        self.wait_since(mark, "reload", |_| true)
    }

    /// Waits until it refused a reload, after a [`Log::mark`].
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn wait_for_refusal(&self, mark: usize) -> Entry {
        self.wait_since(mark, "reload-refused", |_| true)
    }

    /// Removes a file of its configuration.
    ///
    /// # Panics
    /// If it is not there.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.dir().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("{signal:?}: {e}"));
    }

    /// Asks it to stop and waits until it did, successfully.
    ///
    /// # Panics
    /// If it does not in time, or says that it failed.
    #[track_caller]
    pub fn stop(mut self) -> (Setup<'lab>, Log) {
        self.signal(Signal::TERM);
        let status = self.wait_for_end();
        assert!(status.success(), "it ended with {status}");
        self.release()
    }

    /// Kills it without warning.
    ///
    /// # Panics
    /// If it has ended before.
    #[track_caller]
    pub fn kill(mut self) -> (Setup<'lab>, Log) {
        self.signal(Signal::KILL);
        self.wait_for_end();
        self.release()
    }

    /// Waits for its end, asked or not.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the end of the daemon", || child.try_wait().transpose());
        if let Some(tail) = self.tail.take() {
            // Ends with the pipe; a panic there was printed there.
            let _ = tail.join();
        }
        status.expect("a child of ours can be waited for")
    }

    /// Its configuration and files, after [`Daemon::wait_for_end`].
    ///
    /// # Panics
    /// If it has not ended.
    #[must_use]
    #[track_caller]
    pub fn ended(mut self) -> Setup<'lab> {
        assert!(matches!(self.child.try_wait(), Ok(Some(_))), "it still runs");
        self.release().0
    }

    /// The number of its first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn release(mut self) -> (Setup<'lab>, Log) {
        (self.setup.take().expect("given away only here"), self.log.clone())
    }

    fn explain(&self) -> String {
        let mut text = format!("\n--- command\n{}\n", self.command);
        if let Some(setup) = &self.setup {
            for path in ["postern.toml".into(), "rules".into()].map(|name: PathBuf| setup.dir().join(name)) {
                show(&path, &mut text);
            }
        }
        text += "--- log\n";
        for entry in self.log.entries() {
            let _ = writeln!(text, "{entry}");
        }
        text
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.explain());
        }
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tell(entries: &[Entry], client: IpAddr) -> Vec<String> {
    let client = client.to_string();
    entries.iter().filter(|entry| entry.text("src") == client).filter_map(Entry::told).collect()
}

#[track_caller]
fn write(folder: &Path, name: &str, contents: &[u8]) {
    let path = folder.join(name);
    let beside = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().display()));
    let written = fs::write(&beside, contents).and_then(|()| fs::rename(&beside, &path));
    written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Appends a text file, or those in a folder. What a link names may never be answered.
fn show(path: &Path, text: &mut String) {
    if path.is_symlink() {
        let _ = writeln!(text, "--- {} is a link", path.display());
    } else if let Ok(files) = fs::read_dir(path) {
        let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        files.sort();
        files.iter().for_each(|file| show(file, text));
    } else if path.metadata().is_ok_and(|file| !file.is_file() || file.len() > MOST_SHOWN) {
        let _ = writeln!(text, "--- {} is no file, or a long one", path.display());
    } else if let Ok(contents) = fs::read_to_string(path) {
        let _ = write!(text, "--- {}\n{contents}\n", path.display());
    }
}
