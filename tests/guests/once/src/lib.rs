//! A rule for tests and measurements: a client that names a token or a counter in a UDP packet gets in once for it.
//!
//! To port 7100: `token WORD`, `token WORD UNTIL` in microseconds since 1970, or `count KEY NUMBER`. To port 7003, of any words: the sender's
//! address is the token. Anyone may name any: what is tested is that the host uses each up once.

use postern_sdk::{Interest, Knock, NoSettings, Once, OpenRequest, Rule, Timestamp, Verdict, Watch};

/// The rule.
#[derive(Debug)]
pub struct Named;

impl Rule for Named {
    type Settings = NoSettings;
    type Memory = ();

    fn configure(NoSettings {}: NoSettings) -> Result<(Self, Interest), String> {
        Ok((Self, Interest::new([Watch::udp(7100), Watch::udp(7003)]).payload_limit(64)))
    }

    fn judge(&self, knock: &Knock, _: Option<()>) -> Verdict<()> {
        if knock.destination_port == 7003 {
            return open(Once::token(knock.source.to_string()));
        }
        let text = String::from_utf8_lossy(&knock.payload);
        match *text.split(' ').collect::<Vec<_>>() {
            ["token", word] => open(Once::token(word)),
            ["token", word, until] => {
                open(Once::token_until(word, Timestamp::from_micros(until.parse().unwrap_or_default())))
            }
            ["count", key, number] => open(Once::counter(key, number.parse().unwrap_or_default())),
            _ => Verdict::Ignore,
        }
    }
}

fn open(once: Once) -> Verdict<()> {
    Verdict::open_doors([OpenRequest::default().once(once)])
}

postern_sdk::export!(Named);
