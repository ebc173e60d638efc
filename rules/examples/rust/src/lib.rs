//! A rule: 7000/udp, and within five seconds a SYN at 7001/tcp opens the first door.

use std::time::Duration;

use postern_sdk::serde_json::{Map, Value};
use postern_sdk::{Interest, Knock, Rule, TcpFlags, Timestamp, Verdict, Watch, info};

/// The rule.
pub struct TwoKnocks {
    first: Watch,
    second: Watch,
    /// How long a client has between the two.
    within: Duration,
}

impl Rule for TwoKnocks {
    type Settings = Map<String, Value>;
    /// When the first knock came, in microseconds.
    type Memory = u64;

    fn configure(settings: Self::Settings) -> Result<(Self, Interest), String> {
        let mut within = 5;
        for (name, value) in &settings {
            if name != "within" {
                return Err(format!("{name}: unknown; the only setting is within"));
            }
            within = read_seconds(value).ok_or(r#"within: use "1s" to "3600s""#)?;
        }
        let first = Watch::udp(7000);
        let second = Watch::tcp(7001).with(TcpFlags::SYN).without(TcpFlags::ACK);
        let interest = Interest::new([first, second]).memory_format(1);
        Ok((Self { first, second, within: Duration::from_secs(within) }, interest))
    }

    fn judge(&self, knock: &Knock, memory: Option<u64>) -> Verdict<u64> {
        if self.first.matches(knock) {
            return Verdict::remember(1, knock.time.as_micros(), knock.time + self.within);
        }
        match memory {
            Some(first) if self.second.matches(knock) => {
                let waited = knock.time.since(Timestamp::from_micros(first));
                info!("second knock after {} ms", waited.as_millis());
                Verdict::open()
            }
            _ => Verdict::Ignore,
        }
    }
}

/// Reads `"1s"` to `"3600s"`.
fn read_seconds(value: &Value) -> Option<u64> {
    let seconds = value.as_str()?.strip_suffix('s')?.parse().ok()?;
    (1..=3600).contains(&seconds).then_some(seconds)
}

postern_sdk::export!(TwoKnocks);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_sdk::testing::rehearse;

    #[test]
    fn settings() {
        for settings in [r#"{"within":5}"#, r#"{"within":"0s"}"#, r#"{"within":"soon"}"#] {
            assert_eq!(rehearse::<TwoKnocks>(settings, ""), "refused: within: use \"1s\" to \"3600s\"\n");
        }
        let said = rehearse::<TwoKnocks>(r#"{"withn":"2s"}"#, "");
        assert_eq!(said, "refused: withn: unknown; the only setting is within\n");
    }

    #[test]
    fn two_knocks_open() {
        let said = rehearse::<TwoKnocks>(
            r#"{"within":"2s"}"#,
            "+0.0s 203.0.113.7 udp/7000
             +0.4s 203.0.113.7 tcp/7001 flags=syn,ack
             +0.4s 203.0.113.7 tcp/7001
             +0.5s 203.0.113.7 tcp/7001
             +1.0s 203.0.113.7 udp/7000
             +3.0s 203.0.113.7 tcp/7001",
        );
        assert_eq!(
            said,
            "+0.0s 203.0.113.7 remember 1 until +2.0s\n\
             +0.4s 203.0.113.7 not shown\n\
             +0.4s 203.0.113.7 open\n\
             +0.5s 203.0.113.7 ignore\n\
             +1.0s 203.0.113.7 remember 1 until +3.0s\n\
             +3.0s 203.0.113.7 ignore\n"
        );
    }
}
