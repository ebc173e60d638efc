//! StartSettings: what of `postern.toml` counts from the daemon's start on. A reload that changes it does so without effect, and says that.

use std::path::Path;

use postern_text::Mistake;

use crate::control_settings::ControlSocket;
use crate::hook::Hook;
use crate::metrics_settings::MetricsListen;
use crate::process_user::ProcessUser;
use crate::table::{Table, ValuePlace};

/// The keys, and whether what each says has changed.
const KEYS: [(&str, Differs); 5] = [
    ("workers", |one, other| one.workers != other.workers),
    ("user", |one, other| one.user != other.user),
    ("control.socket", |one, other| one.control != other.control),
    ("metrics.listen", |one, other| one.metrics != other.metrics),
    ("hooks", |one, other| one.hooks != other.hooks),
];

type Differs = fn(&StartSettings, &StartSettings) -> bool;

/// What counts from the daemon's start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSettings {
    pub(crate) workers: usize,
    pub(crate) user: Option<ProcessUser>,
    pub(crate) control: ControlSocket,
    pub(crate) metrics: MetricsListen,
    pub(crate) hooks: Vec<Hook>,
}

impl StartSettings {
    /// What `new` says otherwise than these, with which the daemon was started, each as a mistake in `file`: at its place, if `places` has it, and when it
    /// counts.
    pub(crate) fn changed_in(&self, new: &Self, places: &[ValuePlace], file: &Path) -> Vec<Mistake> {
        let changed = KEYS.iter().filter(|(_, differs)| differs(self, new));
        let mistake = |(key, _): &(&str, Differs)| Mistake {
            file: file.to_owned(),
            line: places.iter().find(|place| place.key == *key).map(|place| place.line),
            key: (*key).to_owned(),
            what: "this change takes effect at the next start of posternd".to_owned(),
        };
        changed.map(mistake).collect()
    }
}

/// Where these keys stand in a `postern.toml`.
pub(crate) fn places(table: &Table<'_>) -> Vec<ValuePlace> {
    let is_one = |place: &ValuePlace| KEYS.iter().any(|(key, _)| place.key == *key);
    table.places().into_iter().filter(is_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> Config {
        let text = format!("interfaces = [\"lo\"]\n{text}");
        let reading = Config::of_texts(Path::new("/etc/postern/postern.toml"), &text, &[]);
        assert_eq!(reading.mistakes, []);
        reading.config.unwrap()
    }

    /// What is said of a reload from one text to the other.
    fn changes(before: &str, after: &str) -> Vec<String> {
        let file = Path::new("/p.toml");
        let changed = config(after).changed_since_start(&config(before).start_settings(), file);
        changed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_counts_from_the_start_on_is_said_with_its_place_when_it_changes() {
        let effect = "this change takes effect at the next start of posternd";
        for (before, after, key) in [
            ("", "workers = 2", ":2: workers"),
            ("", "user = \"nobody\"", ":2: user"),
            ("", "[control]\nsocket = \"none\"", ":3: control.socket"),
            ("[metrics]\nlisten = \"[::1]:1\"", "[metrics]\n\nlisten = \"[::1]:2\"", ":4: metrics.listen"),
            ("", "[[hooks]]\non = \"open\"\nrun = \"/bin/sh\"", ":2: hooks"),
            // What is left out has no line.
            ("[control]\nsocket = \"none\"", "", ": control.socket"),
            ("[metrics]\nlisten = \"[::1]:1\"", "[metrics]", ": metrics.listen"),
        ] {
            assert_eq!(changes(before, after), [format!("/p.toml{key}: {effect}")], "{before:?} {after:?}");
        }
        let all = "workers = 2\n[control]\nsocket = \"none\"\n[metrics]\nlisten = \"[::1]:1\"\n";
        let hook = |run: &str| format!("[[hooks]]\non = \"open\"\nrun = \"{run}\"");
        // Where it stands is nothing that it says.
        assert_eq!(changes(&hook("/bin/sh"), &format!("\n{}", hook("/bin/sh"))), [""; 0]);
        assert_eq!(changes(&hook("/bin/sh"), &hook("/bin/cat")), [format!("/p.toml:2: hooks: {effect}")]);
        assert_eq!(changes("", all).len(), 3);
        assert_eq!(changes(all, &format!("promiscuous = true\n{all}[limits]\nfor = \"1h\"")), [""; 0]);
    }
}
