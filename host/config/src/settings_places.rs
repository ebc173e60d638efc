//! SettingsPlaces: where in a rule's file each setting stands, for the mistakes that its module reports.

use serde::{Deserialize, Serialize};

use crate::table::{Table, ValuePlace};

/// Most mistakes of one rule's settings that are reported.
const MOST_MISTAKES: usize = 100;

/// Most settings whose places are kept; a mistake in any further one is reported at `[settings]`.
const MOST_PLACES: usize = 1024;

/// Where `[settings]` stands, and each setting in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SettingsPlaces {
    whole: ValuePlace,
    /// Their keys begin with that of the whole.
    each: Vec<ValuePlace>,
}

impl SettingsPlaces {
    /// `[settings]` of a rule as a JSON object, and where all of it stands; where there is none, at the beginning of the text.
    pub(crate) fn read(table: &Table<'_>) -> (String, Self) {
        match table.table("settings") {
            Some(settings) => (settings.json().to_string(), Self::of(settings.place(), settings.places())),
            None => ("{}".to_owned(), Self::whole(table.place())),
        }
    }

    pub(crate) fn of(whole: ValuePlace, mut each: Vec<ValuePlace>) -> Self {
        each.truncate(MOST_PLACES);
        Self { whole, each }
    }

    /// If nothing is known of single settings.
    pub(crate) const fn whole(whole: ValuePlace) -> Self {
        Self { whole, each: Vec::new() }
    }

    /// What a module says is wrong: a mistake a line, at the setting that it begins with. A line that begins with a blank belongs to the
    /// one before.
    pub(crate) fn mistakes(&self, refusal: &str) -> Vec<(&ValuePlace, String)> {
        let mut mistakes: Vec<(&ValuePlace, String)> = Vec::new();
        for line in refusal.lines().filter(|line| !line.trim().is_empty()) {
            let is_full = mistakes.len() == MOST_MISTAKES;
            match mistakes.last_mut() {
                Some((_, what)) if line.starts_with([' ', '\t']) => *what = format!("{what} {}", line.trim()),
                _ if is_full => break,
                _ => mistakes.push(self.placed(line.trim())),
            }
        }
        if mistakes.is_empty() {
            mistakes.push((&self.whole, "the module refuses them and does not say why".to_owned()));
        }
        mistakes
    }

    fn placed(&self, line: &str) -> (&ValuePlace, String) {
        let found = line.split_once(": ").and_then(|(key, what)| {
            let (place, rest) = self.place(key)?;
            Some((place, if rest.is_empty() { what.to_owned() } else { format!("{rest}: {what}") }))
        });
        found.unwrap_or_else(|| (&self.whole, line.to_owned()))
    }

    /// Where a setting stands, or else that in which it is, and what is left of its name then.
    fn place<'a>(&self, key: &'a str) -> Option<(&ValuePlace, &'a str)> {
        let named = |key: &str| self.each.iter().find(|place| self.name(place) == Some(key));
        let parts = key.rmatch_indices(['[', '.']).map(|(at, _)| at);
        std::iter::once(key.len()).chain(parts).find_map(|at| {
            let (whole, rest) = key.split_at(at);
            Some((named(whole)?, rest.trim_start_matches('.')))
        })
    }

    fn name<'a>(&self, place: &'a ValuePlace) -> Option<&'a str> {
        place.key.strip_prefix(&self.whole.key)?.strip_prefix('.')
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::table::TomlSource;

    #[test]
    fn each_setting_has_its_own_line_however_it_is_written() {
        let text = "module = \"x\"\n[settings]\nwithin = \"5s\"\nsteps = [\n  \"1/udp\",\n  \"2/tcp\",\n]\na.b = 1\n\
                    nets = [\n  [\"x\",\n   \"y\"],\n  { name = \"z\" },\n]\n[settings.deep]\n\n\"of a\" = 2\n\
                    [[settings.each]]\nport = 1\n[[settings.each]]\n# two\nport = 2\n";
        let source = TomlSource::new(Path::new("r.toml"), text);
        let document = source.parse().unwrap();
        let root = Table::root(&source, &document);
        let settings = root.table("settings").unwrap();
        let places = SettingsPlaces::of(settings.place(), settings.places());
        for (key, line) in [
            ("within", 3),
            ("steps", 4),
            ("steps[1]", 6),
            ("a.b", 8),
            ("nets[0]", 10),
            ("nets[0][1]", 11),
            ("nets[1].name", 12),
            ("deep.of a", 16),
            ("each[0].port", 18),
            ("each[1].port", 21),
            ("unknown", 2),
        ] {
            let (place, what) = places.mistakes(&format!("{key}: is wrong")).remove(0);
            assert_eq!(place.line, line, "{key}");
            let is_whole = key == "unknown";
            assert_eq!(what, if is_whole { "unknown: is wrong" } else { "is wrong" }, "{key}");
        }
    }

    #[test]
    fn a_mistake_stands_at_the_setting_that_it_begins_with() {
        let place = |line, key: &str| ValuePlace { line, key: key.to_owned() };
        let each = [
            (5, "settings.within"),
            (6, "settings.sequence"),
            (7, "settings.sequence[0]"),
            (9, "settings.a.b"),
        ];
        let each = each.map(|(line, key)| place(line, key)).to_vec();
        let places = SettingsPlaces::of(place(4, "settings"), each);
        let check = |refusal: &str, expected: &[&str]| {
            let shown =
                |(place, what): (&ValuePlace, String)| format!("{} {}: {what}", place.line, place.key);
            let shown: Vec<_> = places.mistakes(refusal).into_iter().map(shown).collect();
            assert_eq!(shown, expected, "{refusal:?}");
        };
        check("within: too long", &["5 settings.within: too long"]);
        check(
            "sequence[0]: no step\na.b: x: y",
            &["7 settings.sequence[0]: no step", "9 settings.a.b: x: y"],
        );
        // At the setting if it has no such part, and at all of them if there is no such setting; nothing of its name is lost.
        check("sequence[9]: no step", &["6 settings.sequence: [9]: no step"]);
        check("sequence[0].port: 0\na.b.c: x", &["7 settings.sequence[0]: port: 0", "9 settings.a.b: c: x"]);
        check(
            "gap: no gap\nsequence is missing",
            &["4 settings: gap: no gap", "4 settings: sequence is missing"],
        );
        check("within:now", &["4 settings: within:now"]);
        check(
            "Traceback (most recent call last):\n  File \"app.py\", line 7\r\n\nValueError: 7",
            &[
                "4 settings: Traceback (most recent call last): File \"app.py\", line 7",
                "4 settings: ValueError: 7",
            ],
        );
        for nothing in ["", "\n \n"] {
            check(nothing, &["4 settings: the module refuses them and does not say why"]);
        }
        assert_eq!(places.mistakes(&"x\n".repeat(8000)).len(), MOST_MISTAKES);
        let whole = SettingsPlaces::whole(place(2, ""));
        assert_eq!(whole.mistakes("within: x")[0].1, "within: x");
    }
}
