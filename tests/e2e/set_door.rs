//! A set in the administrator's own ruleset, which drops what is not in it.

use std::time::Duration;

use postern_tests::{CLIENT4, CLIENT6, Lab, eventually};

use crate::{A_WHILE, BOTH_KINDS, KNOCK, SOON, STEPS, STORY, posternd};

const RULESET: &str = "table inet filter {
    set ssh4 { type ipv4_addr; flags timeout; }
    set ssh6 { type ipv6_addr; flags timeout; }
    chain input { type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname lo accept
        tcp dport 22 ip saddr @ssh4 accept
        tcp dport 22 ip6 saddr @ssh6 accept
    }
}";

const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [doors.ssh]
    set = ["inet filter ssh4", "inet filter ssh6"]
    for = "3s"
"#;

#[test]
fn a_default_drop_ruleset_lets_the_knocker_in() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(RULESET);
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    for (client, stranger) in BOTH_KINDS {
        assert!(lab.tcp(client, 22, A_WHILE).is_silence(), "{client}");
        lab.knock(client, STEPS);
        daemon.expect_story(client, &STORY);
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
        assert!(lab.tcp(stranger, 22, A_WHILE).is_silence(), "{stranger}");
    }
    for (client, _) in BOTH_KINDS {
        daemon.expect_story(client, &["stage 1", "stage 2", "open ssh", "close ssh expired"]);
        assert!(lab.tcp(client, 22, A_WHILE).is_silence(), "{client}");
    }
    daemon.stop();
}

#[test]
fn an_opening_that_a_firewall_reload_swept_away_is_put_back() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(RULESET);
    let config = CONFIG.replace("3s", "1m");
    let daemon = posternd(&lab).config(&config).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    lab.firewall(&format!("flush ruleset\n{RULESET}"));
    eventually("the opening in the new set", || {
        lab.tcp_connects(CLIENT4, 22, Duration::from_millis(20)).then_some(())
    });
    daemon.stop();
}

#[test]
fn what_the_operator_takes_out_of_a_set_stays_out_and_is_told() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(RULESET);
    let daemon = posternd(&lab).config(&CONFIG.replace("3s", "1m")).rule("knock", KNOCK).start();
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, STEPS);
        daemon.expect_story(client, &STORY);
    }
    lab.firewall(&format!("delete element inet filter ssh4 {{ {CLIENT4} }}\n"));
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "open ssh", "close ssh removed"]);
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    assert!(lab.tcp_connects(CLIENT6, 22, SOON), "the other is open still");
    lab.knock(CLIENT4, STEPS);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON), "and may knock again");
    daemon.stop();
}

#[test]
fn a_set_that_is_missing_is_told_by_the_doors_name_at_the_start_and_at_a_reload() {
    let Some(lab) = Lab::if_possible() else { return };
    let shop = "[doors.shop]\nset = \"inet filter gone\"\n";
    let setup = posternd(&lab).config(&format!("{CONFIG}{shop}")).rule("knock", KNOCK);
    lab.firewall(RULESET);
    let words = |setup: &std::path::Path| {
        format!("{}:6: doors.shop: there is no set inet filter gone; ", setup.join("postern.toml").display())
    };
    let checked = setup.check();
    assert!(String::from_utf8_lossy(&checked.stderr).starts_with(&words(setup.dir())), "{checked:?}");
    let mut daemon = setup.launch();
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    let told = words(daemon.dir());
    daemon.wait_for("mistake", |entry| entry.text("detail").starts_with(&told));

    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let told = words(daemon.dir());
    daemon.write("postern.toml", format!("{CONFIG}{shop}"));
    daemon.wait_for("mistake", |entry| entry.text("detail").starts_with(&told));
    daemon.stop();
}
