//! Fits: whether a core module may be called directly. The encoder has made a component of it before, and so checked its types.

use wasmparser::{CanonicalFunction, CanonicalOption, Parser, Payload};
use wit_parser::{Resolve, WorldId};

use super::export;
use crate::contract::HOST_INTERFACE;

/// Whether `module`, of which `component` was made, is a rule of `world` in every point that [`super::canonical`] relies on.
pub(crate) fn fits(module: &[u8], component: &[u8], resolve: &Resolve, world: WorldId) -> bool {
    // A module that describes its world itself might describe another one. If it differs at all it is called as a component, where linking
    // reports the difference.
    speaks_plainly(module)
        && lifts_plainly(component)
        && wit_component::targets(resolve, world, component).is_ok()
}

/// It imports at most the log, and its memory and allocator have the expected names.
fn speaks_plainly(module: &[u8]) -> bool {
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload {
            Ok(Payload::ImportSection(imports)) => {
                let is_log = |import: wasmparser::Result<wasmparser::Import<'_>>| {
                    import.is_ok_and(|import| import.module == HOST_INTERFACE && import.name == "log")
                };
                if !imports.into_imports().all(is_log) {
                    return false;
                }
            }
            Ok(Payload::ExportSection(section)) => {
                exports.extend(section.into_iter().filter_map(|export| Some(export.ok()?.name)));
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    let needs = [export::MEMORY, export::REALLOC, export::CONFIGURE, export::JUDGE];
    // Another allocator, and names of another convention.
    let is_strange = |name: &&str| *name == "cabi_export_realloc" || name.starts_with("cm32p2");
    needs.iter().all(|name| exports.contains(name)) && !exports.iter().any(is_strange)
}

/// Its functions are called the plain way, with text in UTF-8.
fn lifts_plainly(component: &[u8]) -> bool {
    let is_plain = |option: &CanonicalOption| {
        matches!(
            option,
            CanonicalOption::UTF8
                | CanonicalOption::Memory(_)
                | CanonicalOption::Realloc(_)
                | CanonicalOption::PostReturn(_)
        )
    };
    Parser::new(0).parse_all(component).all(|payload| match payload {
        Ok(Payload::ComponentCanonicalSection(functions)) => {
            functions.into_iter().all(|function| match function {
                Ok(CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }) => {
                    options.iter().all(is_plain)
                }
                _ => false,
            })
        }
        Ok(_) => true,
        Err(_) => false,
    })
}
