//! Rules of two tenants side by side.

use std::sync::Arc;

use expect_test::expect;

use crate::world::World;

const CONFIG: &str = "interfaces = [\"lo\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"10s\"\n[doors.web]\nguard = \"tcp/80\"\nfor = \"10s\"\n[tenants.a]\nrules = \"a\"\ngrant.doors = [\"ssh\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n[tenants.b]\nrules = \"b\"\ngrant.doors = [\"web\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n";

fn rule(door: &str, sequence: &str) -> String {
    format!(
        "module = \"sequence\"\ndoor = \"{door}\"\ngroup = \"g\"\n[settings]\nsequence = {sequence}\nwithin = \"9s\"\n"
    )
}

#[test]
fn rules_and_groups_of_the_same_name_share_nothing() {
    let a = rule("ssh", r#"["1/udp", "2/udp", "3/udp"]"#);
    let b = rule("web", r#"["2/udp", "3/udp"]"#);
    let files = [("../a/knock.toml", a.as_bytes()), ("../b/knock.toml", b.as_bytes())];
    let mut world = World::configured(CONFIG, &files, Arc::new(()));
    // In one group, who is half way at a would begin nothing at b.
    world.play("+0 192.0.2.1 udp/1\n+1 192.0.2.1 udp/2\n+2 192.0.2.1 udp/3");
    // The other's progress stays where it was, and so it does when one of them is replaced.
    world.play("+3 192.0.2.2 udp/1\n+4 192.0.2.2 udp/2");
    let other = rule("web", r#"["4/udp", "5/udp"]"#);
    world.reload(&[("../b/knock.toml", other.as_bytes())]).unwrap();
    world.play("+5 192.0.2.2 udp/4\n+6 192.0.2.2 udp/3\n+6 192.0.2.2 udp/5\n+7 end");
    expect![[r#"
        +0.0 a/knock 192.0.2.1 stage 1
        +1.0 a/knock 192.0.2.1 stage 2
        +1.0 b/knock 192.0.2.1 stage 1
        +2.0 open ssh 192.0.2.1 10s
        +2.0 open web 192.0.2.1 10s
        +3.0 a/knock 192.0.2.2 stage 1
        +4.0 a/knock 192.0.2.2 stage 2
        +4.0 b/knock 192.0.2.2 stage 1
        +5.0 b/knock 192.0.2.2 stage 1
        +6.0 open ssh 192.0.2.2 10s
        +6.0 open web 192.0.2.2 10s
    "#]]
    .assert_eq(&world.out);
}

#[test]
fn rules_of_a_group_of_one_tenant_share_progress_as_ever() {
    let long = rule("ssh", r#"["1/udp", "2/udp", "3/udp"]"#);
    let short = rule("ssh", r#"["2/udp", "3/udp"]"#);
    let files = [("../a/long.toml", long.as_bytes()), ("../a/short.toml", short.as_bytes())];
    let mut world = World::configured(CONFIG, &[&files[..], &[("../b/.keep", b"")]].concat(), Arc::new(()));
    world.play("+0 192.0.2.1 udp/1\n+1 192.0.2.1 udp/2\n+2 192.0.2.1 udp/3\n+3 end");
    expect![[r#"
        +0.0 a/long 192.0.2.1 stage 1
        +1.0 a/long 192.0.2.1 stage 2
        +2.0 open ssh 192.0.2.1 10s
    "#]]
    .assert_eq(&world.out);
}

#[test]
fn a_rule_on_trial_takes_no_packet_from_others_of_its_group() {
    let long = rule("ssh", r#"["1/udp", "2/udp", "3/udp"]"#);
    // In the group of the running one it would hold the client half way, and the running one would see nothing.
    let trial = format!("trial = true\n{}", rule("ssh", r#"["1/udp", "2/udp"]"#));
    let files = [("../a/long.toml", long.as_bytes()), ("../a/trial.toml", trial.as_bytes())];
    let mut world = World::configured(CONFIG, &[&files[..], &[("../b/.keep", b"")]].concat(), Arc::new(()));
    let knock = "+0 192.0.2.1 udp/1\n+1 192.0.2.1 udp/2\n+2 192.0.2.1 udp/3\n+13 end";
    world.play(knock);
    expect![[r#"
        +0.0 a/long 192.0.2.1 stage 1
        +0.0 a/trial 192.0.2.1 stage 1
        +1.0 a/long 192.0.2.1 stage 2
        +1.0 a/trial ssh 192.0.2.1 WouldOpen { lasts: 10s }
        +2.0 open ssh 192.0.2.1 10s
        +12.0 close ssh 192.0.2.1 Expired
    "#]]
    .assert_eq(&world.out);
    // What one has tried is taken into use by taking one line out; a tenant that is on trial has no rule that opens.
    world.out.clear();
    let files = [("../a/trial.toml", &trial.as_bytes()["trial = true\n".len()..])];
    world.reload(&files).unwrap();
    let on_trial = CONFIG.replace("rules = \"a\"", "rules = \"a\"\ntrial = true");
    world.play("+20 192.0.2.2 udp/1\n+21 192.0.2.2 udp/2");
    world.reload(&[("../postern.toml", on_trial.as_bytes())]).unwrap();
    world.play("+22 192.0.2.3 udp/1\n+23 192.0.2.3 udp/2\n+24 192.0.2.3 udp/3\n+25 end");
    expect![[r#"
        +20.0 a/long 192.0.2.2 stage 1
        +20.0 a/trial 192.0.2.2 stage 1
        +21.0 a/long 192.0.2.2 stage 2
        +21.0 open ssh 192.0.2.2 10s
        +22.0 a/long 192.0.2.3 stage 1
        +22.0 a/trial 192.0.2.3 stage 1
        +23.0 a/long 192.0.2.3 stage 2
        +23.0 a/trial ssh 192.0.2.3 WouldOpen { lasts: 10s }
        +24.0 a/long ssh 192.0.2.3 WouldOpen { lasts: 10s }
    "#]]
    .assert_eq(&world.out);
}
