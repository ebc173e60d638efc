//! ReaderProcess: a process that reads as a tenant's user, what it says, and its end, for which nobody waits longer than its time.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read as _, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use postern_config::{FileBeside, FolderBounds, Unread};
use postern_link::{Talk, TalkReceiver, TalkSender};
use postern_text::clean;
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_setfl, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::is_plain;
use super::places::Place;
use super::reader_messages::{
    AskBeside, CopiedTo, FromReader, MOST_ANSWER, MOST_BARRIERS, MOST_TEXT, ReaderStart,
};
use crate::role::{OwnProgram, Role};

/// How long its start may wait in the link.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of what it writes to its standard error, and most characters of that which are shown.
const MOST_WORDS: u64 = 4096;
const MOST_SHOWN: usize = 300;
/// Most bytes of why files are not read: as much as for that of every file of a full folder.
const MOST_REFUSED: u64 = 64 << 20;
/// How long it is waited for when it was killed; after that somebody else waits.
const LAST: Duration = Duration::from_millis(100);

/// A reader at work. It is killed when this is dropped; one that cannot be killed is waited for elsewhere.
pub(super) struct ReaderProcess {
    sender: TalkSender,
    receiver: TalkReceiver,
    words: PipeReader,
    /// What it reads at this moment.
    reads: Option<OsString>,
    /// Bytes that are still taken of why it does not read something.
    left_to_refuse: u64,
    child: Option<Child>,
    place: Option<Place>,
    alarm: Alarm,
}

/// Ends a process, and the link to it, at its time; not if it is dropped before.
struct Alarm {
    rang: Arc<AtomicBool>,
    _off: Sender<()>,
}

/// A file for the bytes of a module that nobody else can change once they are taken.
pub(super) struct ModuleCopy(File);

/// The bytes of files that nobody can change any more.
#[derive(Debug)]
pub(super) struct SealedCopies(File);

impl ReaderProcess {
    /// Starts one in a folder, with what its job needs beside that.
    ///
    /// # Errors
    /// If the system has no process or no thread for it.
    pub(super) fn start(
        program: &OwnProgram,
        place: Place,
        start: &ReaderStart,
        folder: BorrowedFd<'_>,
        beside: &[BorrowedFd<'_>],
    ) -> io::Result<Self> {
        let (mut command, link) = program.command(Role::Reader)?;
        let (words, its_words) = pipe()?;
        // A process that writes without end must neither wait for us nor be waited for.
        fcntl_setfl(&its_words, OFlags::NONBLOCK)?;
        fcntl_setfl(&words, OFlags::NONBLOCK)?;
        let child = command.stdout(Stdio::null()).stderr(its_words).spawn()?;
        // Ours would keep the link and the pipe open.
        drop(command);
        let (process, sender) = Self::of(child, link, words, place)?;
        let descriptors: Vec<_> = [folder].into_iter().chain(beside.iter().copied()).collect();
        // If it died before it could read, that is found when it should answer.
        let _ = sender.send(start, &descriptors);
        Ok(process)
    }

    /// One that was started, and where it is told what to do.
    fn of(child: Child, link: Talk, words: PipeReader, place: Place) -> io::Result<(Self, TalkSender)> {
        let (sender, receiver) = link.split(Some(PATIENCE))?;
        let deadline = place.deadline;
        let alarm = Alarm::off();
        let mut process = Self {
            sender: sender.clone(),
            receiver,
            words,
            reads: None,
            left_to_refuse: MOST_REFUSED,
            child: Some(child),
            place: Some(place),
            alarm,
        };
        process.alarm = Alarm::set(process.pidfd()?, sender.clone(), deadline)?;
        Ok((process, sender))
    }

    /// Waits until it is the user; which barriers are not around it.
    pub(super) fn confined(&mut self) -> Result<Vec<String>, Unread> {
        match self.receive()? {
            FromReader::Confined { missing } if missing.len() <= MOST_BARRIERS => {
                Ok(missing.iter().map(|missing| clean(missing, MOST_TEXT).into_owned()).collect())
            }
            _ => Err(nonsense()),
        }
    }

    /// How many rule files there are; before, `not_watched` is told why the folder is not watched, if it is not.
    pub(super) fn count(
        &mut self,
        bounds: FolderBounds,
        not_watched: impl FnOnce(&str),
    ) -> Result<usize, Unread> {
        let answer = match self.receive()? {
            FromReader::NotWatched(why) => {
                not_watched(&clean(&why, MOST_TEXT));
                self.receive()?
            }
            answer => answer,
        };
        match answer {
            FromReader::Count(count) if count <= bounds.files => Ok(count),
            FromReader::Refused(unread) => {
                self.done();
                Err(bounded(unread))
            }
            _ => Err(nonsense()),
        }
    }

    /// The name of the next rule file.
    pub(super) fn name(&mut self) -> Result<OsString, Unread> {
        match self.receive()? {
            FromReader::Name(name) if is_plain(&name) => {
                self.reads = Some(name.clone());
                Ok(name)
            }
            _ => Err(nonsense()),
        }
    }

    /// The text of a rule file, or why there is none. `left` bytes are taken of all of them.
    pub(super) fn text(&mut self, left: &mut u64) -> Result<Result<String, Unread>, Unread> {
        let FromReader::Text(text) = self.receive()? else { return Err(nonsense()) };
        self.reads = None;
        let text = text.map_err(bounded);
        match &text {
            Ok(text) => *left = left.checked_sub(text.len() as u64).ok_or_else(nonsense)?,
            Err(unread) => self.take_refusal(unread)?,
        }
        Ok(text)
    }

    /// How many bytes of a module are in its file, or why there are none.
    pub(super) fn module_length(&mut self) -> Result<Result<u64, Unread>, Unread> {
        match self.receive()? {
            FromReader::Module(length) => Ok(length.map_err(bounded)),
            _ => Err(nonsense()),
        }
    }

    /// Asks for these files beside the rules, of which there are not too many for one message: where each was copied to, or why not; none of those
    /// that do not fit into what may be asked for.
    pub(super) fn beside(
        &mut self,
        files: &[FileBeside],
    ) -> Result<Vec<Option<Result<CopiedTo, Unread>>>, Unread> {
        // It fits into the link. If it died before it could read, that is found when it should answer.
        let _ = self.sender.send(&AskBeside { files: files.to_vec() }, &[]);
        let mut said = Vec::with_capacity(files.len());
        for FileBeside { name, most } in files {
            self.reads = Some(name.clone());
            let FromReader::Beside(copied) = self.receive()? else { return Err(nonsense()) };
            let copied = copied.map(|copied| copied.map_err(bounded));
            match &copied {
                Some(Ok(CopiedTo { length, .. })) if length > most => return Err(nonsense()),
                Some(Err(unread)) => self.take_refusal(unread)?,
                _ => {}
            }
            said.push(copied);
        }
        self.reads = None;
        Ok(said)
    }

    fn take_refusal(&mut self, Unread { what, remedy }: &Unread) -> Result<(), Unread> {
        let length = (what.len() + remedy.len()) as u64;
        self.left_to_refuse = self.left_to_refuse.checked_sub(length).ok_or_else(nonsense)?;
        Ok(())
    }

    /// It has said all that it was to say.
    pub(super) fn done(&self) {
        self.place.iter().for_each(|place| place.was_in_time(Instant::now()));
    }

    fn receive(&mut self) -> Result<FromReader, Unread> {
        match self.receiver.receive(MOST_ANSWER) {
            // It has none to give.
            Ok(Some((answer, _))) => Ok(answer),
            _ if self.alarm.rang() => {
                self.place.iter().for_each(|place| place.was_slow(Instant::now()));
                let what = match &self.reads {
                    Some(name) => {
                        format!("reading {} in it takes too long", clean(&name.to_string_lossy(), MOST_TEXT))
                    }
                    None => "reading it takes too long".to_owned(),
                };
                Err(Unread::new(&format!("is not read: {what}"), super::SEE_TO))
            }
            Ok(None) => Err(self.death()),
            Err(_) => Err(nonsense()),
        }
    }

    /// What its end means, which is here or near.
    fn death(&mut self) -> Unread {
        let status = self.child.as_mut().and_then(|child| wait_within(child, LAST));
        let mut words = Vec::new();
        let _ = (&self.words).take(MOST_WORDS).read_to_end(&mut words);
        explain(status, &String::from_utf8_lossy(&words))
    }

    fn pidfd(&self) -> io::Result<OwnedFd> {
        let child = self.child.as_ref().map_or(0, Child::id);
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        Ok(pidfd_open(pid.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?)
    }
}

impl Drop for ReaderProcess {
    fn drop(&mut self) {
        let (Some(mut child), Some(mut place)) = (self.child.take(), self.place.take()) else { return };
        // One that has ended by itself keeps its status.
        let _ = child.kill();
        if wait_within(&mut child, LAST).is_some() {
            return;
        }
        place.is_stuck();
        let wait = move || {
            let _ = child.wait();
            drop(place);
        };
        // Without a thread nobody waits for it, and it counts as stuck for good.
        drop(thread::Builder::new().name("stuck-reader".to_owned()).spawn(wait));
    }
}

impl Alarm {
    fn off() -> Self {
        Self { rang: Arc::default(), _off: channel().0 }
    }

    fn set(process: OwnedFd, link: TalkSender, deadline: Instant) -> io::Result<Self> {
        let rang = Arc::new(AtomicBool::new(false));
        let (off, is_off) = channel::<()>();
        thread::Builder::new().name("reader-alarm".to_owned()).spawn({
            let rang = Arc::clone(&rang);
            move || {
                let left = deadline.saturating_duration_since(Instant::now());
                if is_off.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                    rang.store(true, Ordering::Release);
                    let _ = pidfd_send_signal(&process, Signal::KILL);
                    // It may be none that can be killed, or somebody else may have its end.
                    link.end();
                }
            }
        })?;
        Ok(Self { rang, _off: off })
    }

    fn rang(&self) -> bool {
        self.rang.load(Ordering::Acquire)
    }
}

impl AsFd for ModuleCopy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ModuleCopy {
    /// An empty one.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(memfd_create("postern-module", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into()))
    }

    /// The bytes that are in it from now on; it must be so many, and no more than `most`.
    pub(super) fn sealed(self, length: u64, most: u64) -> Result<Vec<u8>, Unread> {
        let (copies, in_all) = self.closed()?;
        if length > most || in_all != length {
            return Err(nonsense());
        }
        copies.bytes(CopiedTo { offset: 0, length })
    }

    /// What is in it from now on, and how many bytes that are.
    pub(super) fn closed(self) -> Result<(SealedCopies, u64), Unread> {
        fcntl_add_seals(&self.0, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)
            .map_err(|_| nonsense())?;
        let length = self.0.metadata().map_err(|_| nonsense())?.len();
        Ok((SealedCopies(self.0), length))
    }
}

impl SealedCopies {
    /// Those of one file.
    pub(super) fn bytes(&self, CopiedTo { offset, length }: CopiedTo) -> Result<Vec<u8>, Unread> {
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| nonsense())?];
        let read = self.0.read_exact_at(&mut bytes, offset);
        read.map_err(|error| Unread::new(&format!("cannot be read: {error}"), "try again"))?;
        Ok(bytes)
    }
}

fn wait_within(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + time;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
            waited => return waited.ok().flatten(),
        }
    }
}

fn explain(status: Option<ExitStatus>, words: &str) -> Unread {
    let words = clean(words.trim(), MOST_SHOWN);
    let said = if words.is_empty() { String::new() } else { format!(", saying: {words}") };
    let (how, remedy) = match status {
        None => ("closed its link".to_owned(), "tell who wrote posternd"),
        Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => {
            ("was killed".to_owned(), "look whether the machine, or the service, was out of memory")
        }
        Some(status) if status.signal() == Some(Signal::SYS.as_raw()) => {
            ("was killed for a system call that is not on its list".to_owned(), "tell who wrote posternd")
        }
        Some(status) => (format!("ended ({status}{said})"), "see what it says"),
    };
    Unread::new(&format!("is not read: the process for that {how}"), remedy)
}

pub(super) fn nonsense() -> Unread {
    Unread::new("is not read: the process for that answers nonsense", "look at what this tenant's user runs")
}

fn bounded(Unread { what, remedy }: Unread) -> Unread {
    Unread { what: clean(&what, MOST_TEXT).into_owned(), remedy: clean(&remedy, MOST_TEXT).into_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_death_has_a_reason() {
        let explained = |raw: i32, words: &str| explain(Some(ExitStatus::from_raw(raw)), words).to_string();
        for (raw, words, end) in [
            (9, "", "was killed; look whether the machine, or the service, was out of memory"),
            (31, "", "was killed for a system call that is not on its list; tell who wrote posternd"),
            (11, "", "ended (signal: 11 (SIGSEGV)); see what it says"),
            (1 << 8, "no\nway", "ended (exit status: 1, saying: no\\nway); see what it says"),
        ] {
            assert_eq!(explained(raw, words), format!("is not read: the process for that {end}"));
        }
    }

    /// A process that does nothing, and the other end of its link, for a test that says what it says.
    fn reader(time: Duration) -> (ReaderProcess, TalkSender) {
        let place = Place::take(&Arc::default(), 1001, Instant::now() + time).unwrap();
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (own, its) = Talk::pair().unwrap();
        let (process, _) = ReaderProcess::of(child, own, pipe().unwrap().0, place).unwrap();
        (process, its.split(None).unwrap().0)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_reader_that_was_taken_over_says_no_more_than_a_tenant() {
        let bounds = FolderBounds { files: 2, bytes: 10 };
        let is_nonsense = |said: FromReader, hear: &dyn Fn(&mut ReaderProcess) -> Result<(), Unread>| {
            let (mut process, its) = reader(LONG);
            its.send(&said, &[]).unwrap();
            assert_eq!(hear(&mut process), Err(nonsense()), "{said:?}");
        };
        let count = |process: &mut ReaderProcess| process.count(bounds, |_| {}).map(drop);
        is_nonsense(FromReader::Count(3), &count);
        is_nonsense(FromReader::Text(Ok(String::new())), &count);
        let name = |process: &mut ReaderProcess| process.name().map(drop);
        for odd in ["", ".", "..", "../x.toml", "/etc/x.toml", "a/b.toml", "a\0.toml"] {
            is_nonsense(FromReader::Name(odd.into()), &name);
        }
        let text = |process: &mut ReaderProcess| process.text(&mut 10).map(drop);
        is_nonsense(FromReader::Text(Ok("x".repeat(11))), &text);
        is_nonsense(FromReader::Module(Ok(1)), &text);
        let missing = vec![String::new(); MOST_BARRIERS + 1];
        is_nonsense(FromReader::Confined { missing }, &|process| process.confined().map(drop));
        is_nonsense(FromReader::Count(0), &|process| process.module_length().map(drop));
        // What it says of a file is bounded, and fit to be shown.
        let (mut process, its) = reader(LONG);
        let words = "\u{1b}[31m\n".repeat(MOST_TEXT);
        its.send(&FromReader::Text(Err(Unread::new(&words, &words))), &[]).unwrap();
        let said = process.text(&mut 10).unwrap().unwrap_err().to_string();
        assert!(said.len() < 9 * MOST_TEXT && !said.contains(['\n', '\u{1b}']), "{}", said.len());
        // And so are all of these together.
        process.left_to_refuse = 10;
        its.send(&FromReader::Text(Err(Unread::new("too", "many words"))), &[]).unwrap();
        assert_eq!(process.text(&mut 10).map(drop), Err(nonsense()));
    }

    #[test]
    fn one_that_says_nothing_or_too_slowly_has_its_time_and_no_more() {
        let time = Duration::from_millis(200);
        let begin = Instant::now();
        let (mut process, its) = reader(time);
        process.reads = Some("x\n.toml".into());
        let said = process.count(FolderBounds::LARGEST, |_| {}).unwrap_err();
        assert!(begin.elapsed() >= time, "{:?}", begin.elapsed());
        assert_eq!(said.what, "is not read: reading x\\n.toml in it takes too long");
        // It was killed, and nobody can say anything in its place.
        assert!(process.child.as_mut().unwrap().wait().unwrap().signal() == Some(Signal::KILL.as_raw()));
        assert!(its.send(&FromReader::Count(0), &[]).is_err());
        // One that ends says how.
        let (mut process, its) = reader(LONG);
        its.end();
        assert!(process.name().unwrap_err().what.ends_with("closed its link"));
    }

    #[test]
    fn a_copy_is_taken_as_it_is_then_or_not_at_all() {
        let copy = |bytes: &[u8]| {
            let mut copy = ModuleCopy::new().unwrap();
            copy.0.write_all(bytes).unwrap();
            copy
        };
        let kept = copy(b"bytes");
        let mut writer = kept.0.try_clone().unwrap();
        assert_eq!(kept.sealed(5, 5).unwrap(), b"bytes");
        assert!(writer.write_all(b"more").is_err());
        for (length, most) in [(4, 9), (6, 9), (5, 4)] {
            assert_eq!(copy(b"bytes").sealed(length, most), Err(nonsense()), "{length} {most}");
        }
    }
}
