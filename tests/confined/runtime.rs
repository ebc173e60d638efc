//! The asynchronous runtime of the main loop.

use std::time::Duration;

use postern_confine::SystemCalls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::confine;

/// All that wakes it.
pub(crate) fn turn() -> String {
    confine(SystemCalls::Engine);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (mut one, mut other) = UnixStream::pair().unwrap();
        one.write_all(b"x").await.unwrap();
        other.read_exact(&mut [0]).await.unwrap();
        let mut hangup = signal(SignalKind::hangup()).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        hangup.recv().await.unwrap();
        let thread = tokio::task::spawn_blocking(|| "blocking thread").await.unwrap();
        format!("timer, stream, signal, {thread}")
    })
}
