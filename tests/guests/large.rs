//! Hostile guests that are large, or deep, in one way each. They are made here, since nobody wants them in a repository.

use std::fmt::Write as _;

use postern_tests::guest::Guest;

use super::exhibits::{Exhibit, Fate};
use crate::wasm_bytes::{with_code, with_data, with_nothing};

/// Bytes of a module that is nearly as long as any may be.
const SIXTY_MEGABYTES: usize = 60 << 20;
/// Nearly all that a tenant's module may have if nothing is said.
const MUCH_DATA: usize = 4_000_000;
/// Instructions that are replaced: those of no function that a guest has.
const PLACE: &str = "(nop) (nop) (nop)";
const PLACE_BYTES: [u8; 3] = [0x01; 3];
const BLOCK: [u8; 2] = [0x02, 0x40];
const END: [u8; 1] = [0x0b];

/// Those that must be let be longer than a tenant's modules are if nothing is said.
pub(crate) const LONG: [&str; 2] = ["sixty-mb", "fifty-thousand-functions"];

/// All of them.
pub(crate) fn large() -> Vec<Exhibit> {
    use Fate::{Harmless, Refused};
    let new = |name, fate, module| Exhibit { name, fate, module };
    let with = |pages, data| move |port| with_data(&guest(port, pages, ""), &vec![b'x'; data]);
    vec![
        new("too-long", Refused("is longer than 4 MiB"), Box::new(padded)),
        new("sixty-mb", Harmless, Box::new(padded)),
        new("much-data", Harmless, Box::new(with(100, MUCH_DATA))),
        new("more-data", Refused("limits.memory"), Box::new(with(1000, MUCH_DATA))),
        new("data-beyond", Refused("out of bounds"), Box::new(with(1, MUCH_DATA))),
        new("data-at-the-end", Refused("limits.memory"), Box::new(data_at_the_end)),
        new("fifty-thousand-functions", Refused("compiled"), Box::new(functions)),
        new("nested-blocks", Refused("compiled"), Box::new(nested_blocks)),
    ]
}

fn guest(port: u16, pages: u32, definitions: &str) -> Vec<u8> {
    Guest { port, pages, definitions, ..Guest::default() }.module()
}

/// With a section that nobody looks at.
fn padded(port: u16) -> Vec<u8> {
    with_nothing(&guest(port, 1, ""), SIXTY_MEGABYTES)
}

/// In a memory of four gigabytes, of which the last bytes are not zero.
fn data_at_the_end(port: u16) -> Vec<u8> {
    guest(port, 65_536, "(data (i32.const -16) \"x\")")
}

/// 50,000 functions, each of some hundred instructions: seconds for a compiler, on any machine.
fn functions(port: u16) -> Vec<u8> {
    let mut text = String::new();
    for n in 0..50_000 {
        let _ = write!(text, "(func (param i32) (local.set 0 (i32.const {n})) {PLACE})");
    }
    let add: [u8; 7] = [0x20, 0, 0x41, 1, 0x6a, 0x21, 0];
    with_code(&guest(port, 1, &text), &PLACE_BYTES, &add.repeat(40))
}

/// A function of blocks within blocks, a million deep.
fn nested_blocks(port: u16) -> Vec<u8> {
    let depth = 1_000_000;
    let module = guest(port, 1, &format!("(func {PLACE})"));
    with_code(&module, &PLACE_BYTES, &[BLOCK.repeat(depth), END.repeat(depth)].concat())
}
