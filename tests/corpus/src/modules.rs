//! Modules: bytes that are to be a rule, and a rule's answers.

use std::sync::{Arc, LazyLock};

use postern_sandbox::both_ways::{Both, PARROT};
use postern_sandbox::{Loader, Runtime};

/// The bytes of a module, or its text.
///
/// # Panics
/// If nothing is said about what is no module.
pub fn module(input: &[u8]) {
    static LOADER: LazyLock<Loader> = LazyLock::new(|| {
        let runtime = Runtime::start().expect("a runtime");
        Loader::new(runtime, Arc::new(())).expect("the contract is linked")
    });
    let text = std::str::from_utf8(input).ok().filter(|text| text.trim_start().starts_with('('));
    let bytes = match text.map(wat::parse_str) {
        Some(Ok(bytes)) => bytes.into(),
        Some(Err(_)) | None => input.into(),
    };
    let bytes: std::borrow::Cow<'_, [u8]> = bytes;
    if let Err(error) = LOADER.load_bytes(&bytes) {
        assert!(!error.to_string().is_empty(), "{error:?}");
    }
}

/// A choice between `configure` and `judge`, where the answer of `judge` begins, and memory for a guest to answer with.
///
/// # Panics
/// If the answer is understood otherwise when the guest is called directly than when wasmtime calls it as a component.
pub fn direct(input: &[u8]) {
    static BOTH: LazyLock<Both> =
        LazyLock::new(|| Both::new(&wat::parse_str(PARROT).expect("the parrot's text is right")));
    let [how, place, answer @ ..] = input else { return };
    let mut pair = BOTH.start();
    if how & 1 == 0 {
        let letters = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(b'a' + half));
        pair.configure(&answer.iter().flat_map(letters).collect::<String>());
    } else {
        pair.answer(u16::from(*place), answer);
    }
}
