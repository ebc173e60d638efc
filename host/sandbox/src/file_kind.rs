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
const MACH_O: FileKind = FileKind::new("a program or library in machine code (Mach-O)", COMPILE);
const FAT_MACH_O: FileKind =
    FileKind::new("a program or library in machine code of several processors (fat Mach-O)", COMPILE);

/// First bytes of files that may be named by mistake.
const KNOWN: [(&[u8], FileKind); 18] = [
    (b"\x7fELF", FileKind::new("a program or library in machine code (ELF)", COMPILE)),
    (b"MZ", FileKind::new("a program or library in machine code (PE)", COMPILE)),
    (b"\xcf\xfa\xed\xfe", MACH_O),
    (b"\xce\xfa\xed\xfe", MACH_O),
    (b"\xfe\xed\xfa\xcf", MACH_O),
    (b"\xfe\xed\xfa\xce", MACH_O),
    (b"\xca\xfe\xba\xbf", FAT_MACH_O),
    (b"\xca\xfe\xba\xbe", FAT_MACH_O),
    (
        b"!<arch>\n",
        FileKind::new("a static library (ar)", "link it to a module; in Rust: crate-type = [\"cdylib\"]"),
    ),
    (b"BC\xc0\xde", FileKind::new("LLVM bitcode", "link it to a module")),
    (b"PK\x03\x04", FileKind::new("a zip archive or a jar", UNPACK)),
    (b"PK\x05\x06", FileKind::new("an empty zip archive", COMPILE)),
    (b"\x1f\x8b", FileKind::new("compressed (gzip)", "unpack it with gunzip, and name the .wasm file in it")),
    (b"\xfd7zXZ\0", FileKind::new("compressed (xz)", "unpack it with unxz, and name the .wasm file in it")),
    (
        b"\x28\xb5\x2f\xfd",
        FileKind::new("compressed (zstd)", "unpack it with unzstd, and name the .wasm file in it"),
    ),
    (b"BZh", FileKind::new("compressed (bzip2)", "unpack it with bunzip2, and name the .wasm file in it")),
    (b"#!", FileKind::new("a script", COMPILE)),
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
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::new(
                "nothing but zeros",
                "build the rule again: such files are left by a full disk or a crash",
            );
        }
        if let Some(kind) = Self::told_apart_later(bytes) {
            return kind;
        }
        let known = KNOWN.iter().find(|(beginning, _)| bytes.starts_with(beginning));
        let otherwise = || if is_text(bytes) { TEXT } else { Self::new("not WebAssembly", COMPILE) };
        known.map_or_else(otherwise, |(_, kind)| *kind)
    }

    /// What begins like something else, or has no beginning of its own.
    fn told_apart_later(bytes: &[u8]) -> Option<Self> {
        // The operating system of wasmtime's code.
        if bytes.starts_with(b"\x7fELF") && bytes.get(7) == Some(&200) {
            return Some(Self::new(
                "a module that wasmtime has compiled",
                "name the .wasm file that it was made of",
            ));
        }
        // Java's versions begin at 45, and a fat Mach-O has few parts.
        let number = bytes.get(4..8).and_then(|number| number.try_into().ok()).map_or(0, u32::from_be_bytes);
        if bytes.starts_with(b"\xca\xfe\xba\xbe") && number >= 45 {
            return Some(Self::new("a Java class", COMPILE));
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return Some(Self::new("an archive (tar)", UNPACK));
        }
        let page = bytes.trim_ascii_start().get(..9).map(<[u8]>::to_ascii_lowercase);
        let is_page = page.is_some_and(|page| page.starts_with(b"<!doctype") || page.starts_with(b"<html"));
        is_page.then(|| Self::new("a web page", "download the module itself"))
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

/// What is text of any kind, such as a program's source.
const TEXT: FileKind = FileKind::new(
    "text",
    "name the module that is built from it; JavaScript, TypeScript and Python are sources like all others",
);

/// Whether what a file begins with is text.
fn is_text(bytes: &[u8]) -> bool {
    let begin = &bytes[..bytes.len().min(1024)];
    let text = match std::str::from_utf8(begin) {
        Ok(text) => text,
        // Cut within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&begin[..error.valid_up_to()]).unwrap_or("")
        }
        Err(_) => return false,
    };
    text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace())
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
        let mut tar = [b'x'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, what) in [
            (&b""[..], "empty"),
            (&[0; 600], "nothing but zeros"),
            (b"\x7fELF\x02\x01\x01\0", "a program or library in machine code (ELF)"),
            (b"\x7fELF\x02\x01\x01\xc8", "a module that wasmtime has compiled"),
            (b"MZ\x90\0", "a program or library in machine code (PE)"),
            (b"\xcf\xfa\xed\xfe\x0c\0\0\x01", "a program or library in machine code (Mach-O)"),
            (b"\xfe\xed\xfa\xce\0\0\0\x12", "a program or library in machine code (Mach-O)"),
            (
                b"\xca\xfe\xba\xbe\0\0\0\x02",
                "a program or library in machine code of several processors (fat Mach-O)",
            ),
            (
                b"\xca\xfe\xba\xbf\0\0\0\x02",
                "a program or library in machine code of several processors (fat Mach-O)",
            ),
            (b"\xca\xfe\xba\xbe\0\0\0\x41", "a Java class"),
            (b"\x1f\x8b\x08", "compressed (gzip)"),
            (&tar, "an archive (tar)"),
            (b"\n<!doctype html>", "a web page"),
            (b"<HTML lang=en>", "a web page"),
            (b"#!/bin/sh\n", "a script"),
            (b"export function judge() {}\n", "text"),
            ("# T\u{fc}r\nimport wit_world\n".as_bytes(), "text"),
            (&[b"\xc3\xbc".repeat(511), b"x\xc3\xbc".to_vec()].concat(), "text"),
            (b"hello\0", "not WebAssembly"),
            (b"\xff\xfe(\0m\0", "not WebAssembly"),
        ] {
            assert_eq!(FileKind::of(bytes).to_string(), what);
        }
        assert_eq!(FileKind::of(b"PK\x03\x04\x14").remedy(), UNPACK);
    }
}
