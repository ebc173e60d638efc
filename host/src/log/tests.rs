use std::io::Write;
use std::sync::{Arc, Mutex};

use postern_tests::Random;
use postern_text::clean::is_fit;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// What the log would write.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Lines of both forms that `tell` makes.
fn lines(tell: impl Fn()) -> [String; 2] {
    [Format::Text, Format::Json].map(|format| {
        let written = Written::default();
        let builder = fmt().with_writer(written.clone()).with_target(false).with_ansi(false);
        match format {
            Format::Text => {
                let subscriber = builder.fmt_fields(TextFields::default()).finish();
                tracing::subscriber::with_default(subscriber, &tell);
            }
            Format::Json => {
                tracing::subscriber::with_default(builder.event_format(Json).finish(), &tell);
            }
        }
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    })
}

#[test]
fn a_line_looks_as_it_should() {
    let [text, json] = lines(|| {
        let (tenant, rule) = ("host", "a \"b\"");
        tracing::info!(event = "open", %tenant, rule, lasts_s = 1.5, suppressed = 0_u64, again = true, "{rule} is open");
    });
    let (_, text) = text.split_once(' ').unwrap();
    assert_eq!(
        text,
        " INFO a \"b\" is open event=\"open\" tenant=host rule=\"a \\\"b\\\"\" lasts_s=1.5 suppressed=0 again=true\n"
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({
        "timestamp": json["timestamp"],
        "level": "INFO",
        "event": "open",
        "tenant": "host",
        "rule": "a \"b\"",
        "lasts_s": 1.5,
        "suppressed": 0,
        "again": true,
        "message": "a \"b\" is open",
    });
    assert_eq!(json, expected);
    assert!(json["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{json}");
}

#[test]
fn nothing_that_stands_in_a_field_or_the_words_makes_a_line_or_moves_a_cursor() {
    let mut random = Random::new(20_261_126);
    for _ in 0..500 {
        let hostile = hostile(&mut random);
        let all = lines(|| {
            let (text, shown, error) = (&*hostile, &hostile, io::Error::other(hostile.clone()));
            let (inside, dynamic): (_, &(dyn std::error::Error + 'static)) = (&hostile, &error);
            tracing::warn!(text, %shown, ?inside, %error, dynamic, "{shown}: {shown}");
        });
        for line in all {
            let line = line.strip_suffix('\n').unwrap();
            assert!(line.chars().all(is_fit), "{hostile:?} in {line}");
            assert!(line.chars().count() < 40_000, "{} characters", line.chars().count());
        }
    }
}

/// Of everything that is somewhere not taken as it is.
fn hostile(random: &mut Random) -> String {
    let pieces = [
        "\n",
        "\r",
        "\t",
        "\0",
        "\u{1b}[31m",
        "\u{1b}]0;x\u{7}",
        "\u{7f}",
        "\u{85}",
        "\u{9b}2J",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
        "\u{200e}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\"",
        "\\",
        "\\n",
        "{}",
        "ä",
        "name",
    ];
    let most = if random.below(20) == 0 { 5000 } else { 20 };
    let count = random.below(most);
    (0..count).map(|_| pieces[random.below(pieces.len())]).collect()
}

#[test]
fn a_level_is_that_of_our_own_lines() {
    for (level, expected) in [
        ("info", "warn,notify=error,postern=info"),
        ("debug", "warn,notify=error,postern=debug"),
        (" TRACE ", "warn,notify=error,postern=trace"),
        ("error", "error,notify=error,postern=error"),
        ("off", "off,notify=off,postern=off"),
        ("posternd=debug,wasmtime=trace", "posternd=debug,wasmtime=trace"),
        ("warn,posternd[{src}]=trace", "warn,posternd[{src}]=trace"),
    ] {
        assert_eq!(directives(level).unwrap(), expected, "{level}");
        EnvFilter::try_new(directives(level).unwrap()).unwrap();
    }
    for wrong in ["dbug", "posternd", "", "posternd::app"] {
        let said = directives(wrong).unwrap_err().to_string();
        assert!(said.starts_with(&format!("`{wrong}` is not a log level; use error,")), "{said}");
    }
}

#[test]
fn every_crate_of_ours_is_named_so() {
    use std::any::type_name;
    let names =
        [type_name::<Format>(), type_name::<postern_core::Knock>(), type_name::<postern_doorman::Posture>()];
    for name in names {
        assert!(name.starts_with(OURS), "{name}");
    }
}
