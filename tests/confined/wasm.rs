//! WebAssembly: compiled where nothing may be executed, run where nothing may be opened.

use std::time::Duration;

use postern_confine::SystemCalls;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Instance, Module, Store, Trap};

use crate::confine;

/// Every way in which a rule ends.
const MODULE: &str = r#"(module
    (memory 1)
    (data (i32.const 65532) "\07\00\00\00")
    (func (export "well") (result i32) (i32.load (i32.const 65532)))
    (func (export "out of bounds") (result i32) (i32.load (i32.const 0x7fffffff)))
    (func $overflow (export "overflow") (result i32) (i32.add (call $overflow) (i32.const 1)))
    (func (export "unreachable") (result i32) unreachable)
    (func (export "division") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
    (func (export "interrupt") (result i32) (loop (br 0)) unreachable))"#;

const COMPONENT: &str = "(component (core module (func (export \"f\"))))";

fn bytes(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_simd(false).wasm_relaxed_simd(false);
    Engine::new(&config).unwrap()
}

/// Both kinds of module become bytes.
pub(crate) fn compile() -> String {
    confine(SystemCalls::Compiler);
    let engine = engine();
    assert!(!engine.precompile_module(&bytes(MODULE)).unwrap().is_empty());
    assert!(!engine.precompile_component(&bytes(COMPONENT)).unwrap().is_empty());
    "a module and a component".to_owned()
}

/// The memory that code would be run from cannot be had, and that is an error, not the end.
pub(crate) fn cannot_load_what_it_compiles() -> String {
    confine(SystemCalls::Compiler);
    let engine = engine();
    let module = Module::new(&engine, bytes(MODULE)).map(drop);
    let component = Component::new(&engine, bytes(COMPONENT)).map(drop);
    for outcome in [module, component] {
        println!("{:#}", outcome.unwrap_err());
    }
    // Compiled they were: it is the memory that was refused.
    assert!(!engine.precompile_module(&bytes(MODULE)).unwrap().is_empty());
    "refused".to_owned()
}

/// Loads, runs, and survives every trap.
pub(crate) fn run() -> String {
    confine(SystemCalls::Engine);
    let engine = engine();
    let module = Module::new(&engine, bytes(MODULE)).unwrap();
    std::thread::spawn({
        let engine = engine.clone();
        move || {
            loop {
                std::thread::sleep(Duration::from_millis(5));
                engine.increment_epoch();
            }
        }
    });
    // On a thread of its own, as rules run.
    let names = ["well", "out of bounds", "overflow", "unreachable", "division", "interrupt", "well"];
    let run = move || names.map(|name| call(&engine, &module, name)).join(", ");
    std::thread::spawn(run).join().unwrap()
}

fn call(engine: &Engine, module: &Module, name: &str) -> String {
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(20);
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    let function = instance.get_typed_func::<(), i32>(&mut store, name).unwrap();
    let trap = match function.call(&mut store, ()) {
        Ok(number) => return number.to_string(),
        Err(error) => *error.downcast_ref::<Trap>().unwrap(),
    };
    match trap {
        Trap::MemoryOutOfBounds => "out of bounds",
        Trap::StackOverflow => "overflow",
        Trap::UnreachableCodeReached => "unreachable",
        Trap::IntegerDivisionByZero => "division",
        Trap::Interrupt => "interrupt",
        other => panic!("{other}"),
    }
    .to_owned()
}
