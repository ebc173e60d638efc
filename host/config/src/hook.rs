//! Hook: a command that is run when something happens, as `postern.toml` describes it.

use std::path::Path;
use std::time::Duration;

use postern_core::What;
use serde::{Deserialize, Serialize};

use crate::door;
use crate::table::{At, Table};

/// Hooks of one configuration.
const MOST_HOOKS: usize = 16;
/// Kinds of events of one hook.
const MOST_EVENTS: usize = 32;
const DEFAULT_RATE: u32 = 10;
const HIGHEST_RATE: u32 = 600;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// What a hook's own failure is called: a hook on that would go on for ever.
const OWN_FAILURE: &str = "hook-failed";

/// A command that is run when something happens.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its file and line, for messages.
    pub place: String,
    /// The names of the events.
    pub on: Vec<String>,
    /// The program, by its full path, and its arguments.
    pub run: Vec<String>,
    /// The account that it runs as; none: the daemon's own user.
    pub user: Option<String>,
    /// How often it is run in a minute for the events of each owner of rules, at most; so many at once as well.
    pub rate: u32,
    /// It is killed after so long.
    pub timeout: Duration,
}

/// Wherever they stand, two that say the same are the same.
impl PartialEq for Hook {
    fn eq(&self, other: &Self) -> bool {
        let Self { place: _, on, run, user, rate, timeout } = self;
        (on, run, user, rate, timeout) == (&other.on, &other.run, &other.user, &other.rate, &other.timeout)
    }
}

/// What a `postern.toml` says under `[[hooks]]`.
pub(crate) fn read(table: &Table<'_>) -> Vec<Hook> {
    let tables = table.list_of_tables("hooks");
    if tables.len() > MOST_HOOKS {
        table.mistake(&table.place_of("hooks"), format!("has {} items; at most {MOST_HOOKS}", tables.len()));
    }
    tables.into_iter().filter_map(hook).collect()
}

fn hook(table: Table<'_>) -> Option<Hook> {
    for key in ["on", "run"] {
        if !table.has(key) {
            table.mistake(
                &table.place(),
                format!("{key} is missing: say on which events which command is run"),
            );
        }
    }
    let on = events(&table);
    let run = argv(&table);
    let user = door::account(&table);
    let rate = table.number("rate", 1..=HIGHEST_RATE as usize);
    let rate = rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(DEFAULT_RATE);
    let limits = Duration::from_millis(10)..=LONGEST_TIMEOUT;
    let timeout = table.duration("timeout", limits).map_or(DEFAULT_TIMEOUT, |at| at.value);
    let place = table.file_and_line();
    table.finish();
    Some(Hook { place, on: on?, run: run?, user: user?, rate, timeout })
}

fn events(table: &Table<'_>) -> Option<Vec<String>> {
    let texts = table.texts_up_to("on", MOST_EVENTS)?;
    let mut is_right = true;
    for At { value, place } in &texts {
        let what = if *value == OWN_FAILURE {
            "a hook is not run because a hook failed"
        } else if What::NAMES.contains(value) {
            continue;
        } else {
            "nothing that is reported is called so; docs/log.md has the names, such as open, close, refuse"
        };
        table.mistake(place, format!("`{value}`: {what}"));
        is_right = false;
    }
    is_right.then(|| texts.iter().map(|at| at.value.to_owned()).collect())
}

fn argv(table: &Table<'_>) -> Option<Vec<String>> {
    let texts = table.texts("run")?;
    let At { value, place } = texts.first()?;
    let what = if !value.starts_with('/') {
        format!("`{value}`: name the program by its full path")
    } else if Path::new(value).is_file() {
        return Some(texts.iter().map(|at| at.value.to_owned()).collect());
    } else {
        format!("there is no program {value}")
    };
    table.mistake(place, what);
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Config;

    /// What a file with this in it says, or its mistakes.
    fn load(hooks: &str) -> Result<Vec<Hook>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postern.toml");
        fs::write(&file, format!("interfaces = [\"lo\"]\n{hooks}")).unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        let said = Config::load(&file).map(|config| config.hooks).map_err(|mistakes| mistakes.to_string());
        said.map_err(|said| said.replace(&file.display().to_string(), "FILE"))
    }

    #[test]
    fn a_hook_says_when_what_is_run() {
        let hooks = load(
            "[[hooks]]\non = [\"open\", \"refuse\"]\nrun = [\"/bin/sh\", \"{ip}\"]\nrate = 600\ntimeout = \"1s\"\n\
             [[hooks]]\non = \"stuck\"\nrun = \"/bin/true\"\n",
        );
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let first = Hook {
            place: "elsewhere".to_owned(),
            on: texts(&["open", "refuse"]),
            run: texts(&["/bin/sh", "{ip}"]),
            user: None,
            rate: 600,
            timeout: Duration::from_secs(1),
        };
        let second = Hook {
            place: String::new(),
            on: texts(&["stuck"]),
            run: texts(&["/bin/true"]),
            user: None,
            rate: DEFAULT_RATE,
            timeout: DEFAULT_TIMEOUT,
        };
        let hooks = hooks.unwrap();
        assert_eq!(hooks, [first.clone(), second.clone()]);
        assert!(hooks[0].place.ends_with("/postern.toml:2"), "{}", hooks[0].place);
        assert!(hooks[1].place.ends_with("/postern.toml:7"), "{}", hooks[1].place);
        assert_ne!(hooks, [second, first]);
        assert_eq!(load(""), Ok(Vec::new()));
    }

    #[test]
    fn what_makes_no_sense_is_a_mistake_with_its_place() {
        let hook = |line: &str| format!("[[hooks]]\non = \"open\"\nrun = \"/bin/true\"\n{line}");
        for (hooks, said) in [
            (
                "[[hooks]]\non = [\"open\", \"opened\"]\nrun = \"/bin/true\"".to_owned(),
                "FILE:3: hooks[0].on[1]: `opened`: nothing",
            ),
            (
                "[[hooks]]\non = \"hook-failed\"\nrun = \"/bin/true\"".to_owned(),
                "FILE:3: hooks[0].on: `hook-failed`: a hook",
            ),
            (
                "[[hooks]]\non = \"open\"\nrun = \"true\"".to_owned(),
                "FILE:4: hooks[0].run: `true`: name the program by",
            ),
            (
                "[[hooks]]\non = \"open\"\nrun = [\"/bin/none\"]".to_owned(),
                "FILE:4: hooks[0].run[0]: there is no program",
            ),
            ("[[hooks]]\non = \"open\"".to_owned(), "FILE:2: hooks[0]: run is missing"),
            (hook("rate = 601"), "FILE:5: hooks[0].rate: 601 is out of range; use 1 to 600"),
            (hook("rates = 1"), "FILE:5: hooks[0].rates: "),
            (hook("user = \"nobody-of-postern\""), "FILE:5: hooks[0].user: there is no account"),
            ("hooks = [1]".to_owned(), "FILE:2: hooks[0]: "),
            ("hooks = \"x\"".to_owned(), "FILE:2: hooks: "),
            ((0..17).map(|_| hook("")).collect(), "FILE:2: hooks: has 17 items; at most 16"),
        ] {
            let mistakes = load(&hooks).unwrap_err();
            assert!(mistakes.starts_with(said), "{mistakes} instead of {said}");
        }
    }
}
