//! FileKind: what a file is that was named as a module and is none, by its first bytes.

use std::fmt;

/// What a file is, and what its owner can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKind {
    what: &'static str,
    remedy: &'static str,
}

const COMPILE: &str = "compile the rule to WebAssembly";
const UNPACK: &str = "unpack it, and name the .wasm file in it";

/// First bytes of files that may be named by mistake.
const KNOWN: [(&[u8], FileKind); 16] = [
    (b"\x7fELF", FileKind::new("a program or library in machine code (ELF)", COMPILE)),
    (b"MZ", FileKind::new("a program or library in machine code (PE)", COMPILE)),
    (b"\xcf\xfa\xed\xfe", FileKind::new("a program or library in machine code (Mach-O)", COMPILE)),
    (b"\xca\xfe\xba\xbe", FileKind::new("a Java class or a program in machine code", COMPILE)),
    (
        b"!<arch>\n",
        FileKind::new("a static library (ar)", "link it to a module; in Rust: crate-type = [\"cdylib\"]"),
    ),
    (b"BC\xc0\xde", FileKind::new("LLVM bitcode", "link it to a module")),
    (b"PK\x03\x04", FileKind::new("a zip archive or a jar", UNPACK)),
    (b"PK\x05\x06", FileKind::new("an empty zip archive", COMPILE)),
    (b"\x1f\x8b", FileKind::new("compressed (gzip)", UNPACK)),
    (b"\xfd7zXZ\0", FileKind::new("compressed (xz)", UNPACK)),
    (b"\x28\xb5\x2f\xfd", FileKind::new("compressed (zstd)", UNPACK)),
    (b"BZh", FileKind::new("compressed (bzip2)", UNPACK)),
    (b"#!", FileKind::new("a script", COMPILE)),
    (b"<!DOCTYPE", FileKind::new("a web page", "download the module itself")),
    (b"<html", FileKind::new("a web page", "download the module itself")),
    (b"version https://git-lfs", FileKind::new("a pointer of Git LFS", "fetch the module: git lfs pull")),
];

impl FileKind {
    const fn new(what: &'static str, remedy: &'static str) -> Self {
        Self { what, remedy }
    }

    /// What a file is that begins like this and is no WebAssembly.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::new("empty", "build the rule again, and look whether that fails");
        }
        let known = KNOWN.iter().find(|(beginning, _)| bytes.starts_with(beginning));
        known.map_or(Self::new("not WebAssembly", COMPILE), |(_, kind)| *kind)
    }

    /// What its owner can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        self.remedy
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// Whether this is WebAssembly's text format, which may begin with comments.
pub(crate) fn is_wasm_text(bytes: &[u8]) -> bool {
    // A module's parts may stand without the module around them.
    const WORDS: [&[u8]; 12] = [
        b"module",
        b"component",
        b"type",
        b"rec",
        b"import",
        b"func",
        b"table",
        b"memory",
        b"global",
        b"export",
        b"data",
        b"elem",
    ];
    let Some(inside) = skip_comments(bytes).strip_prefix(b"(") else { return false };
    let inside = skip_comments(inside);
    let end = inside.iter().position(|byte| !byte.is_ascii_lowercase()).unwrap_or(inside.len());
    WORDS.contains(&&inside[..end])
}

/// What stands behind blanks, `;; lines` and `(; blocks ;)`, which may hold blocks.
fn skip_comments(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        if text.starts_with(b";;") {
            let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
            text = &text[end..];
        } else if text.starts_with(b"(;") {
            text = skip_block(text);
        } else {
            return text;
        }
    }
}

/// What stands behind the block comment that begins here; nothing if it never ends.
fn skip_block(text: &[u8]) -> &[u8] {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(pair) = text.get(at..at + 2) {
        match pair {
            b"(;" => (depth, at) = (depth + 1, at + 2),
            b";)" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return &text[at..];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_known_behind_comments() {
        for text in [
            "(module)",
            "\n  ( module $name",
            ";; a rule\n;;\n(module",
            "(; a (; nested ;) block ;) (component",
            "(;;)(func (export \"judge\"))",
            "( (; so it may stand ;) module)",
        ] {
            assert!(is_wasm_text(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            ";",
            ";;",
            "(;",
            "(; (; ;)",
            ";; Lisp\n(define x 1)",
            "(modules)",
            "module",
            "(",
            "(;) (module)",
        ] {
            assert!(!is_wasm_text(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_a_file_is_is_told() {
        assert_eq!(FileKind::of(b"").to_string(), "empty");
        assert_eq!(
            FileKind::of(b"\x7fELF\x02\x01").to_string(),
            "a program or library in machine code (ELF)"
        );
        assert_eq!(FileKind::of(b"PK\x03\x04\x14").remedy(), UNPACK);
        assert_eq!(FileKind::of(b"hello").to_string(), "not WebAssembly");
    }
}
