//! The runner's process: runs the commands of doors for an engine that may start no process, and keeps the journal of what they open. It holds
//! every order to the tables that the supervisor gave it, and reads no configuration and no packet.
//!
//! It has all rights that the daemon was started with, since commands have them, and no `no_new_privs`, since commands may use sudo.
//!
//! **Death of either.** Without an engine, what is due is closed by the journal; the next engine is handed the rest. A runner notes for the next
//! one what was recorded, begun and closed ([`Notes`]), and has each command run by a shim that lives on: the next runner waits for it. What was
//! under way is answered with an error by the engine's side of the link, so that an opening is closed and a close is tried again; then what had
//! not begun is struck out, what is open is closed, and what is closed is not closed again. A `knockd.conf` door is closed by its command
//! whether the journal knows of it or not, and its commands have no shim: knockd itself has neither.

mod engine_end;
mod news;
mod tables;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use postern_capture::Shown;
use postern_core::{
    Act, DropReason, ListedOpening, Observer, OpeningKey, OpeningNote, Order, OrderError, Receipt,
    RecordError, Report, What,
};
use postern_link::{
    FromRunner, MOST_RUNNER_BYTES, OrderLink, RunnerAnswer, RunnerRequest, Talk, TalkReceiver, TalkSender,
    ToRunner,
};
use postern_runner::{Call, HookRunner, InheritedNotes, Journal, Notes, Runner, RunnerEvent, Shims, journal};
use postern_text::chain;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::oneshot;

use super::begin::RoleStart;
use crate::command_doors::RecordedOpening;
use engine_end::EngineEnd;
use news::{Heard, News};
use tables::Tables;

/// For how long the supervisor may leave a message of the runner's unread before the runner ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long there may be no engine before the runner closes by itself what is due: the next one is there sooner, if there is one.
const ALONE: Duration = Duration::from_secs(2);
/// How soon it looks again whether what a command runs for can be handed over.
const SOON: Duration = Duration::from_millis(20);
/// How often it looks whether anything is due.
const LOOK: Duration = Duration::from_millis(500);
/// So many may always be closed at once, also what the runner does not know to be open.
const CLOSING: usize = 512;

/// Is a runner, until the supervisor at standard input is gone. It keeps every right: commands have them.
///
/// # Errors
/// If the supervisor does not make sense, or nothing can be logged.
pub fn run() -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let begin = |start: RoleStart<'_>| start.observe().map(|telling| telling.observer);
    let role = RunnerRole::start(Talk::of_standard_input()?, Shims::OWN_BINARY.into(), begin)?;
    role.map_or(Ok(()), RunnerRole::serve)?;
    Ok(())
}

/// The runner of one supervisor.
pub struct RunnerRole {
    control: TalkReceiver,
    supervisor: TalkSender,
    observer: Arc<dyn Observer>,
    notes: Arc<Notes>,
    /// Until they are taken over.
    inherited: InheritedNotes,
    /// What is executed as the shim of a command.
    shim: PathBuf,
    state_folder: PathBuf,
    journal_stem: String,
    engine: Option<u64>,
}

/// What it does, once it runs.
struct Serving {
    role: RunnerRole,
    runner: Runner,
    hooks: HookRunner,
    news: News,
    /// Who is answered when the journal is open, or cannot be: that is found out on another thread while there are any.
    opening_journal: Vec<u64>,
    has_journal: bool,
    tables: Tables,
    engine: Option<EngineEnd>,
    /// Whether something may be open that the engine does not know.
    is_handing_over: bool,
    /// Since when there is none.
    alone_since: Instant,
    /// What is under way: by the number that the runner knows it by, for which engine, and the number that this knows it by.
    under_way: HashMap<u64, (u64, u64)>,
    last: u64,
}

impl RunnerRole {
    /// Waits for the supervisor's first message, and ends what the runner before left running that no record is of; none if the supervisor
    /// is gone. Commands are run by `shim`, which is posternd's binary. `begin` makes the observer.
    ///
    /// # Errors
    /// If the supervisor says something else, or the observer cannot be made.
    pub fn start(
        control: Talk,
        shim: PathBuf,
        begin: impl FnOnce(RoleStart<'_>) -> io::Result<Arc<dyn Observer>>,
    ) -> io::Result<Option<Self>> {
        let (supervisor, mut control) = control.split(Some(PATIENCE))?;
        let Some((message, descriptors)) = control.receive(MOST_RUNNER_BYTES)? else { return Ok(None) };
        let ToRunner::Start { log_filter, state_folder, journal_stem, engine } = message else {
            return Err(unexpected("the first message does not start it"));
        };
        let mut descriptors = descriptors.into_iter();
        let reports = descriptors.next().ok_or_else(|| unexpected("there is no stream for its reports"))?;
        let observer = begin(RoleStart { log_filter: &log_filter, account: None, reports })?;
        let (notes, mut inherited) = match descriptors.next() {
            Some(memory) => Notes::inherit(memory)?,
            None => (Notes::new()?, InheritedNotes::default()),
        };
        inherited.end_unrecorded();
        supervisor.send(&FromRunner::Started, &[notes.descriptor()?.as_fd()])?;
        Ok(Some(Self {
            control,
            supervisor,
            observer,
            notes,
            inherited,
            shim,
            state_folder,
            journal_stem,
            engine,
        }))
    }

    /// Runs commands until the supervisor is gone; the journal is written then, and what is still open is closed by the next start.
    ///
    /// # Errors
    /// If the supervisor sends nonsense, or does not listen any more.
    pub fn serve(mut self) -> io::Result<()> {
        // Commands are waited for on a thread of their own; this one has the links.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let commands = move || {
            // An error is that this one has ended.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        let commands = thread::Builder::new().name("commands".to_owned()).spawn(commands)?;
        let (wake, (news, heard)) =
            (Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?), channel());
        let news = News { sender: news, wake: Arc::clone(&wake) };
        let shims = Shims::start(Arc::clone(&self.notes), self.shim.clone())?;
        let (runner, hooks) = {
            let (_inside, news) = (inside.enter(), news.clone());
            let runner =
                Runner::new(move |event| news.tell(Heard::Runner(event)), Arc::clone(&self.observer));
            (runner, HookRunner::new(Arc::clone(&self.observer), Some(Arc::clone(&shims))))
        };
        hooks.take_over(&mut self.inherited);
        runner.succeed(shims, std::mem::take(&mut self.inherited));
        runner.serve(self.engine.unwrap_or_default());
        let mut serving = Serving {
            role: self,
            runner,
            hooks,
            news,
            opening_journal: Vec::new(),
            has_journal: false,
            tables: Tables::default(),
            engine: None,
            is_handing_over: false,
            alone_since: Instant::now(),
            under_way: HashMap::new(),
            last: 0,
        };
        let served = serving.run(&wake, &heard);
        serving.runner.flush();
        drop((serving, stop));
        let _ = commands.join();
        served
    }
}

impl Serving {
    fn run(&mut self, wake: &OwnedFd, heard: &Receiver<Heard>) -> io::Result<()> {
        let mut looked = Instant::now();
        loop {
            let is_engine_ready = self.wait(wake);
            let _ = rustix::io::read(wake, &mut [0; 8]);
            while let Ok(heard) = heard.try_recv() {
                self.hear(heard)?;
            }
            // First: an engine is never told of a table before the runner is, but may be quicker.
            if !self.take_control()? {
                return Ok(());
            }
            if is_engine_ready && self.opening_journal.is_empty() {
                self.serve_engine();
            }
            self.hand_over();
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.close_due();
            }
        }
    }

    /// Waits until there is something to do; whether the engine has something to say or to take.
    fn wait(&self, wake: &OwnedFd) -> bool {
        let mut fds = vec![PollFd::new(wake, PollFlags::IN), PollFd::new(&self.role.control, PollFlags::IN)];
        // Until the journal is open it is not known what is: nothing is opened or closed that it does not know.
        if let Some(engine) = self.engine.as_ref().filter(|_| self.opening_journal.is_empty()) {
            fds.push(PollFd::new(engine, engine.wanted()));
        }
        // An engine closes what is due itself; there is nothing to look for meanwhile.
        let pause = match &self.engine {
            // A command has ended, but its place among those that run is given up a little later.
            Some(_) if self.is_handing_over => Some(SOON),
            Some(_) => None,
            None => Some(LOOK),
        };
        let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
        let _ = poll(&mut fds, timeout.as_ref());
        fds.get(2).is_some_and(|fd| !fd.revents().is_empty())
    }

    fn hear(&mut self, heard: Heard) -> io::Result<()> {
        match heard {
            Heard::Runner(event) => self.tell(event),
            Heard::Journal(opened) => {
                let error = match *opened {
                    Ok((journal, rows)) => {
                        self.role.notes.note_journal(journal.number());
                        self.runner.use_journal(journal);
                        self.runner.take_over(rows);
                        self.has_journal = true;
                        self.is_handing_over = true;
                        None
                    }
                    Err(error) => {
                        // Nobody keeps the time of what the runner before left running.
                        self.runner.end_unknown();
                        Some(chain(&error).to_string())
                    }
                };
                for ticket in std::mem::take(&mut self.opening_journal) {
                    self.answer_journal(ticket, error.clone())?;
                }
                self.hand_over();
            }
        }
        Ok(())
    }

    /// Takes what the supervisor has sent: an engine is never told of a table before the runner is. False if the supervisor is gone.
    fn take_control(&mut self) -> io::Result<bool> {
        while is_readable(&self.role.control) {
            let Some((message, descriptors)) = self.role.control.receive(MOST_RUNNER_BYTES)? else {
                return Ok(false);
            };
            self.obey(message, descriptors)?;
        }
        Ok(true)
    }

    fn obey(&mut self, message: ToRunner, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match message {
            ToRunner::Start { .. } => return Err(unexpected("it has started already")),
            ToRunner::Table(table) => {
                let number = table.number;
                self.tables.give(table);
                return self.role.supervisor.send(&FromRunner::Took { table: number }, &[]);
            }
            ToRunner::RunHook(run) => self.hooks.run(run),
            ToRunner::OpenJournal { ticket, is_needed } => return self.open_journal(ticket, is_needed),
            ToRunner::Engine { number } => {
                let link = descriptors.into_iter().next();
                let link = OrderLink::from(link.ok_or_else(|| unexpected("the engine has no link"))?);
                self.runner.serve(number);
                self.engine = Some(EngineEnd::new(number, link)?);
                self.is_handing_over = true;
                self.hand_over();
            }
        }
        Ok(())
    }

    /// Opens the journal if it is not open, and if it is needed or there is one.
    fn open_journal(&mut self, ticket: u64, is_needed: bool) -> io::Result<()> {
        let folder = self.role.state_folder.clone();
        if self.has_journal || !(is_needed || journal::is_any(&folder)) {
            return self.answer_journal(ticket, None);
        }
        self.opening_journal.push(ticket);
        if self.opening_journal.len() > 1 {
            return Ok(());
        }
        let (stem, observer) = (self.role.journal_stem.clone(), Arc::clone(&self.role.observer));
        let (news, left) = (self.news.clone(), self.role.notes.journal());
        // It may have to wait for another daemon that starts, or for a disk.
        let open = move || {
            news.tell(Heard::Journal(Box::new(Journal::open_after(left, &folder, &stem, observer))));
        };
        thread::Builder::new().name("open-journal".to_owned()).spawn(open).map(drop)
    }

    fn answer_journal(&self, ticket: u64, error: Option<String>) -> io::Result<()> {
        let is_there = self.has_journal;
        self.role.supervisor.send(&FromRunner::Journal { ticket, is_there, error }, &[])
    }

    fn serve_engine(&mut self) {
        let Some(mut engine) = self.engine.take() else { return };
        let served = engine.serve(|number, request, note| self.answer(number, request, note));
        match served {
            Ok(()) => self.engine = Some(engine),
            Err(end) => {
                self.alone_since = Instant::now();
                if let Some(detail) = end {
                    self.role.observer.report(&Report::new(What::LinkBroken { detail: detail.into() }));
                }
            }
        }
    }

    /// Does what an engine asks; what is to be said at once.
    fn answer(&mut self, engine: u64, request: RunnerRequest, note: OpeningNote) -> Option<RunnerAnswer> {
        match request {
            // Taken by the link.
            RunnerRequest::Hello(_) => None,
            RunnerRequest::Run { table, rule, order } => {
                let serial = order.serial;
                let outcome = self.run_order(engine, table, rule, order);
                let refused = |error| RunnerAnswer::Receipt(Receipt { serial, outcome: Err(error) });
                outcome.err().map(refused)
            }
            RunnerRequest::Record { table, rule, serial, key, lasts } => {
                let outcome = self.record(engine, table, rule, RecordedOpening { serial, key, lasts, note });
                let failed = |error: OrderError| Err(RecordError::Failed(error.to_string()));
                outcome.err().map(|error| RunnerAnswer::Recorded { serial, result: failed(error) })
            }
            RunnerRequest::StrikeOut(key) => {
                self.runner.strike_out(key);
                None
            }
            RunnerRequest::Note { key, lasts } => {
                // No longer than it may have been opened for.
                let most = self.tables.longest().max(self.runner.remaining(&key));
                self.runner.note(key, lasts.min(most), note);
                None
            }
            RunnerRequest::Abandon(key) => {
                self.runner.abandon(key);
                Some(RunnerAnswer::Abandoned { count: self.runner.abandoned() as u64 })
            }
        }
    }

    fn run_order(
        &mut self,
        engine: u64,
        table: u32,
        rule: Option<u32>,
        order: Order,
    ) -> Result<(), OrderError> {
        let Order { serial, door, client, occurrence, act } = order;
        let key = OpeningKey { door, client, occurrence };
        let known = match act {
            Act::Open(lasts) | Act::Extend(lasts) => {
                let known = self.tables.opening(table, door, lasts)?;
                self.check_room(self.under_way.len(), self.tables.most_under_way())?;
                if known.must_be_recorded() && !self.runner.is_recorded(&key) {
                    let words = "how to close it is not in the journal, so it is not opened";
                    return Err(OrderError::new(DropReason::NotRecorded, words));
                }
                Some(known)
            }
            // By the journal, whatever table the engine goes by: it must be closed.
            Act::Close | Act::Expire => {
                self.check_room(self.under_way.len(), self.most_closing())?;
                self.tables.door(door).filter(|known| known.is_shell())
            }
        };
        let rule = self.tables.rule(table, rule)?.cloned();
        if matches!(act, Act::Open(_) | Act::Extend(_)) {
            self.runner.ordered(&key);
        }
        let number = self.begin(engine, serial);
        match known {
            Some(known) => {
                let shown = Shown(client);
                let call = Call { key, rule: rule.as_ref(), door: &known.name, client: &shown };
                self.runner.run(&known.commands, number, act, &call);
            }
            None => self.runner.close_recorded(number, key),
        }
        Ok(())
    }

    fn record(
        &mut self,
        engine: u64,
        table: u32,
        rule: Option<u32>,
        opening: RecordedOpening,
    ) -> Result<(), OrderError> {
        let RecordedOpening { serial, key, lasts, note } = opening;
        let known = self.tables.opening(table, key.door, lasts)?;
        let rule = self.tables.rule(table, rule)?.cloned();
        self.check_room(self.under_way.len(), self.tables.most_under_way())?;
        if !self.runner.is_recorded(&key) {
            self.check_room(self.runner.recorded(), self.tables.most_openings())?;
        }
        let number = self.begin(engine, serial);
        let shown = Shown(key.client);
        let call = Call { key, rule: rule.as_ref(), door: &known.name, client: &shown };
        self.runner.record(&known.commands, number, lasts, note, &call);
        Ok(())
    }

    /// Most that may be under way if one more is to be closed: there is room for closing everything while as much is being opened.
    fn most_closing(&self) -> usize {
        self.tables.most_under_way().saturating_add(2 * self.runner.recorded().max(CLOSING))
    }

    fn check_room(&self, count: usize, most: usize) -> Result<(), OrderError> {
        if count < most {
            return Ok(());
        }
        Err(OrderError::new(DropReason::BeyondTable, format!("the runner allows {most} at once")))
    }

    /// A number of its own for what an engine asks: those of two engines are the same.
    fn begin(&mut self, engine: u64, serial: u64) -> u64 {
        self.last += 1;
        self.under_way.insert(self.last, (engine, serial));
        self.last
    }

    /// Passes an answer on to the engine that asked, if it is still there.
    fn tell(&mut self, event: RunnerEvent) {
        let (RunnerEvent::Answered(Receipt { serial, .. }) | RunnerEvent::Recorded { serial, .. }) = &event;
        let asked = self.under_way.remove(serial);
        if let Some((engine, serial)) = asked {
            let answer = match event {
                RunnerEvent::Answered(receipt) => RunnerAnswer::Receipt(Receipt { serial, ..receipt }),
                RunnerEvent::Recorded { result, .. } => RunnerAnswer::Recorded { serial, result },
            };
            if let Some(end) = self.engine.as_mut().filter(|end| end.number() == engine) {
                end.say(&answer);
            }
        }
        // A command of an earlier engine may have ended, and not have closed what it was to close.
        self.hand_over();
    }

    /// Tells the engine what is open that it does not know.
    fn hand_over(&mut self) {
        let Some(engine) = self.engine.as_mut().filter(|_| self.is_handing_over) else { return };
        let (openings, is_complete) = self.runner.hand_over();
        self.is_handing_over = !is_complete;
        for (key, record) in openings {
            let remaining = record.remaining().max(Duration::from_millis(1));
            let opening = ListedOpening { door: key.door, client: key.client, remaining, note: record.note };
            engine.say(&RunnerAnswer::HandedOver { opening, name: record.door });
        }
    }

    /// Closes what is due if there has been no engine for a while.
    fn close_due(&mut self) {
        if self.engine.is_none() && self.alone_since.elapsed() >= ALONE {
            self.last += 1;
            self.runner.close_due(self.last);
        }
    }
}

/// Whether there is something to read at once, or the end.
fn is_readable(end: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&now)).is_ok_and(|count| count > 0)
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the supervisor does not make sense to the runner: {what}"),
    )
}
