//! RuleNames: the name of a new rule, in the places where the examples have their own.

/// What the examples and their files are called.
const EXAMPLE: &str = "knock";

/// Names of the files that examples have, or make.
const FILES: [&str; 11] = [
    "knock.test.js",
    "test_knock.py",
    "knock_test.go",
    "knock.cpp",
    "knock.zig",
    "knock.wat",
    "knock.go",
    "knock.py",
    "knock.js",
    "knock.ts",
    "knock.c",
];
/// Places where the name stands without anything that makes a file of it.
const PLACES: [(&str, &str); 4] = [
    ("release/knock.wasm", "release/IDENTIFIER.wasm"),
    ("name = \"knock\"", "name = \"IDENTIFIER\""),
    ("module knock\n", "module IDENTIFIER\n"),
    ("import knock\n", "import IDENTIFIER as knock\n"),
];
/// Names that mean something else to some compiler, or are those of other files in the folder.
const TAKEN: [&str; 18] = [
    "alloc",
    "build",
    "core",
    "crate",
    "entry",
    "json",
    "main",
    "postern",
    "re",
    "root",
    "sdk",
    "self",
    "std",
    "super",
    "test",
    "types",
    "unittest",
    "wit_world",
];

/// A name, as rules have it and as programs have it.
pub(super) struct RuleNames<'a> {
    name: &'a str,
    /// Letters, digits and `_`, not beginning with a digit.
    identifier: String,
}

impl<'a> RuleNames<'a> {
    /// Of a rule of this valid name.
    pub(super) fn new(name: &'a str) -> Self {
        let identifier = name.replace('-', "_");
        let is_free = !TAKEN.contains(&identifier.as_str())
            && identifier.starts_with(|c: char| c.is_ascii_alphabetic());
        Self { name, identifier: if is_free { identifier } else { format!("rule_{identifier}") } }
    }

    /// The text of an example, or the name of a file, with these names.
    pub(super) fn put_into(&self, text: &str) -> String {
        let text = PLACES.iter().fold(text.to_owned(), |text, (from, to)| {
            text.replace(from, &to.replace("IDENTIFIER", &self.identifier))
        });
        let text = replace_word(&text, "knock.wasm", &format!("{}.wasm", self.name));
        FILES
            .iter()
            .fold(text, |text, file| replace_word(&text, file, &file.replace(EXAMPLE, &self.identifier)))
    }
}

/// Replaces a word where no letter, digit or `_` is beside it.
fn replace_word(text: &str, word: &str, with: &str) -> String {
    let is_part = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let after = &found[word.len()..];
        replaced.push_str(before);
        let is_whole = !is_part(replaced.chars().next_back()) && !is_part(after.chars().next());
        replaced.push_str(if is_whole { with } else { word });
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_change_and_variables_do_not() {
        let put = |text: &str| RuleNames::new("office-hours").put_into(text);
        assert_eq!(put("$here/knock.c -o knock.wasm"), "$here/office_hours.c -o office-hours.wasm");
        assert_eq!(put("knock.cpp test_knock.py"), "office_hours.cpp test_office_hours.py");
        assert_eq!(put("cp release/knock.wasm x"), "cp release/office_hours.wasm x");
        assert_eq!(put("name = \"knock\"\n"), "name = \"office_hours\"\n");
        assert_eq!(put("import knock\n"), "import office_hours as knock\n");
        for same in
            ["knock.clone()", "knock.time", "postern_knock.c", "knock.tcp_flags", "a knock", "my_knock.go"]
        {
            assert_eq!(put(same), same);
        }
    }

    #[test]
    fn what_is_no_name_for_a_program_gets_one() {
        for (name, identifier) in
            [("a", "a"), ("a-b_c", "a_b_c"), ("2fa", "rule_2fa"), ("test", "rule_test"), ("-x", "rule__x")]
        {
            assert_eq!(RuleNames::new(name).identifier, identifier);
        }
    }
}
