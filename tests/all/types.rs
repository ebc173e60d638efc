//! TypeScript's types and Python's stubs: they say what the contract says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use postern_tests::examples;
use wit_parser::{Resolve, Type, TypeDef, TypeDefKind, TypeOwner};

use crate::modules::root;

/// Declarations by name, without blanks and comments.
type Declarations = BTreeMap<String, String>;

#[test]
fn of_typescript() {
    let written = fs::read_to_string(root().join("guest-sdk/typescript/postern.d.ts")).unwrap();
    let host = fs::read_to_string(root().join("guest-sdk/typescript/host.d.ts")).unwrap();
    let written = declarations(&(written + &host));
    let expected = expected();
    for (name, declaration) in &expected {
        assert_eq!(written.get(name), Some(declaration), "{name}");
    }
    // And nothing else.
    let names = |declarations: &Declarations| declarations.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&expected));
}

/// What the file exports.
fn declarations(text: &str) -> Declarations {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").unwrap().1;
    }
    code += rest;
    let code: String = code.lines().map(|line| line.split("//").next().unwrap()).collect();
    let declaration = |text: &str| {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let compact = compact.replace("=|", "=");
        let kinds = ["interface", "type", "function"].into_iter();
        let kind = kinds.into_iter().find(|kind| compact.starts_with(kind));
        let kind = kind.unwrap_or_else(|| panic!("no declaration: {text}"));
        let compact = &compact[kind.len()..];
        let name: String = compact.chars().take_while(|c| c.is_alphanumeric()).collect();
        let declared = match kind {
            "interface" => compact[name.len()..].trim_start_matches('{').trim_end_matches(['}', ';']),
            _ => compact[name.len()..].trim_start_matches('=').trim_end_matches(';'),
        };
        let declared = declared.to_owned();
        (name, declared)
    };
    // The module around the host's is none.
    let code = code.trim_end().strip_suffix('}').unwrap_or(&code).to_owned();
    code.split("export ")
        .skip(1)
        .map(|text| declaration(text.split("declare module").next().unwrap()))
        .collect()
}

/// What it should export.
fn expected() -> Declarations {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("guest-sdk/wit")).unwrap();
    let world = resolve.select_world(&[package], Some("rule")).unwrap();
    // Each once: a world that uses a type has another definition of it.
    let is_original = |it: &&TypeDef| matches!(it.owner, TypeOwner::Interface(_)) && it.name.is_some();
    let mut declarations: Declarations = resolve
        .types
        .iter()
        .map(|(_, it)| it)
        .filter(is_original)
        .map(|it| (upper_camel(it.name.as_deref().unwrap()), body(&resolve, it)))
        .collect();
    for (_, interface) in &resolve.interfaces {
        for (name, function) in &interface.functions {
            let parameters = parameters(
                &resolve,
                &function.params.iter().map(|it| (it.name.clone(), it.ty)).collect::<Vec<_>>(),
            );
            declarations.insert(camel(name), format!("({parameters}):void"));
        }
    }
    for (_, item) in &resolve.worlds[world].exports {
        let wit_parser::WorldItem::Function(function) = item else { panic!("{item:?}") };
        let parameters = parameters(
            &resolve,
            &function.params.iter().map(|it| (it.name.clone(), it.ty)).collect::<Vec<_>>(),
        );
        let result = name_of(&resolve, &function.result.unwrap());
        declarations.insert(camel(&function.name), format!("({parameters})=>{result}"));
    }
    declarations
}

fn parameters(resolve: &Resolve, parameters: &[(String, Type)]) -> String {
    parameters.iter().map(|(name, ty)| member(resolve, name, ty)).collect::<Vec<_>>().join(",")
}

/// A field or a parameter, which may be absent.
fn member(resolve: &Resolve, name: &str, ty: &Type) -> String {
    let mark = if matches!(kind(resolve, ty), Some(TypeDefKind::Option(_))) { "?" } else { "" };
    format!("{}{mark}:{}", camel(name), name_of(resolve, ty))
}

fn kind<'a>(resolve: &'a Resolve, ty: &Type) -> Option<&'a TypeDefKind> {
    match ty {
        Type::Id(id) => Some(&resolve.types[*id].kind),
        _ => None,
    }
}

/// What a type is called where it is used.
fn name_of(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else {
        return match ty {
            Type::Bool => "boolean",
            Type::String => "string",
            _ => "number",
        }
        .to_owned();
    };
    match &resolve.types[*id] {
        TypeDef { name: Some(name), .. } => upper_camel(name),
        TypeDef { kind: TypeDefKind::Option(value), .. } => format!("{}|null", name_of(resolve, value)),
        TypeDef { kind: TypeDefKind::List(Type::U8), .. } => "Uint8Array".to_owned(),
        TypeDef { kind: TypeDefKind::List(item), .. } => format!("{}[]", name_of(resolve, item)),
        TypeDef { kind: TypeDefKind::Tuple(it), .. } => {
            format!("[{}]", it.types.iter().map(|ty| name_of(resolve, ty)).collect::<Vec<_>>().join(","))
        }
        // The error is thrown.
        TypeDef { kind: TypeDefKind::Result(it), .. } => name_of(resolve, &it.ok.unwrap()),
        other => panic!("{other:?}"),
    }
}

/// What a type is where it is declared.
fn body(resolve: &Resolve, definition: &TypeDef) -> String {
    let joined = |cases: Vec<String>| cases.join("|");
    match &definition.kind {
        TypeDefKind::Enum(it) => joined(it.cases.iter().map(|case| format!("\"{}\"", case.name)).collect()),
        TypeDefKind::Flags(it) => it
            .flags
            .iter()
            .map(|flag| format!("{}?:boolean", camel(&flag.name)))
            .collect::<Vec<_>>()
            .join(";"),
        TypeDefKind::Record(it) => it
            .fields
            .iter()
            .map(|field| member(resolve, &field.name, &field.ty))
            .collect::<Vec<_>>()
            .join(";"),
        TypeDefKind::Variant(it) => joined(
            it.cases
                .iter()
                .map(|case| match &case.ty {
                    None => format!("{{tag:\"{}\"}}", case.name),
                    Some(ty) => format!("{{tag:\"{}\";val:{}}}", case.name, name_of(resolve, ty)),
                })
                .collect(),
        ),
        other => panic!("{other:?}"),
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

#[test]
fn of_python() {
    let Some(mut command) = examples::compiler("componentize-py") else { return };
    let dir = tempfile::tempdir().unwrap();
    let wit = root().join("guest-sdk/wit");
    let output =
        command.arg("-d").arg(wit).args(["-w", "rule", "bindings"]).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = root().join("guest-sdk/python");
    for file in [
        "componentize_py_types.py",
        "wit_world/__init__.py",
        "wit_world/imports/__init__.py",
        "wit_world/imports/host.py",
        "wit_world/imports/types.py",
    ] {
        let read = |folder: &Path| fs::read_to_string(folder.join(file)).unwrap();
        assert!(read(&kept) == read(dir.path()), "{file} is not what componentize-py makes now");
    }
}

/// The types that a rule answers with, by name.
fn of_answers(resolve: &Resolve) -> BTreeMap<String, &TypeDefKind> {
    let is_root = |it: &&TypeDef| {
        matches!(it.owner, TypeOwner::Interface(_))
            && matches!(it.name.as_deref(), Some("interest" | "verdict"))
    };
    let mut found = BTreeMap::new();
    for (_, root) in resolve.types.iter().filter(|(_, it)| is_root(it)) {
        collect(resolve, root, &mut found);
    }
    found
}

/// Adds a type and those that it is made of.
fn collect<'a>(resolve: &'a Resolve, definition: &'a TypeDef, found: &mut BTreeMap<String, &'a TypeDefKind>) {
    let parts: Vec<Type> = match &definition.kind {
        TypeDefKind::Record(it) => it.fields.iter().map(|field| field.ty).collect(),
        TypeDefKind::Variant(it) => it.cases.iter().filter_map(|case| case.ty).collect(),
        TypeDefKind::Option(ty) | TypeDefKind::List(ty) => vec![*ty],
        _ => Vec::new(),
    };
    if let Some(name) = &definition.name {
        found.insert(camel(name), &definition.kind);
    }
    for part in parts {
        if let Type::Id(id) = part {
            collect(resolve, &resolve.types[id], found);
        }
    }
}

/// The contract.
fn contract() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_path(root().join("guest-sdk/wit")).unwrap();
    resolve
}

#[test]
fn of_answers_in_javascript() {
    let resolve = contract();
    let written = fs::read_to_string(root().join("guest-sdk/javascript/postern.mjs")).unwrap();
    let written: String = written.chars().filter(|c| !c.is_whitespace()).collect();
    let written = written.replace(",}", "}");
    let answers = of_answers(&resolve);
    assert_eq!(answers.len(), 16, "{answers:?}");
    for (name, kind) in answers {
        let quoted =
            |names: Vec<&str>| names.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(",");
        let key = |name: &str| if name.contains('-') { format!("{name:?}") } else { name.to_owned() };
        let checked = |ty: &Type| check_of(&resolve, ty);
        let declared = match kind {
            TypeDefKind::Enum(it) => {
                format!("enumeration({})", quoted(it.cases.iter().map(|case| case.name.as_str()).collect()))
            }
            TypeDefKind::Flags(it) => {
                format!("flags({})", quoted(it.flags.iter().map(|flag| flag.name.as_str()).collect()))
            }
            TypeDefKind::Record(it) => {
                let field = |name: &str, ty| format!("{}:{}", camel(name), checked(ty));
                let fields: Vec<_> = it.fields.iter().map(|it| field(&it.name, &it.ty)).collect();
                format!("record({{{}}})", fields.join(","))
            }
            TypeDefKind::Variant(it) => {
                let case = |name: &str, ty: &Option<Type>| {
                    format!("{}:{}", key(name), ty.as_ref().map_or_else(|| "none".to_owned(), checked))
                };
                let cases: Vec<_> = it.cases.iter().map(|it| case(&it.name, &it.ty)).collect();
                format!("variant({{{}}})", cases.join(","))
            }
            other => panic!("{other:?}"),
        };
        let declaration = format!("const{name}={declared};");
        assert!(written.contains(&declaration), "{declaration}");
    }
}

/// What checks a value of this type.
fn check_of(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else { return format!("{ty:?}").to_lowercase() };
    match &resolve.types[*id] {
        TypeDef { name: Some(name), .. } => camel(name),
        TypeDef { kind: TypeDefKind::Option(value), .. } => format!("option({})", check_of(resolve, value)),
        TypeDef { kind: TypeDefKind::List(Type::U8), .. } => "bytes".to_owned(),
        TypeDef { kind: TypeDefKind::List(item), .. } => format!("list({})", check_of(resolve, item)),
        TypeDef { kind: TypeDefKind::Tuple(it), .. } => {
            format!("tuple({},{})", check_of(resolve, &it.types[0]), it.types.len())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_answers_in_python() {
    let resolve = contract();
    let written = fs::read_to_string(root().join("guest-sdk/python/postern.py")).unwrap();
    let bits = |ty: &Type| match ty {
        Type::Id(id) => match &resolve.types[*id].kind {
            TypeDefKind::Option(ty) => *ty,
            _ => *ty,
        },
        _ => *ty,
    };
    // The only thing that its types do not say by themselves.
    for kind in of_answers(&resolve).into_values() {
        let TypeDefKind::Record(record) = kind else { continue };
        for field in &record.fields {
            let named = format!("\"{}\": ", field.name.replace('-', "_"));
            match bits(&field.ty) {
                Type::U8 => assert!(written.contains(&(named + "8,")), "{field:?}"),
                Type::U16 => assert!(written.contains(&(named + "16,")), "{field:?}"),
                Type::U64 => assert!(written.contains(&(named + "64")), "{field:?}"),
                _ => assert!(!written.contains(&named), "{field:?}"),
            }
        }
    }
}
