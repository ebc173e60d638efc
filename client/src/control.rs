//! Control: the daemon's control socket, from the side of whoever asks.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use postern_protocol::{Answer, Call, LONGEST_ANSWER, MessageReader, Refusal, Reply, Request, message};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::exit::{CommandFailure, Exit};

/// How long the daemon may take until it listens to one who connects, or reads what it is asked.
const UNTIL_HEARD: Duration = Duration::from_secs(10);
/// How long the daemon may take to answer what it can answer at once; a reload and a command take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A conversation with the daemon.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    answers: MessageReader,
    /// The method that was asked last.
    method: String,
}

impl Connection {
    /// Connects to the daemon that listens at `socket`.
    ///
    /// # Errors
    /// If there is none, or this user cannot reach it.
    pub fn open(socket: &Path) -> Result<Self, CommandFailure> {
        Self::open_within(socket, UNTIL_HEARD)
    }

    fn open_within(socket: &Path, patience: Duration) -> Result<Self, CommandFailure> {
        let stream = connect(socket, patience).map_err(|error| {
            let path = socket.display();
            match error.kind() {
                io::ErrorKind::WouldBlock => CommandFailure {
                    exit: Exit::NoDaemon,
                    error: anyhow!(
                        "posternd listens at {path} and takes nobody in: it hangs, or too many ask; its log says more"
                    ),
                },
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CommandFailure {
                    exit: Exit::NoDaemon,
                    error: anyhow!(
                        "nobody answers at {path}: posternd does not run, or listens elsewhere ([control] socket); name \
                         that with --socket"
                    ),
                },
                io::ErrorKind::PermissionDenied => CommandFailure {
                    exit: Exit::NotAllowed,
                    error: anyhow!("{path}: this user may not get there; ask as root"),
                },
                _ => CommandFailure::from(anyhow!("{path}: {error}")),
            }
        })?;
        Ok(Self { stream, answers: MessageReader::new(LONGEST_ANSWER), method: String::new() })
    }

    /// Asks for one answer.
    ///
    /// # Errors
    /// If the daemon refuses, or is gone, or does not answer.
    pub fn ask(&mut self, request: Request) -> Result<Reply, CommandFailure> {
        self.ask_briefly(request, PATIENCE)?.ok_or_else(silent)
    }

    /// Asks for one answer; none if it has not come after so long.
    ///
    /// # Errors
    /// If the daemon refuses, or is gone.
    pub fn ask_briefly(
        &mut self,
        request: Request,
        patience: Duration,
    ) -> Result<Option<Reply>, CommandFailure> {
        self.stream.set_read_timeout(Some(patience))?;
        self.send(request, false)?;
        match self.receive()? {
            Received::Answer(reply, _) => Ok(Some(reply)),
            Received::End => Err(gone()),
            Received::NothingYet => Ok(None),
        }
    }

    /// Asks for answers that come one after the other, as [`Connection::answer`] gets them.
    ///
    /// # Errors
    /// If the daemon is gone.
    pub fn ask_for_more(&mut self, request: Request) -> Result<(), CommandFailure> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.send(request, true)
    }

    /// Has [`Connection::answer`] wait without end from now on: for what happens, which may take days.
    ///
    /// # Errors
    /// None but the system's.
    pub fn listen(&mut self) -> Result<(), CommandFailure> {
        Ok(self.stream.set_read_timeout(None)?)
    }

    fn send(&mut self, request: Request, more: bool) -> Result<(), CommandFailure> {
        self.method = request.method();
        let call = Call { request, more, oneway: false };
        match self.stream.write_all(&message(&call.to_value())) {
            // What it said before it went is to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => Ok(done?),
        }
    }

    /// The next answer, and whether more will come; none if the daemon is gone.
    ///
    /// # Errors
    /// If it is a refusal, or makes no sense, or does not come.
    pub fn answer(&mut self) -> Result<Option<(Reply, bool)>, CommandFailure> {
        match self.receive()? {
            Received::Answer(reply, continues) => Ok(Some((reply, continues))),
            Received::End => Ok(None),
            Received::NothingYet => Err(silent()),
        }
    }

    fn receive(&mut self) -> Result<Received, CommandFailure> {
        let mut bytes = [0; 1 << 14];
        let message = loop {
            if let Some(message) = self.answers.take()? {
                break message;
            }
            let read = match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(Received::End),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Received::End),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::NothingYet),
                Err(error) => return Err(error.into()),
            };
            self.answers.push(bytes.get(..read).unwrap_or_default());
        };
        match Answer::read(&self.method, &message) {
            Ok(Answer::Reply { reply, continues }) => Ok(Received::Answer(reply, continues)),
            Ok(Answer::Refusal(refusal)) => Err(refused(refusal)),
            Err(error) => Err(anyhow!("the daemon's answer makes no sense here: {error}").into()),
        }
    }
}

/// What has come from the daemon.
enum Received {
    /// An answer, and whether more will come.
    Answer(Reply, bool),
    /// Nothing, and nothing will.
    End,
    /// Nothing for as long as was waited.
    NothingYet,
}

/// Connects, if that takes no longer than so: else the error is [`io::ErrorKind::WouldBlock`].
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // It bounds how long is waited for a place among those who are still to be let in as well: unix(7), connect(2).
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

/// The daemon does not answer.
fn silent() -> CommandFailure {
    CommandFailure {
        exit: Exit::NoDaemon,
        error: anyhow!("the daemon does not answer within {} s", PATIENCE.as_secs()),
    }
}

/// The daemon went away without an answer.
pub fn gone() -> CommandFailure {
    CommandFailure {
        exit: Exit::NoDaemon,
        error: anyhow!("the daemon is gone, or does not want to be asked any more"),
    }
}

/// An answer that belongs to another question.
pub fn unexpected() -> CommandFailure {
    anyhow!("the daemon answers another question than was asked").into()
}

pub(crate) fn refused(refusal: Refusal) -> CommandFailure {
    let exit = match &refusal {
        Refusal::NotAllowed { .. } => Exit::NotAllowed,
        Refusal::InvalidParameter { .. } => Exit::Usage,
        _ => Exit::Failure,
    };
    CommandFailure { exit, error: Refused(refusal).into() }
}

/// What the daemon said, with every mistake in a line of its own.
#[derive(Debug)]
struct Refused(Refusal);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refused {}

/// The mistakes in a configuration that a failure tells of.
pub fn mistakes_in(failure: &CommandFailure) -> &[String] {
    match failure.error.downcast_ref::<Refused>() {
        Some(Refused(Refusal::Mistakes { mistakes, .. })) => mistakes,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_nobody_in_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _first = Connection::open(&path).unwrap();
        let failure = Connection::open_within(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(failure.exit, Exit::NoDaemon);
        assert!(failure.error.to_string().contains("takes nobody in"), "{}", failure.error);
    }
}
