//! What `posternd rule test` and `posternd replay` write into files that a person names: whole, or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use postern_tests::capture_file::Pcap;
use postern_tests::{CLIENT4, Lab, SERVER4, frame};

use crate::PROGRAM;
use crate::disk::Disk;

const RULE: &str =
    "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"7000/udp\"]\nwithin = \"5s\"\n";
const OLD: &str = "what was there before";

fn posternd(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env("CACHE_DIRECTORY", folder.join("code"));
    command.output().expect("posternd runs")
}

/// A scenario with a wrong expectation, longer than there is room once the disk is full.
fn scenario() -> String {
    let knocks = (0..2000).map(|n| format!("+{n}.0s 203.0.113.7 udp/7000\n    ignore\n")).collect::<String>();
    RULE.replace("door = \"ssh\"\n", "") + &knocks
}

#[test]
fn a_full_disk_costs_nothing_that_was_there() {
    let Some(_lab) = Lab::if_possible() else { return };
    let disk = Disk::new();
    let at = |name: &str| disk.path().join(name);
    let knock = frame::udp((CLIENT4, 1).into(), (SERVER4, 7000).into(), b"");
    let capture = Pcap::ethernet().frame(1_000_000, &knock).into_bytes();
    for (name, text) in [
        ("a.scenario", scenario().as_bytes()),
        ("ssh.toml", RULE.as_bytes()),
        ("a.pcap", &capture),
        ("a.xml", OLD.as_bytes()),
        ("a.html", OLD.as_bytes()),
    ] {
        fs::write(at(name), text).expect("there is room");
    }
    fs::set_permissions(at("a.scenario"), Permissions::from_mode(0o640)).expect("ours");
    let inode = fs::metadata(at("a.scenario")).expect("it is there").ino();
    let write = || {
        [
            &["rule", "test", "-q", "--update", "a.scenario"][..],
            &["rule", "test", "-q", "--junit", "a.xml", "a.scenario"],
            &["replay", "--no-strict-modes", "--rules", ".", "--html", "a.html", "a.pcap"],
        ]
        .map(|arguments| posternd(disk.path(), arguments))
    };
    disk.fill();
    for said in write() {
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(3), "{said:?}");
        assert!(words.contains(" cannot be written: No space left on device"), "{words}");
    }
    assert_eq!(fs::read_to_string(at("a.scenario")).expect("text"), scenario());
    assert_eq!([at("a.xml"), at("a.html")].map(|file| fs::read_to_string(file).expect("text")), [OLD; 2]);
    let nothing_beside = || {
        fs::read_dir(disk.path())
            .expect("ours")
            .all(|file| !file.expect("it is there").file_name().to_string_lossy().contains("postern"))
    };
    assert!(nothing_beside());

    disk.free();
    // Where a link leads is written, and the link stays one.
    fs::rename(at("a.html"), at("b.html")).expect("ours");
    symlink("b.html", at("a.html")).expect("there is room");
    for said in write() {
        assert!(said.status.success(), "{said:?}");
    }
    assert!(fs::read_to_string(at("a.scenario")).expect("text").contains("    open\n"));
    let after = fs::metadata(at("a.scenario")).expect("it is there");
    assert_eq!(after.mode() & 0o777, 0o640);
    assert_ne!(after.ino(), inode, "it was written beside");
    assert!(fs::read_to_string(at("a.xml")).expect("text").ends_with("</testsuites>\n"));
    assert!(
        at("a.html").is_symlink() && fs::read_to_string(at("b.html")).expect("text").ends_with("</html>\n")
    );
    assert!(nothing_beside());
}
