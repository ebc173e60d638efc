//! What is read of scenarios, and what is written into them.

use expect_test::{Expect, expect};

use super::*;

const WHOLE: &str = "# Two knocks.\nmodule = \"sequence\"\n[settings]\na = \"+1\"\n\nconfigure  # at the start\n    log info: hello\n\n# Then:\n+0.0s 203.0.113.7 udp/7000  # the first\n    remember 1 until +5.0s\n    # twice\n    log info: x # y\n+1s ::1 tcp/7001\n";

fn read(text: &str) -> Scenario {
    Scenario::read(Path::new("a.scenario"), text).unwrap()
}

fn check_mistakes(text: &str, expected: Expect) {
    let mistakes = Scenario::read(Path::new("a.scenario"), text).unwrap_err();
    let told: String = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    expected.assert_eq(&told);
}

#[test]
fn a_whole_one_is_read() {
    let scenario = read(WHOLE);
    assert_eq!(scenario.head.settings, r#"{"a":"+1"}"#);
    let steps: Vec<_> =
        scenario.steps.iter().map(|step| (step.line, step.text(), step.expected.join("|"))).collect();
    assert_eq!(
        steps,
        [
            (6, "configure", "log info: hello".to_owned()),
            (10, "+0.0s 203.0.113.7 udp/7000", "remember 1 until +5.0s|log info: x # y".to_owned()),
            (14, "+1s ::1 tcp/7001", String::new()),
        ]
    );
    assert!(
        read("+0s ::1 udp/1\n").steps[0].expected.is_empty()
            && !read("+0s ::1 udp/1\n").steps[0].is_written()
    );
}

#[test]
fn what_came_takes_the_place_of_what_was_expected_and_nothing_else_changes() {
    let outcomes = |lines: &[&[&str]]| -> Vec<Vec<String>> {
        lines.iter().map(|step| step.iter().map(|line| (*line).to_owned()).collect()).collect()
    };
    let same = outcomes(&[&["log info: hello"], &["remember 1 until +5.0s", "log info: x # y"], &[]]);
    // The comment within goes behind.
    let kept = WHOLE.replace("    # twice\n    log info: x # y\n", "    log info: x # y\n    # twice\n");
    assert_eq!(read(WHOLE).with_outcomes(&same), kept);
    assert_eq!(read(&kept).with_outcomes(&same), kept);
    let other = read(WHOLE).with_outcomes(&outcomes(&[&[], &["ignore"], &["open", "log debug: z"]]));
    expect![[r#"
        # Two knocks.
        module = "sequence"
        [settings]
        a = "+1"

        configure  # at the start

        # Then:
        +0.0s 203.0.113.7 udp/7000  # the first
            ignore
            # twice
        +1s ::1 tcp/7001
            open
            log debug: z
    "#]]
    .assert_eq(&other);
    // Lines end as they did.
    let of_windows = |text: &str| text.replace('\n', "\r\n");
    assert_eq!(read(&of_windows(&kept)).with_outcomes(&same), of_windows(&kept));
    // A refusal that the file says nothing of.
    let refused = read("\n+0s ::1 udp/1\n").with_outcomes(&outcomes(&[&["refused: a: no"], &["not played"]]));
    expect![[r#"

        configure
            refused: a: no
        +0s ::1 udp/1
            not played
    "#]]
    .assert_eq(&refused);
}

#[test]
fn every_mistake_has_its_line_and_says_what_to_do() {
    check_mistakes(
        "module = \"sequence\"\ndoor = \"ssh\"\n+0.0s 203.0.113.7 udp/70000\nopen\n+0s ::1 udp/1\nconfigure\n+0s ::1 udp/1 x\n",
        expect![[r#"
            a.scenario:2: door: no such key; there are module, memory, limits, settings
            a.scenario:3: `udp/70000` is not transport/port, such as udp/1111 or icmp/8; in the knock `+0.0s 203.0.113.7 udp/70000`
            a.scenario:4: `open` is no knock such as `+0.0s 203.0.113.7 udp/7000`; indent it if it is expected of the knock before it, or write # before it if it is a comment
            a.scenario:6: `configure` stands before the first knock, and once
            a.scenario:7: `x` is not key=value; in the knock `+0s ::1 udp/1 x`
        "#]],
    );
    check_mistakes(
        "[settings]\nmodule\n",
        expect![[r#"
        a.scenario:2: not TOML: key with no value, expected `=`
    "#]],
    );
    check_mistakes(
        "module = \"sequence\"\n",
        expect![[r#"
        a.scenario: has no knock; write one such as `+0.0s 203.0.113.7 udp/7000` on a line of its own
    "#]],
    );
    check_mistakes(
        &"\n".repeat(MOST_LINES + 1),
        expect![[r#"
        a.scenario: has more than 1048576 lines; make several files of it
    "#]],
    );
    check_mistakes(
        "configure\nconfigure\n",
        expect![[r#"
        a.scenario:2: `configure` stands before the first knock, and once
    "#]],
    );
}
