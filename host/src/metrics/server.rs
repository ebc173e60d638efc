//! Server: hands metrics out over HTTP, to as many at once as it can serve, on a thread of its own.
//!
//! It understands one request, `GET /metrics`, answers it and hangs up. **Invariant:** nobody who asks keeps more than so many bytes or seconds of it.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::connections::Connections;
use super::page::Page;
use super::socket::MetricsSocket;
use super::sources::Sources;

/// The longest request, in bytes.
const LONGEST_REQUEST: usize = 8 << 10;
/// How long somebody may take to ask: a request is a packet or two.
const TO_ASK: Duration = Duration::from_secs(2);
/// How long somebody may take to read the answer.
const TO_READ: Duration = Duration::from_secs(10);
/// A page is handed out again for so long at least, and for so many times what it took to make: whoever asks without end gets a twentieth of a
/// processor.
const FRESH: Duration = Duration::from_millis(200);
const IDLE_FOR_WORK: u32 = 19;
/// How soon after one the next may connect; more wait in the queue of the socket, where they cost nothing.
const ARRIVAL: Duration = Duration::from_millis(20);
/// By how much this thread gives way to those that see packets.
const NICENESS: i32 = 10;
/// How long after a failure to accept the next try is.
const RETRY: Duration = Duration::from_millis(200);
/// What the answer is, for whoever reads it.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Hands metrics out at `socket` until the process ends. At one with a path root may ask, and this user beside it.
///
/// # Errors
/// If there can be no thread.
pub(super) fn start(socket: MetricsSocket, own: Option<u32>, sources: Arc<Sources>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let server =
        Arc::new(Server { page: Page::new(sources), last: Mutex::default(), connections: Mutex::default() });
    let listener = {
        let _within = runtime.enter();
        Listener::new(socket, own)?
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        // Of this thread alone. Without it, it is no worse than any other.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        runtime.block_on(server.serve(listener));
    })?;
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    /// With the user that may ask beside root.
    Unix(UnixListener, Option<u32>),
}

impl Listener {
    fn new(socket: MetricsSocket, own: Option<u32>) -> io::Result<Self> {
        match socket {
            MetricsSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(listener)?))
            }
            MetricsSocket::Unix(listener, _) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(listener)?, own))
            }
        }
    }
}

struct Server {
    page: Page,
    /// The last page, and until when it is handed out again.
    last: Mutex<Option<(Instant, Arc<str>)>>,
    connections: Mutex<Connections>,
}

impl Server {
    async fn serve(self: Arc<Self>, listener: Listener) {
        loop {
            let is_accepted = match &listener {
                Listener::Tcp(listener) => {
                    listener.accept().await.map(|(stream, _)| Arc::clone(&self).admit(stream)).is_ok()
                }
                Listener::Unix(listener, own) => match listener.accept().await {
                    Ok((stream, _)) => {
                        // The mode of the file says the same; that was another for a moment after it was made.
                        let peer = stream.peer_cred().map(|peer| peer.uid());
                        if peer.is_ok_and(|uid| uid == 0 || Some(uid) == *own) {
                            Arc::clone(&self).admit(stream);
                        }
                        true
                    }
                    Err(_) => false,
                },
            };
            // After a failure it is out of descriptors, perhaps; it must not become a loop that does nothing else.
            sleep(if is_accepted { ARRIVAL } else { RETRY }).await;
        }
    }

    /// Answers somebody, unless there are too many already and none of them makes room: then the connection is closed.
    fn admit(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Some((number, leave)) = self.connections.lock().past_panic().take(Instant::now()) else { return };
        tokio::spawn(async move {
            tokio::select! {
                // It may have gone, or be too slow.
                _ = self.answer(stream, number) => {}
                () = leave.notified() => {}
            }
            self.connections.lock().past_panic().leave(number);
        });
    }

    async fn answer(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, number: u64) -> io::Result<()> {
        let asked = timeout(TO_ASK, request(&mut stream)).await??;
        self.connections.lock().past_panic().has_asked(number, Instant::now());
        let (head, body) = match asked {
            Asked::Metrics => (head("200 OK", FORMAT, ""), self.text()),
            Asked::Other => refusal("404 Not Found", "", "there is nothing but /metrics\n"),
            Asked::NotAGet => refusal("405 Method Not Allowed", "Allow: GET\r\n", "only GET is answered\n"),
            Asked::Nonsense => refusal("400 Bad Request", "", "this is no request of HTTP/1\n"),
            Asked::TooLong => refusal("431 Request Header Fields Too Large", "", "the request is too long\n"),
        };
        let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        timeout(TO_READ, async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.shutdown().await
        })
        .await?
    }

    /// The page as of now, or as of a moment ago.
    fn text(&self) -> Arc<str> {
        let mut last = self.last.lock().past_panic();
        match &*last {
            Some((until, text)) if Instant::now() < *until => Arc::clone(text),
            _ => {
                let begun = Instant::now();
                let text = Arc::<str>::from(self.page.text());
                let fresh = FRESH.max(begun.elapsed() * IDLE_FOR_WORK);
                *last = Some((Instant::now() + fresh, Arc::clone(&text)));
                text
            }
        }
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Metrics,
    /// Another path.
    Other,
    NotAGet,
    Nonsense,
    TooLong,
}

/// Reads a request to the end of its head; it has no body.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Asked> {
    let mut read = Vec::new();
    let mut some = [0; 1024];
    loop {
        let count = stream.read(&mut some).await?;
        read.extend_from_slice(some.get(..count).unwrap_or_default());
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            return Ok(asked(read.get(..end).unwrap_or_default()));
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read.len() > LONGEST_REQUEST {
            return Ok(Asked::TooLong);
        }
    }
}

/// What the head of a request asks for.
fn asked(head: &[u8]) -> Asked {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Ok(line) = str::from_utf8(line) else { return Asked::Nonsense };
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some("HTTP/1.0" | "HTTP/1.1"), None) => {
            let path = target.split('?').next().unwrap_or_default();
            match (method, path) {
                ("GET", "/metrics") => Asked::Metrics,
                ("GET", _) => Asked::Other,
                _ => Asked::NotAGet,
            }
        }
        _ => Asked::Nonsense,
    }
}

/// The head of an answer, but for its length.
fn head(status: &str, format: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {format}\r\nConnection: close\r\n{more}")
}

fn refusal(status: &str, more: &str, words: &str) -> (String, Arc<str>) {
    (head(status, "text/plain; charset=utf-8", more), words.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_is_understood_and_others_are_refused_by_name() {
        for (head, is) in [
            ("GET /metrics HTTP/1.1\r\nHost: x", Asked::Metrics),
            ("GET /metrics?name[]=a HTTP/1.0", Asked::Metrics),
            ("GET / HTTP/1.1", Asked::Other),
            ("GET /metrics/ HTTP/1.1", Asked::Other),
            ("POST /metrics HTTP/1.1", Asked::NotAGet),
            ("GET /metrics", Asked::Nonsense),
            ("GET /metrics HTTP/2", Asked::Nonsense),
            ("GET  /metrics HTTP/1.1", Asked::Nonsense),
            ("", Asked::Nonsense),
            ("\u{0}", Asked::Nonsense),
        ] {
            assert_eq!(asked(head.as_bytes()), is, "{head:?}");
        }
        assert_eq!(asked(b"GET /\xff HTTP/1.1"), Asked::Nonsense);
    }

    #[test]
    fn a_request_comes_in_pieces_and_has_an_end_and_a_longest() {
        let read = |bytes: &'static [u8]| {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { request(&mut &*bytes).await })
        };
        assert_eq!(read(b"GET /metrics HTTP/1.1\r\n\r\nmore").unwrap(), Asked::Metrics);
        assert_eq!(read(b"GET /metrics HTTP/1.1\r\n").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let long: &'static [u8] = Box::leak(vec![b'x'; 20_000].into_boxed_slice());
        assert_eq!(read(long).unwrap(), Asked::TooLong);
    }
}
