//! Hand-made bindings: every field lies where the canonical ABI has it. The compiler of the language says so, of assertions that are made of the
//! contract.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use postern_tests::examples;
use wit_parser::{Resolve, SizeAlign, Type, TypeDef, TypeDefKind};

use crate::modules::{clang, root};

/// A field of a record: where it begins, and of an option also where that has its value.
struct Field {
    record: &'static str,
    /// In the contract's words.
    name: String,
    offset: usize,
}

/// Records that bindings have as structures. An `open-verdict` is laid out like a `close-verdict`.
const RECORDS: [&str; 9] = [
    "prefix",
    "watch",
    "interest",
    "tcp-header",
    "knock",
    "progress",
    "open-request",
    "close-request",
    "open-verdict",
];

/// The contract's fields. An option is two of them: whether it is there (`has-...`), and the value.
fn fields() -> (Vec<Field>, Vec<(&'static str, usize)>) {
    let mut resolve = Resolve::default();
    resolve.push_path(root().join("guest-sdk/wit")).unwrap();
    let mut sizes = SizeAlign::default();
    sizes.fill(&resolve);
    let definition = |name: &str| -> &TypeDef {
        resolve.types.iter().map(|(_, it)| it).find(|it| it.name.as_deref() == Some(name)).unwrap()
    };
    let (mut fields, mut records) = (Vec::new(), Vec::new());
    for record in RECORDS {
        let TypeDefKind::Record(it) = &definition(record).kind else { panic!("{record}") };
        let offsets = sizes.field_offsets(it.fields.iter().map(|field| &field.ty));
        for (field, (offset, _)) in it.fields.iter().zip(offsets) {
            let offset = offset.size_wasm32();
            let name = field.name.clone();
            match option_of(&resolve, &field.ty) {
                None => fields.push(Field { record, name, offset }),
                Some(value) => {
                    fields.push(Field { record, name: format!("has-{name}"), offset });
                    let offset = (offset + 1).next_multiple_of(sizes.align(value).align_wasm32());
                    fields.push(Field { record, name, offset });
                }
            }
        }
        let types = it.fields.iter().map(|field| &field.ty);
        records.push((record, sizes.record(types).size.size_wasm32()));
    }
    assert!(fields.len() > 45, "the contract has more");
    (fields, records)
}

fn option_of<'a>(resolve: &'a Resolve, ty: &Type) -> Option<&'a Type> {
    let Type::Id(id) = ty else { return None };
    match &resolve.types[*id].kind {
        TypeDefKind::Option(value) => Some(value),
        _ => None,
    }
}

/// `tcp-header` as `TcpHeader`.
fn upper_camel(name: &str) -> String {
    name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// `tcp-header` as `tcpHeader`.
fn camel(name: &str) -> String {
    let upper = upper_camel(name);
    upper[..1].to_lowercase() + &upper[1..]
}

fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// `has-tcp-header` as `hasTCPHeader`.
fn go(name: &str) -> String {
    camel(name).replace("Tcp", "TCP")
}

/// Has a compiler look at a file of this name beside copies of a folder of the SDK.
fn compiles(language: &str, name: &str, source: &str, compiler: &[&str]) {
    let Some(mut command) = examples::compiler(compiler[0]) else { return };
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(root().join("guest-sdk").join(language)).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
    }
    fs::write(dir.path().join(name), source).unwrap();
    let output = command.args(&compiler[1..]).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{source}");
}

/// What the header is included with, and what it leaves to the rule.
const RULE_IN_C: &str = r#"
    #include "postern_text.h"
    static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error) {
        (void)settings; (void)interest; (void)error; return false;
    }
    static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict) {
        (void)knock; (void)memory; (void)verdict;
    }
"#;

fn assertions_in_c() -> String {
    let (fields, records) = fields();
    let mut source = RULE_IN_C.to_owned();
    for Field { record, name, offset } in fields {
        let (record, member) = match (record, name.as_str()) {
            // A variant without a structure of its own: its list is the next field.
            ("open-verdict", "requests") => ("verdict", "open_requests".to_owned()),
            ("open-verdict", other) => ("verdict", snake(other)),
            (record, other) => (record, snake(other)),
        };
        let offset = if record == "verdict" { offset + 8 } else { offset };
        let record = snake(record);
        writeln!(source, "POSTERN_ASSERT(offsetof(postern_{record}, {member}) == {offset}, \"{member}\");")
            .unwrap();
    }
    for (record, size) in records.iter().filter(|(record, _)| *record != "open-verdict") {
        let record = snake(record);
        writeln!(source, "POSTERN_ASSERT(sizeof(postern_{record}) == {size}, \"{record}\");").unwrap();
    }
    source
}

const CLANG: [&str; 8] =
    ["--target=wasm32", "-ffreestanding", "-nostdlib", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I."];

#[test]
fn of_c() {
    let Some(clang) = clang("clang") else { return };
    compiles(
        "c",
        "check.c",
        &assertions_in_c(),
        &[&[&*clang, "-std=c11"], &CLANG[..], &["check.c"]].concat(),
    );
}

#[test]
fn of_c_as_cpp() {
    let Some(clang) = clang("clang++") else { return };
    for standard in ["-std=c++17", "-std=c++20"] {
        let arguments = [&[&*clang, standard], &CLANG[..], &["check.cpp"]].concat();
        compiles("c", "check.cpp", &assertions_in_c(), &arguments);
    }
}

#[test]
fn of_zig() {
    let (fields, records) = fields();
    let mut source = "const postern = @import(\"postern.zig\");\ncomptime {\n".to_owned();
    let of = |record: &str| match record {
        "open-verdict" => "Doors(postern.OpenRequest)".to_owned(),
        other => upper_camel(other),
    };
    for Field { record, name, offset } in fields {
        let (record, name) = (of(record), snake(&name));
        writeln!(
            source,
            "    if (@offsetOf(postern.{record}, \"{name}\") != {offset}) @compileError(\"{record}.{name}\");"
        )
        .unwrap();
    }
    for (record, size) in records {
        let record = of(record);
        writeln!(source, "    if (@sizeOf(postern.{record}) != {size}) @compileError(\"{record}\");")
            .unwrap();
    }
    source += "}\n";
    compiles(
        "zig",
        "check.zig",
        &source,
        &["zig", "build-obj", "-fno-emit-bin", "-target", "wasm32-freestanding", "check.zig"],
    );
}

#[test]
fn of_go() {
    let (fields, records) = fields();
    let mut source = "//go:build wasip1\n\npackage postern\n\nimport \"unsafe\"\n\n".to_owned();
    let of = |record: &str| match record {
        "open-verdict" => "abiDoors".to_owned(),
        other => format!("abi{}", upper_camel(other).replace("Tcp", "TCP")),
    };
    // A negative constant is no index.
    for Field { record, name, offset } in fields {
        let (record, name) = (of(record), go(&name));
        writeln!(source, "var _ = [1]int{{}}[unsafe.Offsetof({record}{{}}.{name})-{offset}]").unwrap();
    }
    for (record, size) in records {
        let record = of(record);
        writeln!(source, "var _ = [1]int{{}}[unsafe.Sizeof({record}{{}})-{size}]").unwrap();
    }
    compiles("go", "check.go", &source, &["go", "build", "."]);
}

#[test]
fn of_assembly_script() {
    let (fields, _) = fields();
    let mut source = "import { Configured, Knock, Prefix, Watch } from \"./postern\";\n".to_owned();
    let (mut header, mut checked) = (0, 0);
    for Field { record, name, offset } in fields {
        // Structures lie in no structure there: a knock has the fields of its addresses and of the header.
        let (record, name, offset) = match (record, name.as_str()) {
            ("knock", "source" | "destination") => ("Knock", format!("{}Family", camel(&name)), offset),
            ("knock", "tcp-header") => continue,
            ("knock", "payload") => ("Knock", "payloadAt".to_owned(), offset),
            ("tcp-header", "options") => ("Knock", "optionsAt".to_owned(), offset),
            ("tcp-header", _) => ("Knock", camel(&name), offset),
            // Of the result that it is in.
            ("interest", "watches") => ("Configured", "watchesAt".to_owned(), offset + 4),
            ("interest", _) => ("Configured", camel(&name), offset + 4),
            ("prefix", "address") => ("Prefix", "family".to_owned(), offset),
            ("knock", _) => ("Knock", camel(&name), offset),
            ("prefix", _) => ("Prefix", camel(&name), offset),
            ("watch", _) => ("Watch", camel(&name), offset),
            _ => continue,
        };
        if name == "hasTcpHeader" {
            // The header behind it.
            header = offset + 4;
        }
        let is_of_header =
            ["sequence", "acknowledgment", "window", "urgentPointer", "optionsAt"].contains(&&*name);
        let offset = if is_of_header { offset + HEADER_IN_KNOCK } else { offset };
        writeln!(source, "if (offsetof<{record}>(\"{name}\") != {offset}) ERROR(\"{record}.{name}\");")
            .unwrap();
        checked += 1;
    }
    assert_eq!((header, checked), (HEADER_IN_KNOCK, 30));
    compiles(
        "assemblyscript",
        "check.ts",
        &source,
        &["asc", "check.ts", "--noEmit", "--use", "abort=postern/abort"],
    );
}

/// Where a knock has its TCP header.
const HEADER_IN_KNOCK: usize = 76;

/// A folder of the SDK that has no compiler of its own is not forgotten here.
#[test]
fn every_language_has_a_page_and_an_example() {
    let index = fs::read_to_string(root().join("guest-sdk/README.md")).unwrap();
    for language in examples::LANGUAGES {
        let row = format!("\n| [{}]({language}/README.md) | ", examples::described(language).0);
        assert!(index.contains(&row), "guest-sdk/README.md has no row for {language}");
        for file in [format!("guest-sdk/{language}/README.md"), format!("rules/examples/{language}/build.sh")]
        {
            assert!(Path::new(&root()).join(&file).is_file(), "{file}");
        }
    }
}
