//! Text: the fields of an event in a line for people, clean and bounded.

use std::fmt::{self, Debug};

use postern_text::line;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::{MakeVisitor, RecordFields, VisitFmt, VisitOutput};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// The field that holds the words of an event.
const MESSAGE: &str = "message";

/// Texts but for the words stand in quotes, so that one cannot pass for two.
#[derive(Debug, Default)]
pub(super) struct TextFields(DefaultFields);

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut clean = Clean(self.0.make_visitor(writer));
        fields.record(&mut clean);
        clean.0.finish()
    }
}

struct Clean<V>(V);

impl<V: VisitFmt> Clean<V> {
    fn quoted(&mut self, field: &Field, value: &str) {
        let value = value.replace('\\', r"\\").replace('"', "\\\"");
        self.0.record_debug(field, &format_args!("\"{}\"", line(value)));
    }
}

impl<V: VisitFmt> Visit for Clean<V> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            return self.0.record_debug(field, &format_args!("{}", line(value)));
        }
        self.quoted(field, value);
    }

    /// Numbers, and what shows itself, come here, too; what has blanks or quotes in it could pass for more than it is.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() != MESSAGE && text.contains([' ', '"', '=', '\\']) {
            return self.quoted(field, &text);
        }
        self.0.record_debug(field, &format_args!("{}", line(text)));
    }
}
