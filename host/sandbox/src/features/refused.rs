//! Refused: which features that no rule gets a module uses, with all of its code read once.
//!
//! What surrounds functions is checked with everything switched on but one feature after the other, which takes a millisecond each. Of the
//! functions only those are checked like that which fail with what rules get.

use wasmparser::{
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

use super::{ALL, EXTERNREF, Feature, OFFERED, REFUSED};

/// A function that is still to be checked.
type Function<'a> = (FuncToValidate<ValidatorResources>, FunctionBody<'a>);

/// Those features.
///
/// # Errors
/// If the module is malformed, and how.
pub(super) fn used(bytes: &[u8]) -> Result<Vec<Feature>, String> {
    let functions = surroundings(bytes, ALL)?;
    let is_used = |feature: &Feature| surroundings(bytes, ALL.difference(feature.without)).is_err();
    let mut used = match surroundings(bytes, OFFERED) {
        Ok(_) => Vec::new(),
        Err(_) => REFUSED.into_iter().filter(is_used).collect(),
    };
    let mut allocations = FuncValidatorAllocations::default();
    for function in &functions {
        if check(function, OFFERED, &mut allocations).is_ok() {
            continue;
        }
        check(function, ALL, &mut allocations)?;
        for feature in REFUSED {
            if !used.contains(&feature)
                && check(function, ALL.difference(feature.without), &mut allocations).is_err()
            {
                used.push(feature);
            }
        }
    }
    used.sort_by_key(|feature| REFUSED.iter().position(|known| known == feature));
    if used.len() > 1 {
        used.retain(|feature| *feature != EXTERNREF);
    }
    Ok(used)
}

/// Checks everything but the code of functions, with these features; gives back the functions.
fn surroundings(bytes: &[u8], features: WasmFeatures) -> Result<Vec<Function<'_>>, String> {
    let mut functions = Vec::new();
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(|error| error.to_string())?;
        if let ValidPayload::Func(function, body) =
            validator.payload(&payload).map_err(|error| error.to_string())?
        {
            functions.push((function, body));
        }
    }
    Ok(functions)
}

/// Checks the code of a function with these features.
fn check(
    (function, body): &Function<'_>,
    features: WasmFeatures,
    allocations: &mut FuncValidatorAllocations,
) -> Result<(), String> {
    let FuncToValidate { resources, index, ty, .. } = function;
    let function = FuncToValidate { resources: resources.clone(), index: *index, ty: *ty, features };
    let mut validator = function.into_validator(std::mem::take(allocations));
    let checked = validator.validate(body);
    *allocations = validator.into_allocations();
    checked.map_err(|error| error.to_string())
}
