//! Reports as they are told over the socket.

use std::time::{SystemTime, UNIX_EPOCH};

use postern_capture::Shown;
use postern_core::{Report, Severity};
use postern_protocol::Event;

use crate::observe::plain_line;

/// What stands for itself in an event, and not among its fields.
const HEAD: [&str; 8] = ["timestamp", "level", "message", "event", "tenant", "rule", "door", "src"];

/// Milliseconds since 1970 by the machine's clock. The C library reads that without a system call; rustix does not once this process is
/// confined, since it finds the way in a file.
pub(super) fn now_ms() -> u64 {
    millis_of(SystemTime::now())
}

/// Milliseconds since 1970.
pub(super) fn millis_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// A report as an event of this time.
pub(super) fn event_of(report: &Report<'_>, time_ms: u64) -> Event {
    let line = plain_line(report);
    let mut fields = line.json(String::new());
    fields.retain(|name, _| !HEAD.contains(&name.as_str()));
    let severity = match report.what.severity() {
        Severity::Error => "error",
        Severity::Warn => "warn",
        Severity::Info => "info",
        Severity::Debug => "debug",
    };
    Event {
        time_ms,
        kind: report.what.name().to_owned(),
        severity: severity.to_owned(),
        tenant: report.tenant().map(ToString::to_string),
        rule: report.rule().map(|rule| rule.name.to_string()),
        client: report.client.map(|client| Shown(client).to_string()),
        door: report.door.as_deref().map(str::to_owned),
        text: postern_text::line(&line.words).to_string(),
        fields,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::{Client, RuleId, RuleLogLevel, TenantId, What};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_says_what_the_log_says() {
        let rule = RuleId { tenant: TenantId::new("web"), name: "knock".into() };
        let client = Client::alone("192.0.2.7".parse().unwrap());
        let what = What::Stage { stage: 2, lasts: Duration::from_secs(1) };
        let event = event_of(&Report::of_rule(&rule, what).with_client(client), 5);
        let expected = json!({
            "time_ms": 5, "kind": "stage", "severity": "info", "tenant": "web", "rule": "knock", "client": "192.0.2.7",
            "text": "web/knock: 192.0.2.7 is at stage 2", "fields": { "stage": 2 }
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
        // What a rule says is no control sequence, and no second line.
        let says = What::Says {
            severity: Severity::Info,
            level: RuleLogLevel::OfDaemon,
            text: "a\u{1b}[2J\nb".into(),
        };
        let event = event_of(&Report::of_rule(&rule, says), 5);
        assert!(!event.text.contains(['\u{1b}', '\n']), "{:?}", event.text);
    }
}
