//! What a rule is shown beyond the least is what it asked for, whatever others asked for.

use std::time::Duration;

use postern_core::{Moment, TcpHeader};

use crate::modules::{component, guest};
use crate::world::{World, knock};

/// Opens if a TCP header came with the sequence number 0x01020304, and 4 bytes of options of which the last is 9. Else it ignores.
const SYN: &str = "(if (i32.eqz (i32.and
            (i32.and
                (i32.eq (i32.load8_u offset=72 (local.get $call)) (i32.const 1))
                (i32.eq (i32.load offset=76 (local.get $call)) (i32.const 0x01020304)))
            (i32.and
                (i32.eq (i32.load offset=92 (local.get $call)) (i32.const 4))
                (i32.eq (i32.load8_u offset=3 (i32.load offset=88 (local.get $call))) (i32.const 9)))))
        (then (i32.store8 (i32.const 96) (i32.const 0)) (return (i32.const 96))))
    (i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const 200))
    (i32.store (i32.const 108) (i32.const 1)) (i32.const 96)";

#[test]
fn a_tcp_header_comes_to_the_rules_that_ask_for_it() {
    // They watch TCP, and one of them asks.
    let watching = "(i32.store8 (i32.const 16) (i32.const 0))";
    let blind = guest("", &format!("{watching} (i32.const 48)"), SYN);
    let asking =
        guest("", &format!("{watching} (i32.store8 (i32.const 76) (i32.const 1)) (i32.const 48)"), SYN);
    let file = |name: &str| format!("module = \"./{name}.wasm\"\ndoor = \"ssh\"\n");
    for (blind, asking) in [(component(&blind), component(&asking)), (blind, asking)] {
        let mut world = World::new(&[
            ("asking.toml", file("asking").as_bytes()),
            ("asking.wasm", &asking),
            ("blind.toml", file("blind").as_bytes()),
            ("blind.wasm", &blind),
        ]);
        let header =
            TcpHeader { sequence: 0x0102_0304, options: [1, 1, 1, 9].into(), ..TcpHeader::default() };
        let mut syn = knock(Moment(Duration::ZERO), "192.0.2.1", "tcp/7", "S");
        syn.tcp_header = Some(Box::new(header));
        let opened: Vec<_> = world.judge(&syn).into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(opened, ["asking"]);
        syn.tcp_header = None;
        assert_eq!(world.judge(&syn), []);
    }
}
