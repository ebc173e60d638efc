//! Fdpass: hands a connection to the program that started this one, as OpenSSH's `ProxyUseFdpass` asks for it: over the socket that is
//! standard output. It reads and writes nothing of the connection.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::AsFd;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::SockRef;

/// Whether standard output can take a connection.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the descriptor is meant, and no text goes there")]
pub fn is_possible() -> bool {
    SockRef::from(&io::stdout()).local_addr().is_ok_and(|address| address.is_unix())
}

/// Hands it over.
///
/// # Errors
/// If it cannot be handed over, because the program that started this one has ended, say.
#[expect(clippy::disallowed_methods, reason = "the descriptor is meant, and no text goes there")]
pub fn hand_over(connection: &TcpStream) -> io::Result<()> {
    pass(connection, io::stdout())
}

fn pass(connection: &TcpStream, to: impl AsFd) -> io::Result<()> {
    // ssh does so with a connection of its own, unless `TCPKeepAlive no` is there, and leaves one that it is handed alone.
    SockRef::from(connection).set_keepalive(true)?;
    let descriptors = [connection.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    // It is as large as one descriptor needs.
    let has_room = message.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(has_room, "one descriptor");
    // A descriptor travels with a byte at least.
    sendmsg(to, &[IoSlice::new(&[0])], &mut message, SendFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    #[test]
    fn who_gets_a_connection_can_use_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let connection = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        pass(&connection, &ours).expect("somebody is there");
        drop((connection, ours));

        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [1];
        let received = recvmsg(&theirs, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::empty());
        assert_eq!(received.expect("it was sent").bytes, 1);
        let descriptors = message.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let mut passed = TcpStream::from(descriptors.expect("a descriptor"));
        assert!(SockRef::from(&passed).keepalive().expect("a socket"));
        passed.write_all(b"hey").expect("it is connected");
        drop(passed);
        let mut heard = String::new();
        listener.accept().expect("it was connected").0.read_to_string(&mut heard).expect("text");
        assert_eq!(heard, "hey");
    }
}
