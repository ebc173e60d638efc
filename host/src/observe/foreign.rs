//! Foreign: the `tracing` events of other projects' crates, as lines.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Line, Value};

/// The field that holds the words of an event.
const MESSAGE: &str = "message";

/// A layer of `tracing` that hands each event on as a line.
pub(crate) struct Foreign<F>(pub(crate) F);

impl<F> Debug for Foreign<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").finish_non_exhaustive()
    }
}

impl<S: Subscriber, F: Fn(&Line) + 'static> Layer<S> for Foreign<F> {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = event.metadata().level().as_str();
        let mut fields = EventFields(Line { level, words: String::new(), fields: Vec::new() });
        event.record(&mut fields);
        self.0(&fields.0);
    }
}

struct EventFields(Line);

impl EventFields {
    fn push(&mut self, field: &Field, value: Value) {
        match value {
            Value::Text(text) | Value::Plain(text) if field.name() == MESSAGE => self.0.words = text,
            value => self.0.fields.push((field.name(), value)),
        }
    }
}

impl Visit for EventFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, Value::Plain(format!("{value:?}")));
    }
}
