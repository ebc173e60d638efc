//! Journald: the log as systemd's journal takes it, with each field by itself: `journalctl POSTERN_EVENT=open` finds what it names.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use serde_json::Value as Json;

use super::line::Line;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// What the first field of a line begins with, so that the words can be had without the rest.
const MESSAGE: &str = "MESSAGE=";
/// What the journal has a field of its own for.
const OF_THE_JOURNAL: [&str; 3] = ["timestamp", "level", "message"];
/// The longest name of a field that the journal takes, in bytes.
const LONGEST_NAME: usize = 64;

/// The way to the journal.
#[derive(Debug)]
pub(super) struct JournalSocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl JournalSocket {
    /// The one of this machine, if standard error leads there: whoever redirected it wants to have the lines elsewhere.
    #[expect(clippy::disallowed_methods, reason = "it is only looked at")]
    pub(super) fn behind_stderr() -> Option<Self> {
        let stream = env::var_os("JOURNAL_STREAM")?;
        leads_to(&io::stderr(), &stream).then(|| Self::at(Path::new(SOCKET)).ok())?
    }

    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.to_owned() })
    }

    fn send(&self, line: &[u8]) -> io::Result<()> {
        match self.socket.send_to(line, &self.path) {
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => self.send_long(line),
            sent => sent.map(drop),
        }
    }

    /// Sends a line that is too long for a message: in a file that nobody can change any more.
    fn send_long(&self, line: &[u8]) -> io::Result<()> {
        let memory = memfd_create("line", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(memory);
        file.write_all(line)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let file = OwnedFd::from(file);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&files));
        let to = SocketAddrUnix::new(&self.path)?;
        sendmsg_addr(&self.socket, &to, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Write for JournalSocket {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    /// Gets a line, whole. If the journal does not take it, its words go to standard error.
    #[expect(clippy::disallowed_methods, reason = "the line is clean: see `Line::json`")]
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        self.send(line).or_else(|_| {
            let words = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let words = words.strip_prefix(MESSAGE.as_bytes()).unwrap_or(words);
            io::stderr().write_all(&[words, b"\n"].concat())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a stream is the one that `JOURNAL_STREAM` says: device and inode, with a colon in between.
fn leads_to(stream: &impl AsFd, said: &OsStr) -> bool {
    let said = said.to_str().and_then(|said| said.split_once(':'));
    let said =
        said.and_then(|(device, inode)| Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?)));
    let is = fstat(stream).ok().map(|is| (is.st_dev, is.st_ino));
    said.is_some() && said == is
}

impl Line {
    /// The line as the journal takes it: a field a line, the words first. Nothing in it has a line feed.
    pub(super) fn journal(&self) -> String {
        let priority = match self.level {
            "ERROR" => 3,
            "WARN" => 4,
            "INFO" => 6,
            _ => 7,
        };
        let fields = self.json(String::new());
        let words = fields.get("message").and_then(Json::as_str).unwrap_or_default();
        let mut text = format!("{MESSAGE}{words}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=posternd\n");
        for (name, value) in fields.iter().filter(|(name, _)| !OF_THE_JOURNAL.contains(&name.as_str())) {
            let name = field_name(name);
            // Writing to a string does not fail.
            let _ = match value {
                Json::String(value) => writeln!(text, "{name}={value}"),
                value => writeln!(text, "{name}={value}"),
            };
        }
        text
    }
}

/// What the journal calls a field: ours have a word in front, so that none passes for one of its own.
fn field_name(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    "POSTERN_".chars().chain(name.chars().map(fit)).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use postern_core::{Client, Report, RuleId, TenantId, What};
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::super::line::Value;
    use super::super::lines::plain_line;
    use super::*;

    fn opened() -> Line {
        let rule = RuleId { tenant: TenantId::new("web"), name: "a\nPRIORITY=0".into() };
        let client: Client = "192.0.2.7".parse().unwrap();
        let lasts = std::time::Duration::from_secs(30);
        let what = What::Opened { lasts, module: Some([0xab; 32]) };
        plain_line(&Report { door: Some("ssh".into()), ..Report::of_rule(&rule, what).with_client(client) })
    }

    #[test]
    fn each_field_is_one_of_the_journals_and_no_text_makes_another() {
        let module = "ab".repeat(32);
        assert_eq!(
            opened().journal(),
            format!(
                "MESSAGE=ssh is open for 192.0.2.7 for 30s\nPRIORITY=6\nSYSLOG_IDENTIFIER=posternd\nPOSTERN_EVENT=open\nPOSTERN_TENANT=web\n\
                 POSTERN_RULE=a\\nPRIORITY=0\nPOSTERN_DOOR=ssh\nPOSTERN_SRC=192.0.2.7\nPOSTERN_LASTS_S=30.0\nPOSTERN_MODULE={module}\n"
            )
        );
        let stopped = Line {
            level: "ERROR",
            words: "x".to_owned(),
            fields: vec![("log.target", Value::Bool(true)), ("dropped", Value::Counts(vec![("not-ip", 3)]))],
        };
        let expected = "MESSAGE=x\nPRIORITY=3\nSYSLOG_IDENTIFIER=posternd\nPOSTERN_LOG_TARGET=true\nPOSTERN_DROPPED={\"not-ip\":3}\n";
        assert_eq!(stopped.journal(), expected);
        let long = Line {
            fields: vec![(Box::leak("x".repeat(100).into_boxed_str()), Value::Unsigned(1))],
            ..stopped
        };
        assert!(long.journal().lines().all(|line| line.split_once('=').unwrap().0.len() <= LONGEST_NAME));
    }

    #[test]
    fn a_line_is_one_message_or_a_file_if_it_is_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut socket = JournalSocket::at(&path).unwrap();
        let line = opened().journal();
        socket.write_all(line.as_bytes()).unwrap();
        let mut read = vec![0; 1 << 16];
        let length = journal.recv(&mut read).unwrap();
        assert_eq!(read[..length], *line.as_bytes());

        let long = format!("{MESSAGE}{}\n", "x".repeat(4 << 20));
        socket.write_all(long.as_bytes()).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&journal, &mut [io::IoSliceMut::new(&mut read)], &mut control, RecvFlags::empty()).unwrap();
        let file = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        let mut file = File::from(file.expect("a file"));
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, long);
    }

    #[test]
    fn only_a_stream_that_is_the_journals_is_taken_for_it() {
        let file = tempfile::tempfile().unwrap();
        let is = fstat(&file).unwrap();
        let said = |text: String| leads_to(&file, OsStr::new(&text));
        assert!(said(format!("{}:{}", is.st_dev, is.st_ino)));
        assert!(!said(format!("{}:{}", is.st_dev, is.st_ino + 1)));
        assert!(!said(format!("{}", is.st_dev)) && !said(String::new()) && !said("x:y".to_owned()));
    }
}
