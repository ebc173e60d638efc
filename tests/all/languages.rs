//! The same packets through the same rule in several languages, as their compilers make it: the same verdicts.

use std::time::Duration;

use postern_core::Moment;

use crate::modules::{knock_c, knock_go, knock_python, knock_wat};
use crate::world::{Outcome, World, knock};

const IN_RUST: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nwithin = \"5s\"\ntcp_flags = [\"syn\", \"!ack\"]\nsequence = [\"1111/udp\", \"2222/udp\", \"3333/tcp\"]\n";

#[test]
fn web_assembly_text_judges_like_rust() {
    judges_like_rust("wat", &knock_wat());
}

#[test]
fn c_judges_like_rust() {
    let Some(module) = knock_c() else { return };
    judges_like_rust("c", &module);
}

#[test]
fn go_judges_like_rust() {
    let Some(module) = knock_go() else { return };
    judges_like_rust("go", &module);
}

#[test]
fn python_judges_like_rust() {
    let Some(module) = knock_python() else { return };
    judges_like_rust("python", &module);
}

fn judges_like_rust(language: &str, module: &[u8]) {
    // What they say is compared, not how quickly: now and then a collection of garbage takes more than the 2 ms of the default.
    let file = format!(
        "module = \"./{language}.wasm\"\ndoor = \"ssh\"\n[limits]\ncpu = \"100ms\"\nshare = \"100%\"\n"
    );
    let mut world = World::new(&[
        ("in_rust.toml", IN_RUST.as_bytes()),
        (&format!("in_{language}.toml"), file.as_bytes()),
        (&format!("{language}.wasm"), module),
    ]);

    let seed = std::env::var("POSTERN_SEED").map_or(20_261_124, |seed| seed.parse::<u64>().unwrap());
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let sources = ["192.0.2.1", "192.0.2.2", "2001:db8::4454", "2001:db8::4455"];
    let ports = ["udp/1111", "udp/2222", "tcp/3333", "tcp/1111", "udp/3333"];
    let flags = ["S", "S", "S", "SA", "A", "", "SE"];
    let mut now = Duration::ZERO;
    let (mut opened, mut forgot, mut expired) = (0, 0, 0);
    for step in 0..20_000 {
        now += Duration::from_millis(random(4) * random(700));
        let source = sources[usize::try_from(random(4)).unwrap()];
        // Mostly what could be a next step, so that sequences are finished.
        let port = ports[usize::try_from(random(5).min(random(5))).unwrap()];
        let knock = knock(Moment(now), source, port, flags[usize::try_from(random(7)).unwrap()]);
        let mut outcomes = world.judge(&knock);
        expired += outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::TimedOut { .. })).count();
        outcomes.retain(|(_, outcome)| !matches!(outcome, Outcome::TimedOut { .. }));
        for (_, outcome) in &mut outcomes {
            match outcome {
                // Each says it in its own words.
                Outcome::Forgot(reason) => reason.clear(),
                Outcome::Asks(_) => opened += 1,
                _ => {}
            }
        }
        forgot += outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Forgot(_))).count();
        let first = outcomes.first().map(|(_, outcome)| outcome.clone());
        let alike = outcomes.iter().all(|(_, outcome)| Some(outcome) == first.as_ref());
        let all_or_none = outcomes.is_empty() || outcomes.len() == 2;
        assert!(alike && all_or_none, "seed {seed}, step {step}, {knock:?}: {outcomes:?}");
    }
    assert!(
        opened > 200 && forgot > 200 && expired > 200,
        "the knocks are worth judging: {opened} {forgot} {expired}"
    );
}
