//! ReaderRole: what a reader's process does. It becomes the user of a tenant, reads what it is told to of that tenant's folder, and ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use postern_config::{FileBeside, FolderBounds, FolderFiles, Unread};
use postern_confine::{Account, Barrier, Confinement, Files, Held, Limits, SystemCalls};
use postern_link::{Talk, TalkReceiver, TalkSender};
use postern_text::{chain, clean, terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::add_watch;
use rustix::process::{Signal, fchdir, set_parent_process_death_signal};

use super::reader_messages::{
    AskBeside, CopiedTo, FromReader, MOST_ASKED, MOST_START, MOST_TEXT, ReaderJob, ReaderStart,
};
use crate::watch::WATCHED;

/// How long the other end may take to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of heap and stack: the largest rule file, as it is and as a message, many times over.
const MEMORY: u64 = 128 << 20;
/// Seconds of CPU time, should nobody be there any more to end it.
const CPU: u64 = 12;
/// Descriptors: the standard ones, the link, the folder, a module's copy, a file, and a few of the system's.
const FILES: u64 = 24;
/// More bytes than `most` are written before a file is found to be too long.
const BEYOND: u64 = 1 << 20;

/// Reads what the process at the other end of standard input asks for.
pub(crate) fn run() -> ExitCode {
    match read() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The other process reads it; if it is gone there is nobody to tell.
            drop(terminal::err(chain(&*error)));
            ExitCode::FAILURE
        }
    }
}

fn read() -> anyhow::Result<()> {
    // Whoever waits for the answer is a thread of that process.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let (sender, mut receiver) = Talk::of_standard_input()?.split(Some(PATIENCE))?;
    let Some((start, descriptors)) = receiver.receive::<ReaderStart>(MOST_START)? else { return Ok(()) };
    let mut descriptors = descriptors.into_iter();
    let Some(folder) = descriptors.next() else { anyhow::bail!("it is given no folder") };
    let (copy, inotify) = (descriptors.next(), descriptors.next());
    let held = become_user(&start, folder.try_clone()?)?;
    // If that process ended before the signal of its death was asked for, which a change of user forgets, there is none.
    if is_over(&receiver)? {
        return Ok(());
    }
    let missing = held.missing().iter().map(|missing| clean(&missing.to_string(), MOST_TEXT).into_owned());
    sender.send(&FromReader::Confined { missing: missing.collect() }, &[])?;
    let ReaderStart { path, user, account: (uid, _), trust, job } = start;
    let files = FolderFiles { dir: folder.as_fd(), path: &path, user: &user, uid, trust };
    match job {
        ReaderJob::Module { name, most } => {
            let Some(copy) = copy else { anyhow::bail!("it is given no file for the module") };
            let length = files.copy(&name, most, &mut File::from(copy)).map_err(bounded);
            Ok(sender.send(&FromReader::Module(length), &[])?)
        }
        ReaderJob::Names(bounds) => list(&sender, files, bounds, |_| Ok(())),
        ReaderJob::Rules { bounds, beside } => {
            let Some(copy) = copy else { anyhow::bail!("it is given no file for modules") };
            // Before it is read: what changes later is noticed.
            if let Some(inotify) = inotify
                && let Err(error) = fchdir(&folder).and_then(|()| add_watch(inotify, ".", WATCHED))
            {
                sender.send(&FromReader::NotWatched(error.to_string()), &[])?;
            }
            let mut left = bounds.bytes;
            list(&sender, files, bounds, |name| {
                let text = files.text(name, left);
                left -= text.as_ref().map_or(0, |text| text.len() as u64);
                Ok(sender.send(&FromReader::Text(text.map_err(bounded)), &[])?)
            })?;
            let (mut copy, mut offset) = (File::from(copy), 0);
            // Until nothing more is wanted.
            while let Some((AskBeside { files: asked }, _)) = receiver.receive(MOST_ASKED)? {
                for FileBeside { name, most } in asked {
                    let said = copy_beside(files, &name, most, &mut copy, offset, beside);
                    if let Some(Ok(CopiedTo { length, .. })) = &said {
                        offset += length;
                    }
                    sender.send(&FromReader::Beside(said), &[])?;
                }
            }
            Ok(())
        }
    }
}

/// Copies a file behind others of which there are so many bytes; none if it does not fit into so many in all.
fn copy_beside(
    files: FolderFiles<'_>,
    name: &OsStr,
    most: u64,
    copy: &mut File,
    offset: u64,
    in_all: u64,
) -> Option<Result<CopiedTo, Unread>> {
    let left = in_all.saturating_sub(offset);
    // What of another did not fit is written over.
    let copied = match copy.seek(SeekFrom::Start(offset)) {
        Ok(_) => files.copy(name, most.min(left), copy).map_err(bounded),
        Err(_) => return None,
    };
    match copied {
        // By itself it is perhaps not too long.
        Err(_) if left < most => None,
        copied => Some(copied.map(|length| CopiedTo { offset, length })),
    }
}

/// Says which rule files there are, and has something done with each.
fn list(
    sender: &TalkSender,
    files: FolderFiles<'_>,
    bounds: FolderBounds,
    mut each: impl FnMut(&OsStr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let names = match files.names(bounds) {
        Ok(names) => names,
        Err(unread) => return Ok(sender.send(&FromReader::Refused(bounded(unread)), &[])?),
    };
    sender.send(&FromReader::Count(names.len()), &[])?;
    for name in names {
        // Said before it is read, which may hang.
        sender.send(&FromReader::Name(name.clone()), &[])?;
        each(&name)?;
    }
    Ok(())
}

/// Gives up everything but the folder.
///
/// # Errors
/// If it has any other rights than the user's then: the rest of what is missing is for the other process to judge.
fn become_user(start: &ReaderStart, folder: OwnedFd) -> anyhow::Result<Held> {
    let (uid, gid) = start.account;
    let account = Account { uid, gid };
    let limits = Limits {
        data: Some(MEMORY),
        processor_seconds: Some(CPU),
        open_files: Some(FILES),
        file_size: Some(match start.job {
            ReaderJob::Module { most, .. } | ReaderJob::Rules { beside: most, .. } => {
                most.saturating_add(BEYOND)
            }
            ReaderJob::Names(_) => 0,
        }),
        ..Limits::default()
    };
    let kept = Confinement {
        account,
        may_share_user: account == Account::own(),
        files: Files::Readable(vec![folder]),
        system_calls: Some(SystemCalls::Reader),
        limits,
        ..Confinement::default()
    };
    let held = kept.apply()?;
    anyhow::ensure!(account == Account::own(), "it cannot become user {uid}");
    anyhow::ensure!(held.holding().contains(&Barrier::Capabilities), "it keeps capabilities");
    Ok(held)
}

fn bounded(Unread { what, remedy }: Unread) -> Unread {
    Unread { what: clean(&what, MOST_TEXT).into_owned(), remedy: clean(&remedy, MOST_TEXT).into_owned() }
}

/// Whether the other end of the link is gone: nothing more is sent over it.
fn is_over(receiver: &TalkReceiver) -> std::io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(receiver, PollFlags::IN)], Some(&now))? > 0)
}
