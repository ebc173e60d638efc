//! A rule for tests: whoever names a token or a counter in a UDP packet to port 7100 gets in once for it.
//!
//! `token WORD`, or `count KEY NUMBER`. Anyone may name any: what is tested is that the host uses each up once.

use postern_sdk::{Interest, Knock, NoSettings, Once, OpenRequest, Rule, Verdict, Watch};

/// The rule.
#[derive(Debug)]
pub struct Named;

impl Rule for Named {
    type Settings = NoSettings;
    type Memory = ();

    fn configure(NoSettings {}: NoSettings) -> Result<(Self, Interest), String> {
        Ok((Self, Interest::new([Watch::udp(7100)]).payload_limit(64)))
    }

    fn judge(&self, knock: &Knock, _: Option<()>) -> Verdict<()> {
        let text = String::from_utf8_lossy(&knock.payload);
        let once = match *text.split(' ').collect::<Vec<_>>() {
            ["token", word] => Once::token(word),
            ["count", key, number] => Once::counter(key, number.parse().unwrap_or_default()),
            _ => return Verdict::Ignore,
        };
        Verdict::open_doors([OpenRequest::default().once(once)])
    }
}

postern_sdk::export!(Named);
