//! KnockdLog: reports as knockd's messages.
//!
//! Of reports that knockd has no message for, warnings and errors go to the log and to standard error in the daemon's words.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use postern_core::{Client, DropReason, Observer, Report, Severity, TenantId, What};
use postern_text::panic::PastPanic;

use crate::known_conf::KnownConf;
use crate::log::{Channels, KnockdMessage, NamedSource};
use crate::names::Names;

/// The knockd log: an observer that says reports on knockd's channels.
pub(crate) struct KnockdLog {
    channels: Arc<Mutex<Channels>>,
    /// With `-l`: the thread that looks names up says all messages, in order.
    names: Option<Arc<Names>>,
    known_conf: Arc<KnownConf>,
    interface: String,
    /// The daemon's words for what knockd has no message for.
    words: fn(&Report<'_>) -> String,
}

impl KnockdLog {
    /// Speaks on `channels`; with `looks_up`, with the names of those who knock. `words` are the daemon's.
    pub(crate) fn new(
        channels: Arc<Mutex<Channels>>,
        looks_up: bool,
        known_conf: Arc<KnownConf>,
        interface: String,
        words: fn(&Report<'_>) -> String,
    ) -> Self {
        // Without a thread there are no names, and everything else is said all the same.
        let names = looks_up.then(|| Names::start(Arc::clone(&channels)).ok()).flatten().map(Arc::new);
        Self { channels, names, known_conf, interface, words }
    }

    /// Says what is queued, and releases the terminal.
    pub(crate) fn leave_terminal(&self) -> impl FnOnce() + use<> {
        let (channels, names) = (Arc::clone(&self.channels), self.names.clone());
        move || {
            if let Some(names) = names {
                names.flush();
            }
            channels.lock().past_panic().leave_terminal();
        }
    }

    fn say(&self, message: KnockdMessage) {
        let said_later = self.names.as_ref().map(|names| names.say(vec![message.clone()]));
        if !matches!(said_later, Some(Ok(()))) {
            self.channels.lock().past_panic().say(&message);
        }
    }

    fn message(&self, report: &Report<'_>) -> Option<KnockdMessage> {
        let name = report.rule().map(|rule| &*rule.name).or(report.door.as_deref()).unwrap_or_default();
        let door = || self.known_conf.section_name(name).to_string();
        let source = || {
            // knockd names no link.
            let address = report.client.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Client::address);
            NamedSource { address, host: None }
        };
        let stage = |stage: u32| usize::try_from(stage).unwrap_or(usize::MAX);
        Some(match &report.what {
            What::Ready { .. } => KnockdMessage::Started { interface: self.interface.clone() },
            What::Stage { stage: number, .. } => {
                KnockdMessage::Stage { source: source(), door: door(), stage: stage(*number) }
            }
            What::Solved { .. } => {
                KnockdMessage::Stage { source: source(), door: door(), stage: self.known_conf.steps(name) }
            }
            // Not before: the engine may have refused it.
            What::Granted => KnockdMessage::OpenSesame { source: source(), door: door() },
            What::CommandRuns { line } => {
                KnockdMessage::RunningCommand { door: door(), command: (&**line).into() }
            }
            What::StopCommandDue => KnockdMessage::CommandTimeout { source: source(), door: door() },
            What::CommandFailed { code } => KnockdMessage::CommandFailed { door: door(), status: *code },
            What::CommandNotStarted { .. } => KnockdMessage::ForkFailed,
            What::StartCommandTooLong => KnockdMessage::StartTooLong,
            What::StopCommandTooLong => KnockdMessage::StopTooLong,
            What::OneTimeEmpty => KnockdMessage::OneTimeEmpty { door: door() },
            What::OneTimeFailed { detail } => {
                KnockdMessage::OneTimeWriteFailed { door: door(), why: detail.to_string() }
            }
            What::Forgot { reason, .. } => {
                KnockdMessage::StartsOver { source: source(), door: door(), why: reason.to_string() }
            }
            What::TimedOut { stage: number } => {
                KnockdMessage::SequenceTimeout { source: source(), door: door(), stage: stage(*number) }
            }
            What::ReloadRefused { mistakes, .. } => {
                KnockdMessage::ReloadRefused { path: self.known_conf.file.clone(), mistakes: *mistakes }
            }
            // `posternd check` checks no knockd.conf.
            What::MoreMistakes { mistakes } => {
                KnockdMessage::Ours { text: format!("{mistakes} more mistakes") }
            }
            What::Stopping => KnockdMessage::WaitingForChildren,
            // The warning before was said, so its end is, too.
            What::JournalWritable { .. } | What::LedgerUsable { .. } | What::ListeningAgain { .. } => {
                self.ours(report)
            }
            // Programs read this log, and on most machines that would be a new line at each start. `posternd run` says it.
            What::BarrierMissing { .. } | What::OneProcess { .. } => return None,
            what if what.severity() <= Severity::Warn => self.ours(report),
            _ => return None,
        })
    }

    fn ours(&self, report: &Report<'_>) -> KnockdMessage {
        KnockdMessage::Ours { text: (self.words)(report) }
    }

    fn reopen(&self) {
        let (path, log_file) = (self.known_conf.file.clone(), self.known_conf.log_file());
        self.say(KnockdMessage::Rereading { path });
        if let Some(path) = log_file {
            self.say(KnockdMessage::ClosingLogFile { path: path.clone() });
            self.channels.lock().past_panic().reopen(&path);
            self.say(KnockdMessage::ReopeningLogFile { path });
        }
    }
}

impl Observer for KnockdLog {
    /// Says what knockd would say, and what the operator must know.
    fn report(&self, report: &Report<'_>) {
        match &report.what {
            What::Hangup => self.reopen(),
            What::Stopped { .. } => {
                self.say(KnockdMessage::ShuttingDown);
                if let Some(names) = &self.names {
                    names.flush();
                }
            }
            _ => self.message(report).into_iter().for_each(|message| self.say(message)),
        }
    }

    /// knockd counts nothing.
    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

#[cfg(test)]
mod tests {
    use postern_core::RuleId;

    use super::*;

    fn log() -> KnockdLog {
        let known_conf = KnownConf::new("/k.conf".into(), "/".into());
        let words = |report: &Report<'_>| format!("in its own words: {}", report.what.name());
        let channels = Arc::new(Mutex::new(Channels::new(None, false, false)));
        KnockdLog::new(channels, false, Arc::new(known_conf), "eth0".to_owned(), words)
    }

    fn said(report: &Report<'_>) -> Option<String> {
        log().message(report).map(|message| message.to_string())
    }

    #[test]
    fn what_knockd_has_words_for_is_said_in_them() {
        let rule = RuleId { tenant: TenantId::host(), name: "ssh".into() };
        let client = Client::on_link("fe80::7".parse().unwrap(), 3);
        let of_rule = |what| said(&Report::of_rule(&rule, what).with_client(client));
        assert_eq!(
            of_rule(What::Stage { stage: 2, lasts: std::time::Duration::from_secs(5) }).as_deref(),
            Some("fe80::7: ssh: Stage 2")
        );
        let gets_in = Report::of_door("ssh", What::Granted).with_client(client);
        assert_eq!(said(&gets_in).as_deref(), Some("fe80::7: ssh: OPEN SESAME"));
        let refused = What::ReloadRefused { generation: 1, mistakes: 1, detail: "".into() };
        let words = "config: 1 mistake in /k.conf; the running configuration is unchanged";
        assert_eq!(said(&Report::new(refused)).as_deref(), Some(words));
    }

    #[test]
    fn each_warning_is_told_by_what_it_is_and_none_passes_for_a_mistake() {
        let error = || "no more".into();
        for (what, name) in [
            (What::NotWatched { folder: None, error: error() }, "not-watched"),
            (What::DoorsRefused { generation: 1, detail: error() }, "doors-refused"),
            (What::NextStart { detail: error() }, "next-start"),
            (What::NoThread { error: error() }, "no-thread"),
            (What::JournalWritable { path: std::path::Path::new("/j").into() }, "journal-writable"),
        ] {
            assert_eq!(said(&Report::new(what)).unwrap(), format!("in its own words: {name}"));
        }
        let in_force = What::InForce { generation: 2, rules: 1, doors: 1 };
        assert_eq!(said(&Report::new(in_force)), None, "knockd has no words for it");
    }
}
