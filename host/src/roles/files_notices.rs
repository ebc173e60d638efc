//! FilesNotices: tells an engine what the supervisor notices about files.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use postern_link::{TalkSender, notify};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::reading_messages::FilesNotice;
use crate::pace::Pace;
use crate::watch::{Noticed, OWNERS};

/// How often it is looked whether files are still being written.
const LOOK: Duration = Duration::from_millis(500);
/// How often an engine is told something, however much happens; and how much of it at once.
const TOLD: Pace = Pace::per_second(10, 5);

/// Notices go to an engine as long as this lives.
pub(super) struct FilesNotices {
    /// Dropped, not sent.
    _stop: oneshot::Sender<()>,
}

impl FilesNotices {
    /// Sends what is noticed from now on to the engine at the other end of `sender`. What was noticed while there was no engine is sent as well.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start(noticed: Arc<Noticed>, sender: TalkSender) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = forward(&noticed, &sender) => {}
                    _ = stopped => {}
                }
            });
        };
        thread::Builder::new().name("files-notices".to_owned()).spawn(work)?;
        Ok(Self { _stop: stop })
    }
}

/// Until the engine is gone.
async fn forward(noticed: &Noticed, sender: &TalkSender) {
    let mut told = Vec::new();
    let mut pace = TOLD;
    loop {
        let mut is_changed = tokio::select! {
            () = noticed.changed.notified() => true,
            () = noticed.written.notified() => false,
            () = sleep(LOOK), if !told.is_empty() => false,
        };
        let now = Instant::now();
        if noticed.patience().is_some_and(|patience| patience <= now) {
            noticed.give_up(now);
            is_changed = true;
        }
        let written_at: Vec<_> =
            OWNERS.into_iter().filter_map(|owner| Some((owner, noticed.written_at(owner)?))).collect();
        if !is_changed && written_at == told {
            continue;
        }
        let ago = |at| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        let written_ago = written_at.iter().map(|(owner, at)| (*owner, ago(*at))).collect();
        told = written_at;
        let changed = is_changed.then(|| noticed.take_owner());
        if notify(sender, &FilesNotice { changed, written_ago }).is_err() {
            // For the engine after this one.
            if let Some(owner) = changed {
                noticed.changed_of(owner);
            }
            return;
        }
        // What comes meanwhile is told as one.
        sleep(pace.take(1, Instant::now().into_std())).await;
    }
}

#[cfg(test)]
mod tests {
    use postern_link::Talk;

    use super::*;
    use crate::watch::FileOwner;

    #[test]
    fn what_one_engine_is_not_told_the_next_one_is() {
        let noticed = Arc::new(Noticed::default());
        let sender = || {
            let (one, other) = Talk::pair().unwrap();
            (one.split(None).unwrap().0, other)
        };
        let (gone, other) = sender();
        drop(other);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        noticed.replicate(Some(FileOwner::Host), &[]);
        runtime.block_on(forward(&noticed, &gone));
        let (sender, other) = sender();
        let (_keep, mut notices) = other.split(None).unwrap();
        let _notices = FilesNotices::start(Arc::clone(&noticed), sender).unwrap();
        let first = notices.receive::<serde_json::Value>(100).unwrap().unwrap().0;
        assert_eq!(first["Notice"]["changed"], "Host");
    }
}
