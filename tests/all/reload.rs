//! What a reload keeps and what it forgets.

use expect_test::expect;

use crate::modules::{guest, judging};
use crate::world::World;

const RULE: &str =
    "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"1/udp\", \"2/udp\", \"3/udp\"]\n";

#[test]
fn half_finished_knocks_survive_unless_the_sequence_changes() {
    let mut world = World::new(&[("r.toml", RULE.as_bytes())]);
    world.play("+0 192.0.2.1 udp/1\n+1 192.0.2.1 udp/2");
    let longer = RULE.replace("[settings]", "for = \"60s\"\n[settings]\nwithin = \"50s\"");
    world.reload(&[("r.toml", longer.as_bytes())]).unwrap();
    world.play("+30 192.0.2.1 udp/3");
    world.play("+31 192.0.2.2 udp/1\n+32 192.0.2.2 udp/2");
    let other = longer.replace("3/udp", "4/udp");
    world.reload(&[("r.toml", other.as_bytes())]).unwrap();
    world.play("+33 192.0.2.2 udp/3\n+33 192.0.2.2 udp/4\n+100 end");
    expect![[r#"
        +0.0 r 192.0.2.1 stage 1
        +1.0 r 192.0.2.1 stage 2
        +30.0 r 192.0.2.1 timeout at stage 2
        +31.0 r 192.0.2.2 stage 1
        +32.0 r 192.0.2.2 stage 2
    "#]]
    .assert_eq(&world.out);
}

#[test]
fn a_rule_that_is_saved_by_deleting_it_first_keeps_half_finished_knocks_for_two_seconds() {
    let mut world = World::new(&[("r.toml", RULE.as_bytes())]);
    world.play("+0 192.0.2.1 udp/1\n+1 192.0.2.1 udp/2");
    world.withdraw("r.toml");
    // It opens nothing meanwhile.
    world.play("+1.5 192.0.2.1 udp/3");
    world.reload(&[("r.toml", RULE.as_bytes())]).unwrap();
    world.play("+2.9 192.0.2.1 udp/3");
    world.play("+10 192.0.2.1 udp/1\n+11 192.0.2.1 udp/2");
    world.withdraw("r.toml");
    world.play("+13 192.0.2.1 udp/9");
    world.reload(&[("r.toml", RULE.as_bytes())]).unwrap();
    world.play("+13.1 192.0.2.1 udp/3\n+20 192.0.2.1 udp/1");
    world.withdraw("r.toml");
    let other = RULE.replace("3/udp", "4/udp");
    world.reload(&[("r.toml", other.as_bytes())]).unwrap();
    world.play("+20.5 192.0.2.1 udp/2\n+20.6 192.0.2.1 udp/4\n+100 end");
    expect![[r#"
        +0.0 r 192.0.2.1 stage 1
        +1.0 r 192.0.2.1 stage 2
        +2.9 open ssh 192.0.2.1 10s
        +10.0 r 192.0.2.1 stage 1
        +11.0 r 192.0.2.1 stage 2
        +12.9 close ssh 192.0.2.1 Expired
        +20.0 r 192.0.2.1 stage 1
    "#]]
    .assert_eq(&world.out);
}

#[test]
fn a_broken_file_or_module_changes_nothing() {
    let mut world = World::new(&[("r.toml", RULE.as_bytes())]);
    world.play("+0 192.0.2.1 udp/1");
    let mistakes = world.reload(&[("r.toml", b"module = sequence")]).unwrap_err();
    assert!(mistakes.to_string().contains("r.toml:1:"), "{mistakes}");
    world.play("+1 192.0.2.1 udp/2");
    let mistakes = world
        .reload(&[
            ("r.toml", RULE.as_bytes()),
            ("s.toml", b"door = \"ssh\"\nmodule = \"./s.wasm\"\n"),
            ("s.wasm", b"\0asm\x01\0\0\0junk"),
        ])
        .unwrap_err();
    assert!(
        mistakes.to_string().contains("s.toml:2: module: the module is not valid WebAssembly"),
        "{mistakes}"
    );
    world.play("+2 192.0.2.1 udp/3");
    expect![[r#"
        +0.0 r 192.0.2.1 stage 1
        +1.0 r 192.0.2.1 stage 2
        +2.0 open ssh 192.0.2.1 10s
    "#]]
    .assert_eq(&world.out);
}

/// Remembers one more at each knock, from what it is handed back.
const COUNTING: &str = "(if (i32.load8_u offset=104 (local.get $call))
        (then (i32.store8 (i32.const 200)
            (i32.add (i32.const 1) (i32.load8_u (i32.load offset=108 (local.get $call))))))
        (else (i32.store8 (i32.const 200) (i32.const 1))))
    (i32.store8 (i32.const 96) (i32.const 1))
    (i32.store8 (i32.const 104) (i32.load8_u (i32.const 200)))
    (i32.store (i32.const 108) (i32.const 200))
    (i32.store (i32.const 112) (i32.const 1))
    (i64.store (i32.const 120) (i64.add (i64.load (local.get $call)) (i64.const 5000000)))
    (i32.const 96)";

#[test]
fn a_module_is_replaced_under_a_client_that_is_half_way() {
    let file = b"module = \"./m.wasm\"\ndoor = \"ssh\"\n";
    let mut world = World::new(&[("r.toml", file), ("m.wasm", &judging(COUNTING))]);
    world.play("+0 192.0.2.1 udp/7\n+1 192.0.2.1 udp/7");
    // Other bytes, the same memory format: the client goes on from where it was.
    let other = guest("(global $other i32 (i32.const 1))", "(i32.const 48)", COUNTING);
    world.reload(&[("m.wasm", &other)]).unwrap();
    world.play("+2 192.0.2.1 udp/7");
    // Another memory format: the client starts over.
    let other = guest("", "(i32.store8 (i32.const 80) (i32.const 2)) (i32.const 48)", COUNTING);
    world.reload(&[("m.wasm", &other)]).unwrap();
    world.play("+3 192.0.2.1 udp/7");
    expect![[r#"
        +0.0 r 192.0.2.1 stage 1
        +1.0 r 192.0.2.1 stage 2
        +2.0 r 192.0.2.1 stage 3
        +3.0 r 192.0.2.1 stage 1
    "#]]
    .assert_eq(&world.out);
}
