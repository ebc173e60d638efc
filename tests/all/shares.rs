//! What tenants may use: CPU time by their shares, and the memory of clients.

use std::sync::Arc;

use crate::modules::judging;
use crate::world::World;

/// Two tenants, with these limits of the bad one and of the good one.
fn config(bad: &str, good: &str) -> String {
    let tenant = |name, limits| {
        format!(
            "[tenants.{name}]\nrules = \"{name}\"\ngrant.doors = [\"ssh\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n{limits}"
        )
    };
    let doors = "[doors.ssh]\nguard = \"tcp/22\"\nfor = \"10s\"\n";
    format!("interfaces = [\"lo\"]\n{doors}{}{}", tenant("bad", bad), tenant("good", good))
}

const BURN: &str = "module = \"./burn.wasm\"\ndoor = \"ssh\"\nlimits.cpu = \"100ms\"\n";
const GOOD: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"7/udp\", \"7/udp\"]\n";
/// A hundredth of a processor.
const LITTLE: &str = "limits.share = \"1%\"\nlimits.cpu = \"100ms\"\n";

/// Takes some milliseconds for a call: at a share of a hundredth, more than there is at once and less than there is in ten seconds.
fn burning() -> Vec<u8> {
    judging(
        "(i32.store (i32.const 200) (i32.const 20000000))
         (loop $more
            (i32.store (i32.const 200) (i32.sub (i32.load (i32.const 200)) (i32.const 1)))
            (br_if $more (i32.load (i32.const 200))))
         (i32.const 96)",
    )
}

fn world(good: &str) -> World {
    let burn = burning();
    let files: [(&str, &[u8]); 3] = [
        ("../bad/burn.toml", BURN.as_bytes()),
        ("../bad/burn.wasm", &burn),
        ("../good/knock.toml", GOOD.as_bytes()),
    ];
    World::configured(&config(LITTLE, good), &files, Arc::new(()))
}

#[test]
fn a_tenant_over_its_share_is_not_called_and_others_are() {
    let mut world = world(LITTLE);
    world.play("+0 192.0.2.1 udp/7\n+0.1 192.0.2.1 udp/7\n+0.2 192.0.2.2 udp/7\n+40 192.0.2.3 udp/7");
    let expected = "+0.0 good/knock 192.0.2.1 stage 1
+0.1 bad/- dropped: over-share
+0.1 bad is over its share
+0.1 open ssh 192.0.2.1 10s
+0.2 bad/- dropped: over-share
+0.2 good/knock 192.0.2.2 stage 1
+10.1 close ssh 192.0.2.1 Expired
+40.0 good/knock 192.0.2.2 timeout at stage 1
+40.0 good/knock 192.0.2.3 stage 1
";
    assert_eq!(world.out, expected);
    assert_eq!(world.instances(), 2);
}

#[test]
fn rules_of_one_tenant_have_one_share_for_a_packet_too_however_many_they_are() {
    let burn = burning();
    let rule = format!("{BURN}group = \"all\"\n");
    let names: Vec<_> = (0..32).map(|n| format!("../bad/r{n}.toml")).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, rule.as_bytes())).collect();
    files.extend([("../bad/burn.wasm", &*burn), ("../good/knock.toml", GOOD.as_bytes())]);
    let mut world = World::configured(&config(LITTLE, LITTLE), &files, Arc::new(()));
    world.play("+0 192.0.2.1 udp/7\n+0.1 192.0.2.1 udp/7");
    // One of them is called, and that is more than there is for all; each packet is counted once.
    assert_eq!(world.out.matches("bad/- dropped: over-share").count(), 2, "{}", world.out);
    assert_eq!(world.out.matches("good/knock 192.0.2.1 stage 1").count(), 1, "{}", world.out);
    assert!(world.out.contains("open ssh 192.0.2.1"), "{}", world.out);
}

#[test]
fn a_reload_gives_no_time_back_and_another_share_counts_at_once() {
    let mut world = world("");
    world.play("+0 192.0.2.1 udp/7");
    let other = GOOD.replace("7/udp", "9/udp");
    world.reload(&[("../good/knock.toml", other.as_bytes())]).unwrap();
    world.play("+0.01 192.0.2.1 udp/7");
    // A tenant that takes its rules away and brings them back has used what it has used.
    world.withdraw("../bad/burn.toml");
    world.reload(&[("../bad/burn.toml", BURN.as_bytes())]).unwrap();
    world.play("+0.02 192.0.2.1 udp/7");
    assert_eq!(world.out.matches("bad/- dropped: over-share").count(), 2, "{}", world.out);
    // What is used up of a small share is used up of a larger one, and comes back sooner.
    let more = LITTLE.replace("1%", "100%");
    world.reload(&[("../postern.toml", config(&more, "").as_bytes())]).unwrap();
    world.play("+40 192.0.2.1 udp/7\n+40.1 192.0.2.1 udp/7\n+40.2 192.0.2.1 udp/7");
    assert_eq!(world.out.matches("over-share").count(), 2, "{}", world.out);
}

#[test]
fn clients_of_a_tenant_are_bounded_together_and_lower_bounds_hold_at_once() {
    let rule = GOOD.replace("7/udp\", \"7/udp", "1/udp\", \"2/udp");
    let files = [
        ("../good/a.toml", rule.as_bytes()),
        ("../good/b.toml", rule.as_bytes()),
        ("../bad/c.toml", rule.as_bytes()),
    ];
    let bounds = |entries| format!("memory.entries = {entries}\n");
    let mut world = World::configured(&config(&bounds(6), &bounds(6)), &files, Arc::new(()));
    for client in 1..=10 {
        world.play(&format!("+0 192.0.2.{client} udp/1"));
    }
    // Each client is remembered by three rules.
    assert_eq!(world.remembered(), 6 + 6);
    assert_eq!(world.out.matches("good/- dropped: evicted").count(), 14, "{}", world.out);
    assert_eq!(world.out.matches("bad/- dropped: evicted").count(), 4, "{}", world.out);
    world.reload(&[("../postern.toml", config(&bounds(2), &bounds(6)).as_bytes())]).unwrap();
    assert_eq!(world.remembered(), 6 + 2);
}
