//! Talk: messages of any type with descriptors beside them, over a stream socket that ends with either process.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_text::panic::PastPanic;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most descriptors beside one message.
pub const MOST_DESCRIPTORS: usize = 16;
/// Before each message: its length in bytes and the number of its descriptors, as `u32` in the machine's byte order.
const HEADER: usize = 8;

/// One end of a talk between two processes.
#[derive(Debug)]
pub struct Talk {
    stream: UnixStream,
}

/// The sending half; clones send whole messages one after the other.
#[derive(Clone, Debug)]
pub struct TalkSender {
    stream: Arc<Mutex<UnixStream>>,
}

/// The receiving half.
#[derive(Debug)]
pub struct TalkReceiver {
    stream: UnixStream,
}

impl Talk {
    /// Both ends of a new talk; close-on-exec.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self { stream: one }, Self { stream: other }))
    }

    /// The end that was handed to this process as its standard input. Nobody else may read from that.
    ///
    /// # Errors
    /// If standard input is no socket, or there are too many open files.
    pub fn of_standard_input() -> io::Result<Self> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.local_addr()?;
        Ok(Self { stream })
    }

    /// Its halves, for two threads. A message that the other end does not take within `patience` breaks the talk.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn split(self, patience: Option<Duration>) -> io::Result<(TalkSender, TalkReceiver)> {
        let sending = self.stream.try_clone()?;
        sending.set_write_timeout(patience)?;
        Ok((TalkSender { stream: Arc::new(Mutex::new(sending)) }, TalkReceiver { stream: self.stream }))
    }
}

impl From<Talk> for OwnedFd {
    fn from(talk: Talk) -> Self {
        talk.stream.into()
    }
}

impl From<OwnedFd> for Talk {
    fn from(socket: OwnedFd) -> Self {
        Self { stream: socket.into() }
    }
}

impl TalkSender {
    /// Sends a message, and copies of these descriptors. Waits until the other end takes it, at most for the patience of the talk; after an
    /// error nothing more can be sent.
    ///
    /// # Errors
    /// If the other end is gone or too slow, or the message cannot be written as JSON.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        if descriptors.len() > MOST_DESCRIPTORS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&u32::try_from(body.len()).map_err(too_long)?.to_ne_bytes());
        header[4..].copy_from_slice(&u32::try_from(descriptors.len()).map_err(too_long)?.to_ne_bytes());
        let stream = self.stream.lock().past_panic();
        let done = send_header(&stream, &header, descriptors).and_then(|()| (&*stream).write_all(&body));
        if done.is_err() {
            // Half a message may be on its way.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        done
    }

    /// Ends the talk for both ends.
    pub fn end(&self) {
        let stream = self.stream.lock().past_panic();
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

fn send_header(stream: &UnixStream, header: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = loop {
        match sendmsg(stream, &[IoSlice::new(header)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    (&*stream).write_all(&header[sent..])
}

impl TalkReceiver {
    /// Waits for the next message of at most `most` bytes, and its descriptors, which are close-on-exec; none if the other end is gone.
    ///
    /// # Errors
    /// If it is longer, is not of this type, or the talk broke within a message; nothing more can be received then.
    pub fn receive<T: DeserializeOwned>(&mut self, most: usize) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some((header, descriptors)) = self.receive_header()? else { return Ok(None) };
        let number = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
            usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(usize::MAX)
        };
        let (length, count) = (number(0), number(4));
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if length > most {
            return Err(invalid("a message is too long"));
        }
        if descriptors.len() != count {
            return Err(invalid("descriptors are missing"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Some((serde_json::from_slice(&body)?, descriptors)))
    }

    fn receive_header(&self) -> io::Result<Option<([u8; HEADER], Vec<OwnedFd>)>> {
        let mut header = [0; HEADER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut into = [IoSliceMut::new(&mut header)];
            match recvmsg(&self.stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?.bytes,
            }
        };
        if received == 0 {
            return Ok(None);
        }
        let descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let descriptors = descriptors.collect();
        (&self.stream).read_exact(&mut header[received..])?;
        Ok(Some((header, descriptors)))
    }
}

impl AsFd for TalkReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn halves() -> ((TalkSender, TalkReceiver), (TalkSender, TalkReceiver)) {
        let (one, other) = Talk::pair().unwrap();
        (one.split(None).unwrap(), other.split(None).unwrap())
    }

    #[test]
    fn messages_and_their_descriptors_arrive_in_order() {
        let ((sender, _), (_, mut receiver)) = halves();
        let mut file = tempfile();
        file.write_all(b"inside").unwrap();
        let large = "x".repeat(1 << 20);
        let sending = std::thread::spawn({
            let large = large.clone();
            move || {
                sender.send(&("first", 1), &[file.as_fd()]).unwrap();
                sender.send(&large, &[]).unwrap();
            }
        });
        let (message, descriptors) = receiver.receive::<(String, u8)>(100).unwrap().unwrap();
        assert_eq!((message, descriptors.len()), (("first".to_owned(), 1), 1));
        let [file] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
        let mut text = [0; 6];
        std::os::unix::fs::FileExt::read_exact_at(&File::from(file), &mut text, 0).unwrap();
        assert_eq!(&text, b"inside");
        assert_eq!(receiver.receive::<String>(2 << 20).unwrap().unwrap().0, large);
        sending.join().unwrap();
        // The other end is gone.
        assert!(receiver.receive::<String>(100).unwrap().is_none());
    }

    #[test]
    fn what_is_too_long_or_of_another_type_is_an_error() {
        let ((sender, _keep), (_, mut receiver)) = halves();
        sender.send(&"0123456789", &[]).unwrap();
        assert!(receiver.receive::<String>(11).is_err());
        let ((sender, _keep), (_, mut receiver)) = halves();
        sender.send(&"text", &[]).unwrap();
        assert!(receiver.receive::<u8>(100).is_err());
    }

    #[test]
    fn an_end_that_takes_nothing_breaks_the_talk() {
        let (one, other) = Talk::pair().unwrap();
        let (sender, _keep) = one.split(Some(Duration::from_millis(20))).unwrap();
        assert!(sender.send(&"x".repeat(8 << 20), &[]).is_err());
        assert!(sender.send(&"more", &[]).is_err());
        drop(other);
    }

    fn tempfile() -> File {
        let name = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        File::from(name)
    }
}
