//! A tenant whose modules must be signed: what is not opens nothing, and it is that tenant's matter alone.

use std::process::Command;

use postern_core::show_digest;
use postern_tests::{CLIENT4, CLIENT6, Daemon, Entry, Lab, STRANGER4, Setup, Signer, skip};
use sha2::{Digest as _, Sha256};

use crate::command_user::has_users;
use crate::module::{BY_HAND, BY_HAND_STEPS};
use crate::tenant_user::give;
use crate::{PROGRAM, posternd};

const RULE: &str = "module = \"./knock.wasm\"\ndoor = \"ssh\"\n";
const FREE: &str = "module = \"./knock.wasm\"\ndoor = \"web\"\n";

/// Two tenants with the same module, of which the first needs a signature by one of these.
fn setup<'lab>(lab: &'lab Lab, trusted: &[&Signer]) -> Setup<'lab> {
    let config = config(trusted);
    let module = wat::parse_str(BY_HAND).expect("a rule");
    posternd(lab)
        .config(&config)
        .file("signed/knock.toml", RULE)
        .file("signed/knock.wasm", &module)
        .file("free/knock.toml", FREE)
        .file("free/knock.wasm", module)
}

fn config(trusted: &[&Signer]) -> String {
    let keys: Vec<_> = trusted.iter().map(|key| format!("{:?}", key.public_key())).collect();
    let grant = "any_port = true, interfaces = [\"any\"]";
    format!(
        "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"60s\"\n[doors.web]\nguard = \"tcp/80\"\nfor = \"60s\"\n[tenants.signed]\nrules = \"signed\"\ntrust = [{}]\ngrant = {{ doors = [\"ssh\"], {grant} }}\n[tenants.free]\nrules = \"free\"\ngrant = {{ doors = [\"web\"], {grant} }}\n",
        keys.join(", ")
    )
}

/// As `sha256sum` writes it.
fn sha256(bytes: &[u8]) -> String {
    show_digest(&Sha256::digest(bytes).into())
}

fn is_of(tenant: &'static str) -> impl Fn(&Entry) -> bool {
    move |entry| entry.text("tenant") == tenant
}

/// Changes a file, after which the module does not count.
#[track_caller]
fn expect_refused(daemon: &Daemon<'_>, file: &str, contents: impl AsRef<[u8]>, why: &str) {
    let mark = daemon.log().mark();
    daemon.write(file, contents);
    let refused = daemon.wait_since(mark, "tenant-refused", is_of("signed"));
    assert!(refused.text("detail").contains(why), "{refused}");
    assert!(refused.text("detail").contains("signed/knock.toml:1: module: "), "{refused}");
    daemon.wait_since(mark, "reload", |_| true);
}

/// Changes a file, after which it counts.
#[track_caller]
fn expect_taken(daemon: &Daemon<'_>, file: &str, contents: impl AsRef<[u8]>) {
    let mark = daemon.log().mark();
    daemon.write(file, contents);
    daemon.wait_since(mark, "reload", |_| true);
    let entries = daemon.log().entries();
    let refused = entries[mark..].iter().find(|entry| entry.event() == "tenant-refused");
    assert!(refused.is_none(), "{refused:?}");
}

#[test]
fn a_module_opens_once_it_is_signed_and_not_before() {
    let Some(lab) = Lab::if_possible() else { return };
    opens_once_signed(&lab, setup, config);
}

#[test]
fn so_it_is_in_one_process() {
    let Some(lab) = Lab::if_possible() else { return };
    opens_once_signed(&lab, |lab, trusted| setup(lab, trusted).one_process(), config);
}

/// Module and signature are then read by a process of that user.
#[test]
fn so_it_is_of_a_tenant_with_a_user_of_its_own() {
    let Some(lab) = Lab::if_possible() else { return };
    if !has_users() {
        return skip("only one user here");
    }
    let config = |trusted: &[&Signer]| config(trusted).replace("trust = [", "user = \"daemon\"\ntrust = [");
    let setup = |lab, trusted: &[&Signer]| {
        let setup = setup(lab, trusted).config(&config(trusted));
        give(&setup.dir().join("signed"), "daemon");
        setup
    };
    opens_once_signed(&lab, setup, config);
}

fn opens_once_signed<'lab>(
    lab: &'lab Lab,
    setup: impl FnOnce(&'lab Lab, &[&Signer]) -> Setup<'lab>,
    config: impl Fn(&[&Signer]) -> String,
) {
    let (trusted, other) = (Signer::new(1), Signer::new(2));
    let module = wat::parse_str(BY_HAND).expect("a rule");
    // With a custom section, so that it is another module that does the same.
    let changed = [&module[..], &[0, 3, 1, b'n', 1]].concat();
    let daemon = setup(lab, &[&trusted]).start();

    // Unsigned, while the very same bytes run for another.
    let refused = daemon.wait_for("tenant-refused", is_of("signed"));
    assert!(
        refused.text("detail").contains("its signature knock.wasm.minisig cannot be read: No such file"),
        "{refused}"
    );
    lab.knock(CLIENT4, BY_HAND_STEPS);
    daemon.wait_for("open", is_of("free"));

    let signature = "signed/knock.wasm.minisig";
    expect_refused(&daemon, signature, other.sign(&module), "was made with the key 202020202020202");
    expect_refused(&daemon, signature, trusted.sign(&changed), "one of them was changed");
    expect_refused(&daemon, signature, "garbage", "is no signature of minisign");
    lab.knock(STRANGER4, BY_HAND_STEPS);
    daemon.wait_for("open", |entry| entry.text("src") == STRANGER4.to_string());
    daemon.expect_none("open", is_of("signed"));
    daemon.expect_none("stage", is_of("signed"));

    // The signature's file alone changes.
    expect_taken(&daemon, signature, trusted.sign(&module));
    let loaded = daemon.wait_for("loaded", is_of("signed"));
    assert_eq!((loaded.text("module"), loaded.text("signer")), (&*sha256(&module), &*trusted.public_key()));
    lab.knock(CLIENT6, BY_HAND_STEPS);
    let open = daemon.wait_for("open", is_of("signed"));
    assert_eq!(open.text("module"), sha256(&module));

    // Changed after signing: what was signed goes on.
    expect_refused(&daemon, "signed/knock.wasm", &changed, "one of them was changed");
    // Signed anew, by the older kind of signature.
    let mark = daemon.log().mark();
    expect_taken(&daemon, signature, trusted.sign_as_before(&changed));
    let loaded = daemon.wait_since(mark, "loaded", |_| true);
    assert_eq!((loaded.text("tenant"), loaded.text("module")), ("signed", &*sha256(&changed)));

    // By another key, which then is trusted, and then again is not: what runs is judged anew each time.
    expect_refused(&daemon, signature, other.sign(&changed), "was made with the key 202020202020202");
    expect_taken(&daemon, "postern.toml", config(&[&other, &trusted]));
    let mark = daemon.log().mark();
    daemon.write("postern.toml", config(&[&trusted]));
    daemon.wait_since(mark, "untrusted", |entry| entry.text("rule") == "knock");
    let refused = daemon.wait_since(mark, "tenant-refused", is_of("signed"));
    assert_eq!(refused.number("rules"), Some(0.0), "{refused}");
    daemon.wait_since(mark, "reload", |_| true);
    let mark = daemon.log().mark();
    lab.knock(CLIENT4, BY_HAND_STEPS);
    daemon.wait_since(mark, "extend", is_of("free"));
    let entries = daemon.log().entries();
    assert!(!entries[mark..].iter().any(is_of("signed")), "it does not run");
    daemon.stop();
}

#[test]
fn check_and_verify_say_the_same() {
    let Some(lab) = Lab::if_possible() else { return };
    let (trusted, other) = (Signer::new(1), Signer::new(2));
    let module = wat::parse_str(BY_HAND).expect("a rule");
    for (signature, why) in [
        (None, "No such file or directory"),
        (Some(other.sign(&module)), "was made with the key 202020202020202, which is not trusted"),
        (Some(trusted.sign(&module[1..])), "is not that of this file by the key 101010101010101"),
        (Some("garbage".to_owned()), "is no signature of minisign"),
        (Some(trusted.sign(&module)), ""),
        (Some(trusted.sign_as_before(&module)), ""),
    ] {
        let setup = setup(&lab, &[&trusted]);
        let setup = match signature {
            Some(signature) => setup.file("signed/knock.wasm.minisig", signature),
            None => setup,
        };
        let check = setup.check();
        let verify = Command::new(PROGRAM)
            .args(["rule", "verify", "--key", &trusted.public_key()])
            .arg(setup.dir().join("signed/knock.wasm"))
            .output()
            .expect("it can be started");
        let expected = Some(i32::from(!why.is_empty()));
        assert_eq!((check.status.code(), verify.status.code()), (expected, expected), "{check:?} {verify:?}");
        let (told, words) = (String::from_utf8_lossy(&check.stderr), String::from_utf8_lossy(&verify.stderr));
        assert!(words.contains(why), "{words}");
        assert!(told.contains(why), "{told}");
        if why.is_empty() {
            let words = String::from_utf8_lossy(&verify.stdout);
            assert!(words.contains("signed with the key 101010101010101"), "{words}");
            assert!(words.contains("the signer says: made in a test"), "{words}");
        }
    }
}
