//! Where two sets of rules disagree.

use expect_test::expect;

use super::*;

fn place() -> Place {
    let slower = SSH.replace("\"5s\"", "\"50ms\"");
    Place::new(CONFIG, SSH)
        .write("other/postern.toml", CONFIG.as_bytes())
        .write("other/rules/ssh.toml", slower.as_bytes())
        .capture(knocks())
}

#[test]
fn only_what_differs_is_told() {
    let replayed = place().replay(&["--against", "other/postern.toml", "--local", SERVER]);
    expect![[r#"
        --- postern.toml
        +++ other/postern.toml
        +0.100000 #3 192.0.2.7:40000 -> 198.51.100.1 7001/tcp syn
        - ssh: 192.0.2.7 knocked right
        - ssh is open for 192.0.2.7 for 10s
        + ssh: 192.0.2.7 took too long after stage 1
        + ssh: 192.0.2.8 took too long after stage 1
        +0.120000 #4 192.0.2.8:40000 -> 198.51.100.1 7000/udp
        - ssh: 192.0.2.8 starts over: step 2 should be 7001/tcp, was 7000/udp
        + ssh: 192.0.2.8 is at stage 1
        - +10.100000 ssh is closed for 192.0.2.7: its time is over
        +60.000000 #6 192.0.2.7:40000 -> 198.51.100.1 7000/udp
        + ssh: 192.0.2.8 took too long after stage 1
        they disagree at 3 of 6 packets, and at 1 time between packets
    "#]]
    .assert_eq(&replayed.code(1).out());
}

#[test]
fn programs_are_told_which_of_them_says_it() {
    let replayed = place().replay(&["--against", "other/postern.toml", "--json"]);
    let lines: Vec<serde_json::Value> =
        replayed.code(1).out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| !line["only"].is_null())
        .map(|line| format!("{} {} {}", line["only"], line["event"], line["packet"]))
        .collect();
    expect![[r#"
        [
            "\"first\" \"solved\" 3",
            "\"first\" \"open\" 3",
            "\"second\" \"timeout\" 3",
            "\"second\" \"timeout\" 3",
            "\"first\" \"forget\" 4",
            "\"second\" \"stage\" 4",
            "\"first\" \"close\" null",
            "\"second\" \"timeout\" 6",
        ]
    "#]]
    .assert_debug_eq(&told);
    let last = lines.last().unwrap();
    assert_eq!((last["differ"].as_u64(), last["differ_between"].as_u64()), (Some(3), Some(1)), "{last}");
}

#[test]
fn a_folder_and_a_file_may_be_compared_and_may_agree() {
    let same = SSH.replace("within", "# The same.\nwithin");
    let place = Place::new(CONFIG, SSH).write("same/ssh.toml", same.as_bytes()).capture(knocks());
    let config = CONFIG.replace("10s", "10m");
    let place = place.write("postern.toml", config.as_bytes());
    let replayed = place.replay(&["--against", "same"]);
    assert_eq!(replayed.code(0).out(), "--- postern.toml\n+++ same\nthey agree on 6 packets\n");
}
