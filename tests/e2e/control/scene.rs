//! What an administrator reads of a knock that stops half way and is finished later, from a running daemon: held by a file. `UPDATE_EXPECT=1`
//! writes it.

use expect_test::expect_file;
use postern_tests::{CLIENT4, STRANGER4};

use super::{CONFIG, FIRST, REST, ask, lab_with_users, told};
use crate::{KNOCK, STORY, posternd};

#[test]
fn what_an_administrator_reads_is_held_by_a_file() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let (client, stranger) = (CLIENT4.to_string(), STRANGER4.to_string());
    let asked = |what: &[&str]| {
        let (code, out, err) = told(&ask(&daemon, what));
        format!("$ postern {}\n{}{}[exit {code}]\n\n", what.join(" "), steady(&out), steady(&err))
    };
    let mut scene = String::new();
    lab.knock(CLIENT4, FIRST);
    daemon.expect_story(CLIENT4, &["stage 1"]);
    for what in [
        &["explain", &client][..],
        &["clients"],
        &["doors"],
        &["rules"],
        &["status"],
        &["explain", &stranger],
        &["clients", &stranger],
    ] {
        scene += &asked(what);
    }
    lab.knock(CLIENT4, REST);
    daemon.expect_story(CLIENT4, &STORY);
    for what in [
        &["doors"][..],
        &["doors", "shh"],
        &["explain", &client],
        &["close", "ssh", &client],
        &["close", "ssh", &client],
        &["open", "ssh", &stranger, "--for", "30m"],
        &["open", "ssh", "home"],
        &["confirm"],
        &["reload"],
    ] {
        scene += &asked(what);
    }
    daemon.stop();
    expect_file!["scene.txt"].assert_eq(&scene);
}

/// A text with words in place of what is another each time: times, versions, digests, what barriers this machine has, and what else it hears.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    for line in text.lines().take_while(|line| !["barriers that hold", "came to nothing"].contains(line)) {
        let indent = line.len() - line.trim_start().len();
        // Columns are as wide as what stands in them.
        let cells: Vec<_> = line.split("  ").filter(|cell| !cell.is_empty()).map(cell).collect();
        steady += &format!("{}{}\n", &line[..indent], cells.join("  "));
    }
    steady
}

fn cell(cell: &str) -> String {
    let mut steady = Vec::<String>::new();
    let mut words = cell.trim().split(' ').peekable();
    while let Some(word) = words.next() {
        let is_number = |word: &str| word.parse::<f64>().is_ok();
        let bare = word.trim_end_matches([',', ':', ';']);
        let rest = &word[bare.len()..];
        if is_number(word) && words.peek().is_some_and(|unit| is_unit(unit)) {
            let unit = words.next().unwrap_or_default();
            // The second of two units.
            if steady.last().is_none_or(|last| last != "TIME") {
                steady.push(format!("TIME{}", unit.trim_start_matches(char::is_alphabetic)));
            }
        } else if is_duration(bare) {
            steady.push(format!("TIME{rest}"));
        } else if bare.len() == 12 && bare.matches(':').count() == 2 {
            steady.push(format!("CLOCK{rest}"));
        } else if bare.len() >= 12 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            steady.push(format!("DIGEST{rest}"));
        } else if steady.last().is_some_and(|last| last == "posternd") && bare.contains('.') {
            steady.push(format!("VERSION{rest}"));
        } else {
            steady.push(word.to_owned());
        }
    }
    steady.join(" ")
}

fn is_unit(word: &str) -> bool {
    ["d", "h", "m", "s"].contains(&word.trim_end_matches([',', ':', ';']))
}

/// Such as `10s`.
fn is_duration(word: &str) -> bool {
    let number = word.trim_end_matches(char::is_alphabetic);
    let unit = &word[number.len()..];
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && ["h", "m", "s", "ms"].contains(&unit)
}
