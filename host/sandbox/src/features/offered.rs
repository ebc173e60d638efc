//! Offered: which of the parts of WebAssembly that every rule gets a module uses. All code is read once, and checked by nobody.

use std::collections::BTreeSet;

use wasmparser::{BinaryReaderError, CompositeInnerType, ConstExpr, Operator, Parser, Payload, TypeRef};

/// The proposals of WebAssembly beyond its first version that can be read off an instruction, as wasmparser calls them, with their names.
const BY_INSTRUCTION: [(&str, &str); 5] = [
    ("sign_extension", "sign extension"),
    ("saturating_float_to_int", "saturating conversion"),
    ("bulk_memory", "bulk memory"),
    ("reference_types", "reference types"),
    ("tail_call", "tail calls"),
];

/// The proposal that an instruction comes from.
fn proposal(operator: &Operator<'_>) -> &'static str {
    macro_rules! by_operator {
        ($(@$proposal:ident $operator:ident $({ $($argument:ident: $type:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
            match operator {
                $(Operator::$operator { .. } => stringify!($proposal),)*
                _ => "",
            }
        };
    }
    wasmparser::for_each_operator!(by_operator)
}

/// The names of what is used, in the order of the alphabet.
///
/// # Errors
/// If it is malformed.
pub(super) fn used(bytes: &[u8]) -> Result<BTreeSet<&'static str>, BinaryReaderError> {
    let mut used = BTreeSet::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::TypeSection(types) => {
                for group in types {
                    for ty in group?.types() {
                        let CompositeInnerType::Func(function) = &ty.composite_type.inner else { continue };
                        if function.results().len() > 1 {
                            used.insert("multiple values");
                        }
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    if matches!(import?.ty, TypeRef::Global(global) if global.mutable) {
                        used.insert("mutable globals");
                    }
                }
            }
            Payload::MemorySection(memories) if memories.count() > 1 => {
                used.insert("several memories");
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    note_constant(&global?.init_expr, &mut used)?;
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    let of = proposal(&operator?);
                    // Nearly all are of the first version.
                    if of != "mvp"
                        && let Some((_, name)) = BY_INSTRUCTION.iter().find(|(known, _)| *known == of)
                    {
                        used.insert(*name);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(used)
}

/// A constant that is computed is of a later version.
fn note_constant(
    expression: &ConstExpr<'_>,
    used: &mut BTreeSet<&'static str>,
) -> Result<(), BinaryReaderError> {
    for operator in expression.get_operators_reader() {
        if matches!(operator?, Operator::I32Add | Operator::I32Sub | Operator::I32Mul) {
            used.insert("extended constants");
        }
    }
    Ok(())
}
