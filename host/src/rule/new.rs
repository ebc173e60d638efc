//! New: a folder with a rule that builds and passes its test as it stands. What is in it is the example of its language, with another name, the
//! files of the SDK beside it, and nothing that leads out of it.

mod names;
mod templates;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use postern_config::rule_named;
use postern_text::{piece, terminal};

use self::names::RuleNames;
use self::templates::{TEMPLATES, Template};
use crate::cli::NewArgs;
use crate::exit::Exit;

/// What the SDK's folder is called as seen from an example.
const SDK_OF_EXAMPLE: &str = "../../../guest-sdk";
/// The dependency of an example in Rust, as if the SDK lay within the folder like those of other languages.
const RUST_DEPENDENCY: &str = "postern-sdk = { path = \"./sdk/rust\" }";
/// Stands at the end of a new crate's manifest.
const RUST_WORKSPACE: &str = "\n# It is part of no workspace around it.\n[workspace]\n";

/// Makes the folder, and says how to go on.
///
/// # Errors
/// If it cannot be written, or standard output is closed.
pub fn new(args: &NewArgs) -> anyhow::Result<Exit> {
    let files = match files(args) {
        Ok(files) => files,
        Err(mistake) => {
            terminal::err(mistake)?;
            return Ok(Exit::Usage);
        }
    };
    let dir = args.dir.clone().unwrap_or_else(|| args.name.clone().into());
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        let dir = piece(dir.display()).to_string();
        terminal::err(format_args!(
            "{dir}: is there already and is not empty; name another folder with --dir"
        ))?;
        return Ok(Exit::Usage);
    }
    for file in &files {
        write(&dir, file).with_context(|| format!("{} cannot be written", dir.join(&file.path).display()))?;
    }
    let (name, dir) = (&args.name, piece(dir.display()).to_string());
    terminal::out(format_args!("{dir}: {} files of a rule in {}", files.len(), args.lang))?;
    for step in [format!("cd {dir}"), format!("./build.sh {name}.wasm"), "posternd rule test .".to_owned()] {
        terminal::out(format_args!("  {step}"))?;
    }
    terminal::out("README.md in it says how to go on")?;
    Ok(Exit::Success)
}

/// A file of the new folder.
struct NewFile {
    /// As seen from the folder.
    path: String,
    text: String,
}

/// What is written.
///
/// # Errors
/// What is wrong with what was asked for.
fn files(args: &NewArgs) -> Result<Vec<NewFile>, String> {
    let NewArgs { name, lang, sdk, .. } = args;
    rule_named(name).map_err(|rule| format!("`{}` is no name of a rule: {rule}", piece(name)))?;
    let template = TEMPLATES.iter().find(|template| template.language == lang).ok_or_else(|| {
        let known: Vec<_> = TEMPLATES.iter().map(|template| template.language).collect();
        format!("there is no language `{}`; there are {}", piece(lang), known.join(", "))
    })?;
    if sdk.is_some() && template.language != "rust" {
        return Err(format!("--sdk is for rust; the files of the SDK for {lang} are copied into the folder"));
    }
    let names = RuleNames::new(name);
    let mut files: Vec<_> = template
        .example
        .iter()
        .map(|file| NewFile {
            path: names.put_into(file.path),
            text: names.put_into(&inward(template, file.text)),
        })
        .collect();
    files.extend(
        template
            .sdk
            .iter()
            .map(|file| NewFile { path: format!("sdk/{}", file.path), text: file.text.to_owned() }),
    );
    if template.language == "rust" {
        let dependency = rust_dependency(sdk.as_deref())?;
        for file in files.iter_mut().filter(|file| file.path == "Cargo.toml") {
            file.text = file.text.replace(RUST_DEPENDENCY, &dependency) + RUST_WORKSPACE;
        }
    }
    let own = [("README.md", templates::README), ("NAME.toml", templates::RULE_FILE)];
    files.extend(own.map(|(path, text)| NewFile {
        path: path.replace("NAME", name),
        text: text.replace("NAME", name).replace("SOURCE", &names.put_into(template.source)),
    }));
    let scenario = templates::SCENARIO.to_owned();
    files.push(NewFile { path: format!("{name}.scenario"), text: template.limits.to_owned() + &scenario });
    Ok(files)
}

/// A text of an example in which the SDK lies within the folder.
fn inward(template: &Template, text: &str) -> String {
    let own = template.replace.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    own.replace("$here/../../../guest-sdk", "$here/sdk").replace(SDK_OF_EXAMPLE, "./sdk")
}

/// How a crate depends on the SDK: by its version, or by the path of a checkout.
fn rust_dependency(sdk: Option<&Path>) -> Result<String, String> {
    let Some(sdk) = sdk else {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(format!(
            "# From a checkout of Postern: postern-sdk = {{ path = \"guest-sdk/rust\" }}, with the path of that folder.\npostern-sdk = \"{version}\""
        ));
    };
    let told = piece(sdk.display()).to_string();
    let crate_dir = sdk.join("rust");
    if !crate_dir.join("Cargo.toml").is_file() {
        return Err(format!(
            "--sdk {told}: there is no rust/Cargo.toml in it; name the folder guest-sdk of a checkout"
        ));
    }
    let absolute =
        crate_dir.canonicalize().map_err(|error| format!("--sdk {told}: cannot be looked at: {error}"))?;
    let path = absolute
        .to_str()
        .ok_or_else(|| format!("--sdk {told}: its path is no UTF-8 text; Cargo needs one that is"))?;
    // A literal text of TOML holds everything but this.
    if path.contains(['\'', '\n']) {
        return Err(format!("--sdk {told}: its path has a quote; move it, or name a link to it"));
    }
    Ok(format!("postern-sdk = {{ path = '{path}' }}"))
}

fn write(dir: &Path, NewFile { path, text }: &NewFile) -> std::io::Result<()> {
    let file = dir.join(path);
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let mode = if text.starts_with("#!") { 0o777 } else { 0o666 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
