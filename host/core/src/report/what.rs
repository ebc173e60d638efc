//! What: everything that can be reported.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::action::Why;
use crate::drop_reason::DropReason;
use crate::knock::Direction;
use crate::module_digest::ModuleDigest;
use crate::rule_log_level::RuleLogLevel;
use crate::tenant_limits::CpuShare;

/// What happened. Texts in it are a rule's, the system's or a configuration's own, to be shown and nothing else.
///
/// [`What::name`] is each one's name in logs; what comes with it is in the fields here and in those of [`super::Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What<'a> {
    // Judging. All of these have a rule, unless they say otherwise.
    /// A client came this far.
    Stage {
        /// How far, from 1.
        stage: u32,
        /// For how long that is remembered.
        lasts: Duration,
    },
    /// A client took too long, having come this far; it starts over.
    TimedOut {
        /// How far, from 1.
        stage: u32,
    },
    /// A client starts over.
    Forgot {
        /// Why, as the rule says it.
        reason: Cow<'a, str>,
        /// Which lines of the rule are logged.
        level: RuleLogLevel,
    },
    /// A client has knocked right; what becomes of that comes next.
    Solved {
        /// Doors are to be closed, and else to be opened.
        closes: bool,
    },
    /// A rule failed. It counts as [`DropReason::Fault`].
    Fault {
        /// In words for the rule's author.
        detail: Cow<'a, str>,
        /// For how long it is not asked now.
        pause: Duration,
        /// The module that it runs.
        module: ModuleDigest,
    },
    /// A tenant's rules use more of a processor than its share: packets for them are dropped from now on, until they use less. The tenant's,
    /// and no single rule's.
    OverShare {
        /// What it may use.
        share: CpuShare,
    },
    /// What [`What::OverShare`] said is over: for some seconds nothing was dropped.
    WithinShare {
        /// How many packets were dropped meanwhile. They count as [`DropReason::OverShare`].
        dropped: u64,
    },
    /// A rule writes a line into the log.
    Says {
        /// How bad it is, by the rule.
        severity: Severity,
        /// Which of the rule's lines are logged.
        level: RuleLogLevel,
        /// The line, as the rule wrote it: it may hold any characters.
        text: Cow<'a, str>,
    },

    // Openings. All of these have a door and a client, and a rule unless the door was found open at the start.
    /// A door is open.
    Opened {
        /// From now.
        lasts: Duration,
        /// The module that its rule ran when this was ordered; none if there was no such rule.
        module: Option<ModuleDigest>,
    },
    /// An open door stays open longer.
    Extended {
        /// From now.
        lasts: Duration,
    },
    /// A door is closed.
    Closed {
        /// Why.
        why: Why,
    },
    /// A verdict, or a part of one, came to nothing. It counts as its reason.
    Refused {
        /// Why.
        reason: DropReason,
        /// More about it, in words; may be empty.
        detail: Cow<'a, str>,
    },
    /// A rule on trial would have opened a door.
    WouldOpen {
        /// For how long.
        lasts: Duration,
    },
    /// A rule on trial would have closed a door, if that was open for the client.
    WouldClose,
    /// Nobody can ask the daemon over its control socket: it has none.
    ControlMissing {
        /// Why, and what to do.
        detail: Cow<'a, str>,
    },
    /// Nobody can have metrics: they are not handed out.
    MetricsMissing {
        /// Why, and what to do.
        detail: Cow<'a, str>,
    },
    /// A command that a hook runs has failed, or was not run.
    HookFailed {
        /// Which hook, as mistakes name it: `hooks[1]`.
        hook: Cow<'a, str>,
        /// Its file and line; none if that is not known any more.
        place: Option<Cow<'a, str>>,
        /// Which command, and why.
        detail: Cow<'a, str>,
    },
    /// Somebody asked over the control socket that a door be opened or closed; what becomes of that comes next. It has no rule.
    ByHand {
        /// The number of the user.
        uid: u32,
        /// It is to be closed, and else to be opened.
        closes: bool,
    },
    /// A rule asked for a longer opening than the configuration allows, and got the longest allowed.
    Shortened {
        /// What it asked for.
        asked: Duration,
        /// What it got.
        lasts: Duration,
    },
    /// A door did not close when ordered to; the engine retries unless this was the last try.
    StuckOpen {
        /// What the door said.
        detail: Cow<'a, str>,
        /// When the next try is; none: never, a person must look.
        again_in: Option<Duration>,
    },

    // Commands of doors.
    /// knockd's commands are run for a client: it gets in.
    Granted,
    /// A command line of knockd's is run.
    CommandRuns {
        /// The line, with the address in place.
        line: Cow<'a, str>,
    },
    /// An opening of knockd's has expired, so its stop command is run.
    StopCommandDue,
    /// A command line of knockd's ended with another status than 0.
    CommandFailed {
        /// The status; 128 and its number for a signal.
        code: i32,
    },
    /// `/bin/sh` cannot be started.
    CommandNotStarted {
        /// The system's words.
        error: Cow<'a, str>,
    },
    /// A start command is longer than knockd runs, so nothing is run.
    StartCommandTooLong,
    /// A stop command is longer than knockd runs, so nothing is run, the start command neither.
    StopCommandTooLong,
    /// A command of knockd's is run although it could not be written down how to close what it opens.
    NotRecorded {
        /// Why not.
        detail: Cow<'a, str>,
    },

    // One-time sequences of knockd's, and rules whose files are gone.
    /// A one-time file has nothing left, so its door is not there.
    OneTimeEmpty,
    /// A one-time sequence could not be crossed out, so its rule opens nothing any more.
    OneTimeFailed {
        /// Why not.
        detail: Cow<'a, str>,
    },
    /// A rule opens nothing any more: its file is gone, though the reload that takes it away is not in force yet.
    Withdrawn,
    /// A withdrawn rule's file is back.
    Back,

    // The journal of what commands opened.
    /// There is no journal.
    JournalMissing {
        /// Why.
        detail: Cow<'a, str>,
        /// Whether commands run all the same; after a crash, what they opened stays open.
        runs_commands: bool,
    },
    /// A journal is damaged and was moved aside.
    JournalDamaged {
        /// Where it was.
        path: Cow<'a, Path>,
        /// What is wrong.
        detail: Cow<'a, str>,
        /// Where it is now.
        kept_as: Cow<'a, Path>,
    },
    /// The journal of an earlier daemon cannot be read, and what is in it stays open.
    JournalUnread {
        /// Which, and why.
        detail: Cow<'a, str>,
    },
    /// A record of the journal makes no sense, and what it was for stays open.
    JournalBadRecord {
        /// Why.
        error: Cow<'a, str>,
    },
    /// The journal cannot be written any more; it is tried again.
    JournalUnwritable {
        /// Which.
        path: Cow<'a, Path>,
        /// Why.
        error: Cow<'a, str>,
    },
    /// The journal can be written again.
    JournalWritable {
        /// Which.
        path: Cow<'a, Path>,
    },
    /// A record of what could not be closed made room for another such record.
    JournalFull,

    // The ledger of used tokens and counters.
    /// Used tokens cannot be recorded, so every opening that needs one is refused.
    LedgerUnusable {
        /// Why, and what to do.
        detail: Cow<'a, str>,
    },
    /// Used tokens are recorded again.
    LedgerUsable {
        /// Where.
        path: Cow<'a, Path>,
    },

    // The packet filter.
    /// The daemon owns the table with the guarded ports, so no other program can change it.
    TableOwned,
    /// Any privileged program may flush the table with the guarded ports.
    TableUnprotected {
        /// Why.
        why: Unprotected,
    },
    /// The table is another daemon's or another configuration's; nothing is opened until it is free.
    TableTaken {
        /// Whose, and what to do.
        detail: Cow<'a, str>,
    },
    /// Another program removed the guard, and it cannot be restored; the doorman retries.
    GuardDown {
        /// Why not.
        detail: Cow<'a, str>,
    },
    /// Another program removed the guard or a part of it, and it is up again.
    GuardRestored {
        /// How many ports and ranges of ports were not guarded.
        ports: usize,
    },
    /// Changes that other programs make to the packet filter cannot be noticed.
    FilterUnwatched {
        /// Why.
        error: Cow<'a, str>,
    },
    /// The link between two of the daemon's processes broke otherwise than by the end of one of them.
    LinkBroken {
        /// Which, and why.
        detail: Cow<'a, str>,
    },
    /// What is open in the packet filter cannot be read.
    OpeningsUnread {
        /// Why.
        detail: Cow<'a, str>,
    },
    /// The doors of a new configuration cannot be put in place; the running configuration goes on.
    DoorsRefused {
        /// The number of the generation that goes on.
        generation: u64,
        /// Why.
        detail: Cow<'a, str>,
    },
    /// Ports that are not guarded any more stay closed for now; it is tried again.
    NotReleased {
        /// Why.
        detail: Cow<'a, str>,
    },
    /// Connections to ports that became guarded live on.
    ConnectionsKept {
        /// How many.
        connections: usize,
    },
    /// Connections to ports that became guarded are cut until their clients knock, as the configuration says.
    ConnectionsCut {
        /// How many.
        connections: usize,
    },
    /// Connections to ports that became guarded may be cut if they were idle.
    ConnectionsUntracked {
        /// Why they cannot be tracked.
        error: Cow<'a, str>,
    },

    // Captures, and what is known of this machine's network.
    /// An interface is captured on.
    Listening {
        /// Its name.
        interface: Cow<'a, str>,
        /// The link type.
        link: Cow<'a, str>,
        /// Which packets.
        direction: Direction,
    },
    /// An interface is captured on of which it was reported that it is not.
    ListeningAgain {
        /// Its name.
        interface: Cow<'a, str>,
        /// The link type.
        link: Cow<'a, str>,
        /// Whether it was captured on before, ever.
        was_open: bool,
    },
    /// An interface cannot be captured on; it is tried again.
    NotListening {
        /// Its name.
        interface: Cow<'a, str>,
        /// Why.
        reason: Cow<'a, str>,
        /// Which packets.
        direction: Direction,
    },
    /// A capture could not be started at all.
    CaptureNotStarted {
        /// Why.
        detail: Cow<'a, str>,
    },
    /// Too many port ranges for the kernel's filter: it lets wider ones through.
    FilterWidened {
        /// How many ranges the rules ask for.
        from: usize,
        /// How many wider ones there are now.
        to: usize,
    },
    /// The kernel has little room for filters, so that unwanted packets may pass while they change.
    FilterCramped {
        /// On which interface.
        interface: Cow<'a, str>,
    },
    /// libpcap does not say on which link a frame came in.
    LinksUnknown {
        /// On which interface.
        interface: Cow<'a, str>,
    },
    /// What becomes of a frame panicked. Reported at counts that are powers of two.
    FramePanicked {
        /// On which interface.
        interface: Cow<'a, str>,
        /// How often by now.
        panics: u64,
    },
    /// The machine's addresses and links were read anew.
    NetworkRead {
        /// How many addresses there are.
        addresses: usize,
        /// How many links there are.
        links: usize,
    },
    /// The machine's addresses and links cannot be read; it is tried again.
    NetworkUnread {
        /// Why.
        error: Cow<'a, str>,
    },
    /// Changes of the machine's addresses and links are not followed any more.
    NetworkUnfollowed {
        /// Why.
        error: Cow<'a, str>,
    },

    // Configuration and reload.
    /// One thing that is wrong with a configuration.
    Mistake {
        /// Where, what, and what to do.
        detail: Cow<'a, str>,
    },
    /// A configuration has more mistakes than have a report each.
    MoreMistakes {
        /// How many more.
        mistakes: usize,
    },
    /// The daemon does not start: its configuration has mistakes, which were reported.
    StartRefused {
        /// How many mistakes.
        mistakes: usize,
        /// All of them in a line, which may be cut.
        detail: Cow<'a, str>,
        /// The file for which ports are guarded all the same; none if none are.
        guards: Option<Cow<'a, str>>,
    },
    /// A new configuration has mistakes, which were reported; the running one goes on.
    ReloadRefused {
        /// The number of the generation that goes on.
        generation: u64,
        /// How many mistakes.
        mistakes: usize,
        /// All of them in a line, which may be cut.
        detail: Cow<'a, str>,
    },
    /// Rules of a tenant have mistakes, which were reported: the tenant goes on with those that it had, and others with what their
    /// files say.
    TenantRefused {
        /// How many rules it goes on with.
        rules: usize,
        /// How many mistakes.
        mistakes: usize,
        /// All of them in a line, which may be cut.
        detail: Cow<'a, str>,
    },
    /// Modules of a tenant are being compiled: the tenant goes on with the rules that it had, and others do not wait.
    TenantCompiling {
        /// How many rules it goes on with.
        rules: usize,
    },
    /// There was no time for all rules of a tenant, since trying them takes long: the tenant goes on with the rules that it had until all are
    /// tried, and others do not wait.
    TenantTrying {
        /// How many rules it goes on with.
        rules: usize,
        /// How many are still to be tried.
        untried: usize,
    },
    /// A rule that its tenant goes on with could open this door before, and cannot any more.
    DoorLost {
        /// The rule's first door, if this one is lost only because that one is not granted; none if this one is not granted.
        without: Option<Cow<'a, str>>,
    },
    /// A rule of a tenant that goes on with what it had does not run any more: its module is not signed by a key that is trusted now.
    Untrusted,
    /// A rule runs a module of a file that it did not run before.
    Loaded {
        /// Which.
        module: ModuleDigest,
        /// The key whose signature let it be loaded, as the configuration has it; none if it needed none.
        signer: Option<Cow<'a, str>>,
    },
    /// A generation is in force.
    InForce {
        /// Its number.
        generation: u64,
        /// How many rules it has.
        rules: usize,
        /// How many doors it has.
        doors: usize,
    },
    /// A setting of the new configuration counts from the next start on, such as the number of workers.
    NextStart {
        /// Where it stands, its key, and that.
        detail: Cow<'a, str>,
    },
    /// Something that is no mistake and should be known before the daemon is relied on.
    Advice {
        /// In words for the operator.
        text: Cow<'a, str>,
    },
    /// The operator has asked for a reload, by SIGHUP.
    Hangup,
    /// Preparing a configuration takes long.
    Slow {
        /// For what.
        phase: Phase,
        /// How long it has taken, in seconds.
        seconds: u64,
        /// At what it is.
        detail: Cow<'a, str>,
        /// Whether another can be begun beside it; none while no reload can be asked for yet.
        may_overtake: Option<bool>,
    },
    /// A reload cannot be begun for want of a thread; it is tried again.
    NoThread {
        /// The system's words.
        error: Cow<'a, str>,
    },
    /// What is compiled cannot be kept, so the next start takes as long as the first.
    CodeNotKept {
        /// Why not.
        detail: Cow<'a, str>,
    },
    /// What tenants are granted cannot be written where they look for it, so a tenant's own check is of what was written before, or of nothing.
    GrantsNotWritten {
        /// Why not.
        detail: Cow<'a, str>,
    },
    /// Changes of files will not be noticed.
    NotWatched {
        /// In which folder; none: anywhere.
        folder: Option<Cow<'a, Path>>,
        /// Why.
        error: Cow<'a, str>,
    },

    // The daemon's life.
    /// For the first time every interface is captured on.
    Ready {
        /// The number of the generation in force.
        generation: u64,
    },
    /// A process of the daemon has given up all that it does not need.
    Confined {
        /// Which: `engine`, `doorman`.
        role: Cow<'a, str>,
        /// What holds it now, in words.
        detail: Cow<'a, str>,
    },
    /// Something that should hold a process of the daemon does not; it runs all the same.
    BarrierMissing {
        /// Which process.
        role: Cow<'a, str>,
        /// What does not, and why.
        detail: Cow<'a, str>,
    },
    /// Everything runs in one process, which has every right that any part of it needs.
    OneProcess {
        /// Why, and what that leaves out.
        detail: Cow<'a, str>,
    },
    /// A process of the daemon has ended that should not have.
    RoleEnded {
        /// Which.
        role: Cow<'a, str>,
        /// How: its status or the signal.
        detail: Cow<'a, str>,
        /// When the next one is started.
        again_in: Duration,
    },
    /// A probe, the knock of nobody's that shows that the daemon works, has not come back in time, or came to nothing.
    ProbeMissing {
        /// For what it waits and for how long, or why it came to nothing.
        detail: Cow<'a, str>,
    },
    /// A thread of the daemon has panicked.
    Panicked {
        /// Which.
        thread: ThreadKind,
    },
    /// Something that a library says which the daemon is made of, where it is not written with fields of its own.
    Library {
        /// How bad it is, by the library.
        severity: Severity,
        /// Its words.
        text: Cow<'a, str>,
    },
    /// `posternd try`: ports are closed from now on, until it is confirmed or given up.
    TryBegun {
        /// For how long at most.
        lasts: Duration,
    },
    /// `posternd try`: the guard stays, and the daemon runs for good.
    TryConfirmed {
        /// By what.
        detail: Cow<'a, str>,
    },
    /// `posternd try`: the guard could not be made to stay, and is tried as before.
    TryNotConfirmed {
        /// Why.
        detail: Cow<'a, str>,
    },
    /// `posternd try`: the guard was given up.
    TryOver {
        /// Why.
        detail: Cow<'a, str>,
    },
    /// The daemon begins to stop.
    Stopping,
    /// The daemon has stopped.
    Stopped {
        /// How many packets were captured; none if a capture was too busy to say so.
        packets: Option<PacketCounts>,
        /// Doors that stay open for their time.
        open: usize,
    },
    /// Doors could not be closed by their commands.
    Untidy {
        /// How many.
        doors: usize,
    },
}

/// Packets on all interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketCounts {
    /// Those that were captured.
    pub received: u64,
    /// Those that were lost, since the daemon was too slow.
    pub lost: u64,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// A person must do something.
    Error,
    /// Something is worse than it should be.
    Warn,
    /// Something changed.
    Info,
    /// For who looks into it.
    Debug,
}

/// Why others can change the table with the guarded ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unprotected {
    /// The kernel does not know tables that are owned and outlive their owner; Linux 6.9 does.
    Kernel,
    /// The table existed before, without an owner; the kernel does not let an owner be added.
    Found,
}

/// For what a configuration is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// For the start; nothing runs yet.
    Start,
    /// For a reload; another runs.
    Reload,
}

/// A thread of the daemon that can panic without ending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThreadKind {
    /// It judges; it starts over without what it remembered of clients.
    Worker,
    /// It captures; it has ended.
    Capture,
    /// It follows addresses and links; it has ended.
    Network,
}
