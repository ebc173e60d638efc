//! Voice: says what happens in knockd's words.
//!
//! The daemon says everything once, as events with fixed field names; here those that knockd has words for are put into them. Of the rest,
//! warnings and errors go to the log and to standard error as they are.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::log::{Channels, Message, Source};
use crate::names::Names;
use crate::run::lock;
use crate::shared::Shared;

/// What is no warning, but must be heard by those who heard the one that it puts an end to.
const ENDS_A_WARNING: [&str; 2] = ["journal", "listening-again"];

/// A subscriber that speaks as knockd does.
pub(crate) struct Voice {
    channels: Arc<Mutex<Channels>>,
    /// With `-l`: everything is said in order by the thread that looks names up.
    names: Option<Arc<Names>>,
    shared: Arc<Shared>,
    interface: String,
}

impl Voice {
    /// Speaks on `channels`; with `looks_up`, with the names of those who knock.
    pub(crate) fn new(
        channels: Arc<Mutex<Channels>>,
        looks_up: bool,
        shared: Arc<Shared>,
        interface: String,
    ) -> Self {
        // Without a thread there are no names, and everything else is said all the same.
        let names = looks_up.then(|| Names::start(Arc::clone(&channels)).ok()).flatten().map(Arc::new);
        Self { channels, names, shared, interface }
    }

    /// Says what is still to be said, and lets go of the terminal.
    pub(crate) fn leave_terminal(&self) -> impl FnOnce() + use<> {
        let (channels, names) = (Arc::clone(&self.channels), self.names.clone());
        move || {
            if let Some(names) = names {
                names.flush();
            }
            lock(&channels).leave_terminal();
        }
    }

    fn say(&self, messages: &[Message]) {
        let said_later = self.names.as_ref().map(|names| names.say(messages.to_vec()));
        if !matches!(said_later, Some(Ok(()))) {
            let mut channels = lock(&self.channels);
            messages.iter().for_each(|message| channels.say(message));
        }
    }

    /// What knockd says of an event; false if it has no words for it.
    fn translate(&self, fields: &Fields) -> bool {
        let door = || self.shared.section_name(fields.text("door")).to_string();
        let rule = || self.shared.section_name(fields.text("rule")).to_string();
        let source = || {
            // knockd names no link.
            let address = fields.text("src").split('%').next().and_then(|address| address.parse().ok());
            let address = address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
            Source { address, host: None }
        };
        match fields.text("event") {
            "ready" => self.say(&[Message::Started { interface: self.interface.clone() }]),
            "stage" => {
                let stage = fields.text("stage").parse().unwrap_or(0);
                self.say(&[Message::Stage { source: source(), door: rule(), stage }]);
            }
            "solved" => {
                let stage = self.shared.steps(fields.text("rule"));
                self.say(&[Message::Stage { source: source(), door: rule(), stage }]);
            }
            // Not before: the engine may have refused it.
            "granted" => self.say(&[Message::OpenSesame { source: source(), door: door() }]),
            "command" => {
                let command = fields.text("detail").into();
                self.say(&[Message::RunningCommand { door: door(), command }]);
            }
            "command-timeout" => self.say(&[Message::CommandTimeout { source: source(), door: door() }]),
            "command-failed" => {
                let status = fields.text("code").parse().unwrap_or(-1);
                self.say(&[Message::CommandFailed { door: door(), status }]);
            }
            "command-not-started" => self.say(&[Message::ForkFailed]),
            "start-command-too-long" => self.say(&[Message::StartTooLong]),
            "stop-command-too-long" => self.say(&[Message::StopTooLong]),
            "one-time-empty" => self.say(&[Message::OneTimeEmpty { door: door() }]),
            "one-time-failed" => {
                let why = fields.text("detail").to_owned();
                self.say(&[Message::OneTimeWriteFailed { door: rule(), why }]);
            }
            "forget" => {
                let why = fields.text("reason").to_owned();
                self.say(&[Message::StartsOver { source: source(), door: rule(), why }]);
            }
            "timeout" => {
                let stage = fields.text("stage").parse().unwrap_or(0);
                self.say(&[Message::SequenceTimeout { source: source(), door: rule(), stage }]);
            }
            "reload-refused" => {
                let (path, mistakes) =
                    (self.shared.file.clone(), fields.text("mistakes").parse().unwrap_or(1));
                self.say(&[Message::ReloadRefused { path, mistakes }]);
            }
            "hangup" => self.reopen(),
            "stopping" => self.say(&[Message::WaitingForChildren]),
            "stop" => {
                self.say(&[Message::ShuttingDown]);
                if let Some(names) = &self.names {
                    names.flush();
                }
            }
            _ => return false,
        }
        true
    }

    fn reopen(&self) {
        let (path, log_file) = (self.shared.file.clone(), self.shared.log_file());
        self.say(&[Message::Rereading { path }]);
        if let Some(path) = log_file {
            self.say(&[Message::ClosingLogFile { path: path.clone() }]);
            lock(&self.channels).reopen(&path);
            self.say(&[Message::ReopeningLogFile { path }]);
        }
    }
}

impl<S: Subscriber> Layer<S> for Voice {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        if self.translate(&fields) {
            return;
        }
        let ends_a_warning = level == Level::INFO && ENDS_A_WARNING.contains(&fields.text("event"));
        if level <= Level::WARN || ends_a_warning {
            self.say(&[Message::Ours { text: fields.words() }]);
        }
    }
}

/// The fields of an event, as text.
#[derive(Default)]
struct Fields(HashMap<&'static str, String>);

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The message, and the reason if there is one.
    fn words(&self) -> String {
        let (words, reason) = (self.text("message"), self.text("reason"));
        if reason.is_empty() { words.to_owned() } else { format!("{words}: {reason}") }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
