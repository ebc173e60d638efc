//! Settings: what `--settings` says of how a module is configured.

use std::path::Path;

use postern_config::{RuleHead, RuleHeadKeys};
use postern_text::piece;
use serde_json::Value;

use super::module_file;
use super::scenario::{MOST_TEXT, head_of};

/// What to write, for who wrote something else.
const WHAT_TO_DO: &str = "write an object such as '{\"within\": \"5s\"}', or name a file: a rule's file, a scenario, or one of JSON";

/// How a module is configured; `argument` is JSON, or names a file.
///
/// # Errors
/// What is wrong, a line each.
pub(super) fn read(argument: Option<&str>) -> Result<RuleHead, Vec<String>> {
    let Some(argument) = argument else { return Ok(RuleHead::default()) };
    if argument.trim_start().starts_with(['{', '[', '"']) {
        return of_json("--settings", argument);
    }
    let file = Path::new(argument);
    let wrong = |what: &str| vec![format!("--settings {}: {what}; {WHAT_TO_DO}", piece(argument))];
    let bytes = module_file::read(file, MOST_TEXT).map_err(|what| wrong(&what))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    let (head, mistakes) = match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => return of_json(argument, &text),
        Some("scenario") => RuleHead::read(file, head_of(&text), RuleHeadKeys::Own),
        _ => RuleHead::read(file, &text, RuleHeadKeys::OfRuleFile),
    };
    match mistakes.as_slice() {
        [] => Ok(head),
        mistakes => Err(mistakes.iter().map(ToString::to_string).collect()),
    }
}

fn of_json(place: &str, text: &str) -> Result<RuleHead, Vec<String>> {
    let what = match serde_json::from_str(text) {
        Ok(Value::Object(settings)) => {
            return Ok(RuleHead::of_settings(Value::Object(settings).to_string()));
        }
        Ok(_) => "is no JSON object".to_owned(),
        Err(error) => format!("is not JSON: {error}"),
    };
    Err(vec![format!("{}: {what}; {WHAT_TO_DO}", piece(place))])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn settings_are_json_or_in_a_file() {
        assert_eq!(read(None).unwrap().settings, "{}");
        assert_eq!(read(Some(r#" {"a": 1}"#)).unwrap().settings, r#"{"a":1}"#);
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.json", r#"{ "a": 1 }"#),
            ("a.toml", "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\na = 1\n"),
            ("a.scenario", "[settings]\na = 1\n\n+0.0s 203.0.113.7 udp/7\n"),
        ] {
            let file = dir.path().join(name);
            fs::write(&file, text).unwrap();
            assert_eq!(read(file.to_str()).unwrap().settings, r#"{"a":1}"#, "{name}");
        }
    }

    #[test]
    fn what_is_neither_is_told() {
        let told = |argument| read(Some(argument)).unwrap_err().join("\n");
        assert!(told("{").starts_with("--settings: is not JSON: EOF while parsing"), "{}", told("{"));
        assert!(told("[1]").starts_with("--settings: is no JSON object; write an object such as"));
        assert!(told("nowhere.toml").starts_with("--settings nowhere.toml: cannot be read: "));
    }
}
