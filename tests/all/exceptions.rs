//! Exceptions of rules in JavaScript, TypeScript and Python: a fault says what was thrown and where, as a build script makes them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Output;

use postern_tests::compilers::NOT_INSTALLED;
use postern_tests::skip;
use tempfile::TempDir;

use crate::modules::root;
use crate::rule_new::{command, said};

const POSTERND: &str = env!("CARGO_BIN_EXE_posternd");

/// A value of the setting `fail` or a port, and what comes of it: for a setting its refusal, or else what the exception says.
type Failures<'a> = &'a [(&'a str, &'a str)];

/// A new folder of a rule, with these files in place of its own.
fn new_rule(language: &str, files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let made = command(Path::new(POSTERND), dir.path())
        .args(["rule", "new", "knock", "--dir", ".", "--lang", language])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// What building it says; none if there is no compiler here.
fn build(dir: &Path) -> Option<Output> {
    let built = command(&dir.join("build.sh"), dir).arg("knock.wasm").output().unwrap();
    if built.status.code() == Some(NOT_INSTALLED) {
        skip(said(&built).trim());
        return None;
    }
    Some(built)
}

/// A rule that is made of these files of `tests/guests/failing` must fail so, and do what else a scenario expects of it.
fn fails_with_words(
    language: &str,
    files: &[&str],
    settings: Failures<'_>,
    ports: Failures<'_>,
    others: &str,
) {
    let read = |file: &&str| fs::read_to_string(root().join("tests/guests/failing").join(file)).unwrap();
    let texts: Vec<_> = files.iter().map(read).collect();
    let files: Vec<_> = files.iter().copied().zip(texts.iter().map(String::as_str)).collect();
    let dir = new_rule(language, &files);
    let folder = dir.path();
    let Some(built) = build(folder) else { return };
    assert!(built.status.success(), "{language}: {}", said(&built));
    for (value, expected) in settings {
        let came = match expected.strip_prefix("refused: ") {
            Some(_) => format!("    {expected}\n"),
            None => fault("configure", expected),
        };
        let scenario = format!("[settings]\nfail = \"{value}\"\n\nconfigure\n{came}");
        fs::write(folder.join(format!("{value}.scenario")), scenario).unwrap();
    }
    // What is collected of garbage may take long, as may an exception.
    let mut scenario = "[limits]\ncpu = \"100ms\"\n\n".to_owned();
    for (port, expected) in ports {
        writeln!(scenario, "+{port}.0s 203.0.113.7 udp/{port}\n{}", fault("judge", expected)).unwrap();
    }
    fs::write(folder.join("knock.scenario"), scenario + others).unwrap();
    let played =
        command(Path::new(POSTERND), folder).args(["rule", "test", "--quiet", "."]).output().unwrap();
    assert!(played.status.success(), "{language}: {}", said(&played));
}

/// What a scenario expects of a call that fails with these words.
fn fault(during: &str, words: &str) -> String {
    format!("    fault: `{during}` panicked: {words}\n    log error: {words}\n")
}

/// A message that is cut, with the place behind it.
fn too_long(begin: &str, place: &str) -> String {
    format!("{begin}{}... ({place})", &"too long ".repeat(34)[..300])
}

const VERDICT: &str =
    "not an object with the tag \"ignore\", \"remember\", \"forget\", \"open\" or \"close\"";

#[test]
fn in_javascript() {
    let settings = [
        ("bug", "TypeError: cannot read property 'interest' of undefined (knock.js:42)"),
        ("nothing", "TypeError: `configure` returned undefined, not an object"),
        (
            "port",
            "TypeError: `configure` returned a wrong answer: watches[0].firstPort is 70000, not an integer from 0 to 65535",
        ),
        (
            "flag",
            "TypeError: `configure` returned a wrong answer: watches[0].flagsSet has \"sin\", which is none of fin, syn, rst, psh, ack, urg, ece, cwr",
        ),
        ("text", "refused: fail: use nothing"),
        ("error", "refused: fail: use nothing"),
    ];
    let ports = [
        ("1", "TypeError: cannot read property 'address' of undefined (knock.js:7)"),
        ("2", "RangeError: nobody is not in the table (table.js:7)"),
        ("3", "Error without a message (knock.js:10)"),
        ("4", "TooLate: the knock came too late (knock.js:13)"),
        ("5", "no such step"),
        ("6", "null was thrown"),
        ("7", &too_long("Error: ", "knock.js:22")),
        ("8", &format!("TypeError: `judge` returned undefined, {VERDICT}")),
        ("9", &format!("TypeError: `judge` returned a promise, as it is `async`, {VERDICT}")),
        (
            "10",
            "TypeError: `judge` returned a wrong answer: tag is \"opne\", not \"ignore\", \"remember\", \"forget\", \"open\" or \"close\"",
        ),
        (
            "11",
            "TypeError: `judge` returned a wrong answer: val.until is undefined, not an integer from 0 to 9007199254740991",
        ),
        (
            "12",
            "TypeError: `judge` returned a wrong answer: val.requests[0].prefixLength is 300, not an integer from 0 to 255",
        ),
        ("13", "TypeError: cannot read property 'port' of undefined (knock.js:29)"),
        ("14", "TypeError: a rule has no clock; the time is `knock.time` (knock.js:30)"),
        ("15", "TypeError: a rule has no clock; the time is `knock.time` (knock.js:31)"),
    ];
    let others = "+16.0s 203.0.113.7 udp/16
    ignore
    log info: at {\"port\":16} 2
    log warn: TooLate: late
";
    fails_with_words("javascript", &["knock.js", "table.js"], &settings, &ports, others);
}

#[test]
fn a_rule_that_lacks_a_function_is_told_where_it_is_built() {
    let dir = new_rule("javascript", &[("knock.js", "export function configure() {}")]);
    let Some(built) = build(dir.path()) else { return };
    assert!(!built.status.success());
    assert!(said(&built).contains("Error: the rule exports no function `judge`"), "{}", said(&built));
}

#[test]
fn in_typescript() {
    let ports = [
        ("1", "TypeError: cannot read property 'address' of undefined (knock.ts:27)"),
        ("2", "RangeError: nobody is not in the table of 1 (table.ts:6)"),
    ];
    fails_with_words("typescript", &["knock.ts", "table.ts"], &[], &ports, "");
}

#[test]
fn in_python() {
    const VERDICT: &str =
        "not of type Verdict_Ignore, Verdict_Remember, Verdict_Forget, Verdict_Open or Verdict_Close";
    let settings = [
        ("bug", "AttributeError: 'NoneType' object has no attribute 'interest' (knock.py:51)"),
        ("nothing", "TypeError: `configure` returned None, not of type Interest (knock.py:48)"),
        (
            "port",
            "TypeError: `configure` returned a wrong answer: watches[0].first_port is 70000, not an integer from 0 to 65535 (knock.py:48)",
        ),
        ("number", "Err: 7 (knock.py:57)"),
        ("text", "refused: fail: use nothing"),
    ];
    let ports = [
        ("1", "AttributeError: 'NoneType' object has no attribute 'address' (knock.py:27)"),
        ("2", "LookupError: nobody is not in the table (table.py:10)"),
        ("3", "ValueError without a text (knock.py:19)"),
        ("4", "TooLate: the knock came too late (knock.py:19)"),
        ("5", "KeyError: 'step' (knock.py:31)"),
        ("6", "Err: settings are refused in `configure` (knock.py:19)"),
        ("7", &too_long("ValueError: ", "knock.py:19")),
        ("8", &format!("TypeError: `judge` returned None, {VERDICT} (knock.py:62)")),
        ("9", &format!("TypeError: `judge` returned a coroutine, as it is `async`, {VERDICT} (knock.py:62)")),
        (
            "10",
            &format!("TypeError: `judge` returned the class Verdict_Ignore itself, {VERDICT} (knock.py:62)"),
        ),
        (
            "11",
            "TypeError: `judge` returned a wrong answer: value.until is None, not an integer from 0 to 18446744073709551615 (knock.py:62)",
        ),
        (
            "12",
            "TypeError: `judge` returned a wrong answer: value.requests[0].prefix_length is 300, not an integer from 0 to 255 (knock.py:62)",
        ),
        (
            "13",
            "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (knock.py:39)",
        ),
        ("14", "OSError: a rule has no clock; the time is `knock.time` (knock.py:40)"),
        (
            "15",
            "ImportError: wave is imported for the first time where a rule has no files; import it at the top of the file (knock.py:41)",
        ),
        ("16", "OSError: a rule has no files (knock.py:42)"),
    ];
    let others = "+17.0s 203.0.113.7 udp/17
    ignore
    log info: at 17.
    log warn: late
";
    fails_with_words("python", &["knock.py", "table.py"], &settings, &ports, others);
}
