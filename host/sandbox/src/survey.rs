//! Survey: what a module is, read from its bytes alone and in milliseconds. It compiles nothing and decides nothing: whether such a module
//! may be a rule is for the loader to say.

use std::collections::BTreeSet;
use std::fmt;

use wasmparser::{
    BinaryReaderError, ComponentTypeRef, CustomSectionReader, KnownCustom, MemoryType, Parser, Payload,
    TypeRef,
};

use crate::features::{self, FeatureUse};
use crate::file_kind::{FileKind, is_wasm_text};
use crate::load_error::LoadError;

/// What the names of the contract's interfaces begin with.
const CONTRACT: &str = "postern:rule/";
/// The custom section in which a core module describes the world that it was made for; encoders put more behind the name.
const WORLD_SECTION: &str = "component-type";
/// The size of a page of memory, where nothing else is said, in bytes.
const PAGE: u64 = 64 << 10;

/// What a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Whether it is a component.
    pub form: ModuleForm,
    /// The versions of the contract that it names, of each the text behind the `@`; empty where a name has none. A core module that imports
    /// nothing and does not describe its world names no version at all.
    pub contracts: BTreeSet<String>,
    /// What it imports, in its own order. What is imported within a component by its parts is not among it.
    pub imports: Vec<ModuleImport>,
    /// What it exports, in its own order.
    pub exports: Vec<String>,
    /// What made it, and its parts, as they say it themselves: each once.
    pub producers: BTreeSet<Producer>,
    /// Whether a core module describes the world that it was made for.
    pub describes_its_world: bool,
    /// How many core modules it consists of: 1 for a core module.
    pub parts: usize,
    /// The memory that all its parts have when they start, in bytes.
    pub initial_memory: u64,
    /// The most global variables of one part.
    pub most_globals: u32,
}

/// Which of the two binary formats a module has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleForm {
    /// A core module.
    Core,
    /// A component.
    Component,
}

/// Something that a module imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleImport {
    /// For a core module its two names with a blank between; for a component the name of the instance or function.
    pub name: String,
    /// Whether it is a type alone, which gives no authority.
    pub is_type: bool,
}

/// A program or a language that took part in making a module, by the section `producers`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// Its name.
    pub name: String,
    /// Its version, which may be empty.
    pub version: String,
}

impl Survey {
    /// Reads a module. The code of its functions is passed over.
    ///
    /// # Errors
    /// If it is not WebAssembly, or no binary of a version that there is, or what surrounds its functions is malformed.
    pub fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        let form = ModuleForm::of(bytes)?;
        let mut survey = Self {
            form,
            contracts: BTreeSet::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            producers: BTreeSet::new(),
            describes_its_world: false,
            parts: usize::from(form == ModuleForm::Core),
            initial_memory: 0,
            most_globals: 0,
        };
        survey.read(bytes).map_err(invalid)?;
        Ok(survey)
    }

    /// Which parts of WebAssembly it uses beyond the first version, those that rules get and others. All its code is read, so that this takes
    /// much longer than the rest.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn features(bytes: &[u8]) -> Result<Vec<FeatureUse>, LoadError> {
        features::used(bytes).map_err(LoadError::Invalid)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), BinaryReaderError> {
        // How deep within nested components and modules, whose imports are the business of the component around them.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } => {
                    depth += 1;
                    self.parts += 1;
                }
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        if let TypeRef::Memory(memory) = import.ty {
                            self.add_memory(&memory);
                        }
                        if depth == 0 {
                            self.note_name(import.module.strip_prefix("cm32p2|").unwrap_or(import.module));
                            let name = format!("{} {}", import.module, import.name);
                            self.imports.push(ModuleImport { name, is_type: false });
                        }
                    }
                }
                Payload::ExportSection(exports) if depth == 0 => {
                    for export in exports {
                        self.exports.push(export?.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let import = import?;
                        self.note_name(import.name.name);
                        let is_type = matches!(import.ty, ComponentTypeRef::Type(_));
                        self.imports.push(ModuleImport { name: import.name.name.to_owned(), is_type });
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        self.add_memory(&memory?);
                    }
                }
                Payload::GlobalSection(globals) => {
                    self.most_globals = self.most_globals.max(globals.count());
                }
                Payload::CustomSection(section) => self.read_custom(&section, depth),
                _ => {}
            }
        }
        Ok(())
    }

    /// What is wrong with a custom section is wrong with nothing else: it is passed over.
    fn read_custom(&mut self, section: &CustomSectionReader<'_>, depth: usize) {
        if depth == 0 && section.name().starts_with(WORLD_SECTION) {
            self.describes_its_world = true;
            self.note_names_within(section.data());
        }
        if let KnownCustom::Producers(fields) = section.as_known() {
            for field in fields.into_iter().map_while(Result::ok) {
                for value in field.values.into_iter().map_while(Result::ok) {
                    self.producers.insert(Producer {
                        field: field.name.to_owned(),
                        name: value.name.to_owned(),
                        version: value.version.to_owned(),
                    });
                }
            }
        }
    }

    fn add_memory(&mut self, memory: &MemoryType) {
        let page = memory.page_size_log2.map_or(PAGE, |log2| 1_u64.checked_shl(log2).unwrap_or(u64::MAX));
        self.initial_memory = self.initial_memory.saturating_add(memory.initial.saturating_mul(page));
    }

    /// The contract's version, if this is the name of one of its interfaces.
    fn note_name(&mut self, name: &str) {
        if let Some(name) = name.strip_prefix(CONTRACT) {
            let version = name.split_once('@').map_or("", |(_, version)| version);
            self.contracts.insert(version.to_owned());
        }
    }

    /// The same for all names of a description of a world, which is a component of nothing but types.
    fn note_names_within(&mut self, description: &[u8]) {
        for payload in Parser::new(0).parse_all(description).map_while(Result::ok) {
            match payload {
                Payload::ComponentTypeSection(types) => {
                    for ty in types.into_iter().map_while(Result::ok) {
                        self.note_names_of(&ty);
                    }
                }
                Payload::ComponentExportSection(exports) => {
                    exports.into_iter().map_while(Result::ok).for_each(|it| self.note_name(it.name.name));
                }
                _ => {}
            }
        }
    }

    fn note_names_of(&mut self, ty: &wasmparser::ComponentType<'_>) {
        let wasmparser::ComponentType::Component(declarations) = ty else { return };
        for declaration in declarations {
            match declaration {
                wasmparser::ComponentTypeDeclaration::Import(import) => self.note_name(import.name.name),
                wasmparser::ComponentTypeDeclaration::Export { name, .. } => self.note_name(name.name),
                wasmparser::ComponentTypeDeclaration::Type(ty) => self.note_names_of(ty),
                _ => {}
            }
        }
    }
}

impl ModuleForm {
    /// Which format bytes have, by their beginning.
    ///
    /// # Errors
    /// If it is none of the two.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        match bytes.get(..8) {
            Some(b"\0asm\x0d\0\x01\0") => Ok(Self::Component),
            Some(b"\0asm\x01\0\0\0") => Ok(Self::Core),
            Some([b'\0', b'a', b's', b'm', version @ ..]) => Err(LoadError::BinaryVersion(version.to_vec())),
            _ if bytes.starts_with(b"\0asm") => {
                Err(LoadError::Invalid(format!("it ends after {} bytes", bytes.len())))
            }
            _ if is_wasm_text(bytes) => Err(LoadError::Text),
            _ => Err(LoadError::NotWasm(FileKind::of(bytes))),
        }
    }
}

impl fmt::Display for ModuleForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Core => "core module",
            Self::Component => "component",
        })
    }
}

fn invalid(error: BinaryReaderError) -> LoadError {
    LoadError::Invalid(error.to_string())
}

#[cfg(test)]
mod tests;
