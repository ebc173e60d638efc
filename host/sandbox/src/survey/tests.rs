//! What is read of modules of both forms, and of what is none.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::*;
use crate::componentize::encode_component;
use crate::contract::WIT;
use crate::stock;

fn survey(text: &str) -> Survey {
    Survey::of(&wat::parse_str(text).unwrap()).unwrap()
}

fn names(survey: &Survey) -> Vec<&str> {
    survey.imports.iter().map(|import| import.name.as_str()).collect()
}

fn producer(field: &str, name: &str, version: &str) -> Producer {
    Producer { field: field.to_owned(), name: name.to_owned(), version: version.to_owned() }
}

#[test]
fn a_core_module_is_read() {
    let survey = survey(
        r#"(module
            (import "postern:rule/host@0.2.0" "log" (func (param i32 i32 i32)))
            (import "env" "abort" (func))
            (memory (export "memory") 3)
            (global i32 (i32.const 0))
            (func (export "judge"))
            (@producers (language "Zig" "0.15") (processed-by "LLVM" "20.1") (processed-by "LLVM" "20.1")))"#,
    );
    assert_eq!(survey.form, ModuleForm::Core);
    assert_eq!(names(&survey), ["postern:rule/host@0.2.0 log", "env abort"]);
    assert_eq!(survey.exports, ["memory", "judge"]);
    assert_eq!(Vec::from_iter(survey.contracts), ["0.2.0"]);
    assert_eq!(
        Vec::from_iter(survey.producers),
        [producer("language", "Zig", "0.15"), producer("processed-by", "LLVM", "20.1")]
    );
    assert_eq!((survey.parts, survey.initial_memory, survey.most_globals), (1, 3 << 16, 1));
    assert!(!survey.describes_its_world);
}

#[test]
fn the_version_is_also_read_where_a_module_describes_its_world() {
    let module = r#"(module (memory (export "memory") 1))"#;
    assert_eq!(survey(module).contracts.len(), 0);
    let mut resolve = Resolve::default();
    let package = resolve.push_str("rule.wit", &WIT.replace("@0.2.0", "@0.7.3")).unwrap();
    let world = resolve.select_world(&[package], Some("rule")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let survey = Survey::of(&module).unwrap();
    assert!(survey.describes_its_world);
    assert_eq!(Vec::from_iter(survey.contracts), ["0.7.3"]);
}

#[test]
fn a_component_is_read_without_the_imports_of_its_parts() {
    let component = encode_component(stock::bytes("sequence")).unwrap().component;
    let survey = Survey::of(&component).unwrap();
    assert_eq!(survey.form, ModuleForm::Component);
    // The types of the contract are imported one by one as well.
    let instances = survey.imports.iter().filter(|import| !import.is_type).map(|import| &import.name);
    assert!(instances.eq(["postern:rule/host@0.2.0", "postern:rule/types@0.2.0"]), "{:?}", survey.imports);
    assert_eq!(survey.exports, ["configure", "judge"]);
    assert_eq!(Vec::from_iter(survey.contracts), ["0.2.0"]);
    assert!(survey.parts >= 1 && survey.initial_memory > 0 && survey.most_globals > 0);
    assert!(
        survey.producers.iter().any(|producer| producer.name == "wit-component"),
        "{:?}",
        survey.producers
    );
}

#[test]
fn the_imports_of_a_component_are_its_own() {
    let survey = survey(
        r#"(component
            (import "wasi:cli/environment@0.2.6" (instance))
            (type $text string)
            (import "word" (type (eq $text)))
            (core module (import "inner" "function" (func)))
            (component (import "nested" (instance))))"#,
    );
    assert_eq!(names(&survey), ["wasi:cli/environment@0.2.6", "word"]);
    assert_eq!(survey.imports.iter().map(|import| import.is_type).collect::<Vec<_>>(), [false, true]);
    assert_eq!((survey.parts, survey.contracts.len()), (1, 0));
}

#[test]
fn what_is_no_module_is_an_error_and_never_a_panic() {
    let told = |bytes: &[u8]| Survey::of(bytes).unwrap_err().to_string();
    assert_eq!(told(b""), "is empty");
    assert_eq!(told(b"\x7fELF"), "is a program or library in machine code (ELF)");
    assert_eq!(told(b"(module)"), "is WebAssembly text");
    assert_eq!(told(b"\0asm\x07\0\0\0"), "is WebAssembly of an unknown version [07, 00, 00, 00]");
    let module = stock::bytes("sequence");
    let component = encode_component(module).unwrap().component;
    for whole in [module, &component] {
        let step = whole.len() / 500 + 1;
        for end in (0..whole.len()).step_by(step) {
            // Only what ends between two sections is whole.
            let _ = Survey::of(&whole[..end]);
            let mut damaged = whole.to_vec();
            damaged[end] ^= 0xff;
            let _ = Survey::of(&damaged);
        }
    }
}

#[test]
fn features_are_named_and_those_that_no_rule_gets_have_a_remedy() {
    let used = |text: &str| {
        let used = Survey::features(&wat::parse_str(text).unwrap()).unwrap();
        used.into_iter().map(|feature| (feature.name, feature.remedy.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(used("(module (func (param i32) (result i32) (local.get 0)))"), []);
    assert_eq!(
        used("(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))"),
        [("sign extension", false)]
    );
    assert_eq!(used("(module (func (result i32 i32) (unreachable)))"), [("multiple values", false)]);
    assert_eq!(used("(module (memory 1) (memory 1))"), [("several memories", false)]);
    assert_eq!(used("(module (func (result v128) (v128.const i32x4 0 0 0 0)))"), [("SIMD", true)]);
    assert_eq!(used("(module (memory i64 1))"), [("memory64", true)]);
    assert_eq!(used("(module (memory 1 1 shared))"), [("threads", true)]);
    let rust = Survey::features(stock::bytes("sequence")).unwrap();
    assert!(rust.iter().all(|feature| feature.remedy.is_none()) && !rust.is_empty(), "{rust:?}");
    assert!(matches!(Survey::features(b"\0asm\x01\0\0\0\xff"), Err(LoadError::Invalid(_))));
}
