//! The page of the contract's layout in memory: its tables are made of the contract. `UPDATE_EXPECT=1` writes them.

use std::fmt::Write as _;
use std::fs;

use expect_test::expect_file;
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{
    Function, Int, Record, Resolve, SizeAlign, Type, TypeDefKind, Variant, WorldItem, WorldKey,
};

use crate::modules::root;

/// Where the tables begin; all behind it is made here.
const TABLES: &str = "\n## Functions\n";

/// The contract, and what its types measure in a memory with addresses of 32 bits.
struct Contract {
    resolve: Resolve,
    sizes: SizeAlign,
}

#[test]
fn says_where_each_field_lies() {
    let page = fs::read_to_string(root().join("guest-sdk/layout.md")).unwrap();
    let (words, _) = page.split_once(TABLES).expect("the page has tables");
    let expected = format!("{words}{TABLES}\n{}", Contract::read().tables());
    expect_file!["../../guest-sdk/layout.md"].assert_eq(&expected);
}

impl Contract {
    fn read() -> Self {
        let mut resolve = Resolve::default();
        resolve.push_path(root().join("guest-sdk/wit")).unwrap();
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve);
        Self { resolve, sizes }
    }

    fn tables(&self) -> String {
        let mut page = "| | in the contract | in the module |\n|---|---|---|\n".to_owned();
        let (_, world) = self.resolve.worlds.iter().find(|(_, world)| world.name == "rule").unwrap();
        for (key, item) in &world.imports {
            let (WorldKey::Interface(id), WorldItem::Interface { .. }) = (key, item) else { continue };
            for function in self.resolve.interfaces[*id].functions.values() {
                self.function(&mut page, "import", function, AbiVariant::GuestImport);
            }
        }
        let exported: Vec<_> = world
            .exports
            .values()
            .map(|item| match item {
                WorldItem::Function(function) => function,
                other => panic!("{other:?}"),
            })
            .collect();
        for function in &exported {
            self.function(&mut page, "export", function, AbiVariant::GuestExport);
        }
        page += "\n## Arguments and answers\n";
        for function in exported {
            // Fewer are passed as they are.
            if self.resolve.wasm_signature(AbiVariant::GuestExport, function).indirect_params {
                let fields: Vec<_> = function.params.iter().map(|it| (it.name.as_str(), it.ty)).collect();
                self.record(&mut page, &format!("arguments of {}", function.name), &fields);
            }
            let answer = function.result.unwrap();
            if self.named(&answer).is_none() {
                self.variant(&mut page, &format!("answer of {}", function.name), &answer);
            }
        }
        page += "\n## Types\n";
        for (_, interface) in &self.resolve.interfaces {
            for id in interface.types.values() {
                self.definition(&mut page, Type::Id(*id));
            }
        }
        page
    }

    fn function(&self, page: &mut String, kind: &str, function: &Function, variant: AbiVariant) {
        let signature = self.resolve.wasm_signature(variant, function);
        let types = |types: &[WasmType]| {
            types
                .iter()
                .map(|ty| match ty {
                    WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
                    WasmType::I64 | WasmType::PointerOrI64 => "i64",
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
                .join(", ")
        };
        let in_contract: Vec<_> =
            function.params.iter().map(|it| format!("{}: {}", it.name, self.name(&it.ty))).collect();
        let (parameters, results) = (types(&signature.params), types(&signature.results));
        let result = function.result.map(|ty| format!(" -> {}", self.name(&ty))).unwrap_or_default();
        writeln!(
            page,
            "| {kind} | `{}({}){result}` | `({parameters}) -> ({results})` |",
            function.name,
            in_contract.join(", ")
        )
        .unwrap();
    }

    fn definition(&self, page: &mut String, ty: Type) {
        let Type::Id(id) = ty else { return };
        let name = self.name(&ty);
        let values = |page: &mut String, what: &str, values: Vec<String>| {
            self.heading(page, &name, &ty);
            writeln!(page, "{what}: {}.", values.join(", ")).unwrap();
        };
        match &self.resolve.types[id].kind {
            TypeDefKind::Record(Record { fields }) => {
                let fields: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.ty)).collect();
                self.record(page, &name, &fields);
            }
            TypeDefKind::Variant(_) => self.variant(page, &name, &ty),
            TypeDefKind::Enum(it) => {
                let cases = it.cases.iter().enumerate();
                values(page, "A number", cases.map(|(n, case)| format!("{n} `{}`", case.name)).collect());
            }
            TypeDefKind::Flags(it) => {
                let bits = it.flags.iter().enumerate();
                values(
                    page,
                    "Bits",
                    bits.map(|(n, bit)| format!("{:#04x} `{}`", 1 << n, bit.name)).collect(),
                );
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    fn record(&self, page: &mut String, name: &str, fields: &[(&str, Type)]) {
        let types = || fields.iter().map(|(_, ty)| ty);
        let info = self.sizes.record(types());
        heading(page, name, info.size.size_wasm32(), info.align.align_wasm32());
        begin_table(page);
        for ((name, ty), (offset, _)) in fields.iter().zip(self.sizes.field_offsets(types())) {
            self.row(page, offset.size_wasm32(), &format!("`{name}`"), ty);
        }
    }

    /// A variant or a result: which case, and what each case has.
    fn variant(&self, page: &mut String, name: &str, ty: &Type) {
        let Type::Id(id) = ty else { panic!("{name}") };
        let cases: Vec<(String, Option<Type>)> = match &self.resolve.types[*id].kind {
            TypeDefKind::Variant(Variant { cases }) => {
                cases.iter().map(|case| (case.name.clone(), case.ty)).collect()
            }
            TypeDefKind::Result(it) => vec![("ok".to_owned(), it.ok), ("err".to_owned(), it.err)],
            other => panic!("{name}: {other:?}"),
        };
        let payload = self.sizes.payload_offset(Int::U8, cases.iter().map(|(_, ty)| ty.as_ref()));
        self.heading(page, name, ty);
        begin_table(page);
        let numbers: Vec<_> =
            cases.iter().enumerate().map(|(n, (name, _))| format!("{n} `{name}`")).collect();
        writeln!(page, "| 0 | 1 | which: {} | |", numbers.join(", ")).unwrap();
        for (name, ty) in cases.iter().filter_map(|(name, ty)| Some((name, (*ty)?))) {
            self.row(page, payload.size_wasm32(), &format!("of `{name}`"), &ty);
        }
    }

    /// A value; of an option, whether it is there and the value.
    fn row(&self, page: &mut String, at: usize, what: &str, ty: &Type) {
        let (at, what, ty) = match self.option(ty) {
            None => (at, what.to_owned(), *ty),
            Some(value) => {
                writeln!(page, "| {at} | 1 | {what}: 0 none, 1 some | |").unwrap();
                (
                    (at + 1).next_multiple_of(self.sizes.align(&value).align_wasm32()),
                    format!("{what}, if some"),
                    value,
                )
            }
        };
        writeln!(page, "| {at} | {} | {what} | `{}` |", self.sizes.size(&ty).size_wasm32(), self.name(&ty))
            .unwrap();
    }

    fn heading(&self, page: &mut String, name: &str, ty: &Type) {
        heading(page, name, self.sizes.size(ty).size_wasm32(), self.sizes.align(ty).align_wasm32());
    }

    fn option(&self, ty: &Type) -> Option<Type> {
        let Type::Id(id) = ty else { return None };
        match &self.resolve.types[*id].kind {
            TypeDefKind::Option(value) => Some(*value),
            _ => None,
        }
    }

    fn named(&self, ty: &Type) -> Option<&str> {
        let Type::Id(id) = ty else { return None };
        self.resolve.types[*id].name.as_deref()
    }

    /// As the contract writes it.
    fn name(&self, ty: &Type) -> String {
        let Type::Id(id) = ty else {
            return match ty {
                Type::Bool => "bool",
                Type::U8 => "u8",
                Type::U16 => "u16",
                Type::U32 => "u32",
                Type::U64 => "u64",
                Type::String => "string",
                other => panic!("{other:?}"),
            }
            .to_owned();
        };
        let it = &self.resolve.types[*id];
        if let Some(name) = &it.name {
            return name.clone();
        }
        match &it.kind {
            TypeDefKind::Option(value) => format!("option<{}>", self.name(value)),
            TypeDefKind::List(item) => format!("list<{}>", self.name(item)),
            TypeDefKind::Tuple(it) => {
                format!("tuple<{}>", it.types.iter().map(|ty| self.name(ty)).collect::<Vec<_>>().join(", "))
            }
            TypeDefKind::Result(it) => {
                let name = |ty: Option<Type>| self.name(&ty.unwrap());
                format!("result<{}, {}>", name(it.ok), name(it.err))
            }
            other => panic!("{other:?}"),
        }
    }
}

fn heading(page: &mut String, name: &str, size: usize, alignment: usize) {
    let (bytes, aligned) = (
        if size == 1 { "byte" } else { "bytes" },
        if alignment == 1 { String::new() } else { format!(", at a multiple of {alignment}") },
    );
    writeln!(page, "\n### {name}\n\n{size} {bytes}{aligned}\n").unwrap();
}

fn begin_table(page: &mut String) {
    *page += "| at | bytes | what | type |\n|---|---|---|---|\n";
}
