//! Inspect: says what a module is: what is read of its bytes first, which takes milliseconds, and then what it asks for with given settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use postern_config::{BadSignature, MOST_SIGNATURE, RuleHead, signature_file, verify};
use postern_core::{Destination, Interest, WatchedPorts, show_digest};
use postern_sandbox::{FeatureUse, Loader, PACKAGE, Runtime, StartError, Survey};
use postern_text::{Cleaned, line, piece, terminal};

use super::module_file::{self, ModuleFile};
use super::played::level;
use super::rehearsal::{GuestLines, Rehearsal};
use super::settings;
use super::sizes::{mib, thousands};
use crate::cli::InspectArgs;
use crate::compile::Compile;
use crate::exit::Exit;

/// Most of one kind that are named: a module may import and export a hundred thousand things.
const MOST_NAMED: usize = 24;
/// Most characters of one of them.
const LONGEST_NAME: usize = 120;
/// Most watches that are shown.
const MOST_WATCHES: usize = 64;

/// Says what a module is; the exit code says whether it is a rule that takes these settings.
///
/// # Errors
/// If the system does not let us run modules, or standard output is closed.
pub fn inspect(args: &InspectArgs, compiler: &dyn Compile) -> anyhow::Result<Exit> {
    let head = match settings::read(args.module.settings.as_deref()) {
        Ok(head) => head,
        Err(mistakes) => return tell(&mistakes, Exit::Usage),
    };
    let file = match ModuleFile::read(ModuleFile::named(&args.module.module)) {
        Ok(file) => file,
        Err(mistake) => return tell(&[mistake], Exit::Usage),
    };
    terminal::out(piece(file.name().display()))?;
    let bytes = file.bytes();
    let size = bytes.len() as u64;
    match size {
        ..1024 => row("size", mib(size))?,
        _ => row("size", format_args!("{} ({} bytes)", mib(size), thousands(size)))?,
    }
    row("SHA-256", show_digest(&file.digest()))?;
    row("signature", signature(&file))?;
    let survey = match Survey::of(bytes) {
        Ok(survey) => survey,
        Err(error) => return tell(&[file.mistake(&error)], Exit::Mistakes),
    };
    say_survey(&survey)?;
    match Survey::features(bytes) {
        Ok(features) => say_features(&features)?,
        Err(error) => return tell(&[file.mistake(&error)], Exit::Mistakes),
    }
    let runtime = Runtime::start()?;
    let loader = Loader::new(runtime, Arc::new(()))?;
    let module = match file.load(&loader, compiler, false) {
        Ok(module) => module,
        Err(error) => return tell(&[file.mistake(&error)], Exit::Mistakes),
    };
    let log = Arc::new(GuestLines::default());
    let started = Rehearsal::start(module, head.clone(), Arc::clone(&log) as _);
    row("settings", &head.settings)?;
    let exit = match started {
        Ok(rehearsal) => {
            say_interest(rehearsal.interest())?;
            let memory = mib(rehearsal.instance_memory() as u64);
            row("needs", format_args!("{memory} of memory and tables once it is configured"))?;
            Exit::Success
        }
        Err(error) => {
            say_refusal(&error, &head)?;
            Exit::Mistakes
        }
    };
    for (severity, text) in log.take() {
        row("logs", format_args!("{}: {}", level(severity), line(text)))?;
    }
    Ok(exit)
}

/// One line of what is said, with its name before it.
fn row(name: &str, what: impl std::fmt::Display) -> std::io::Result<()> {
    terminal::out(format_args!("  {name:<11} {what}"))
}

fn say_survey(survey: &Survey) -> std::io::Result<()> {
    let parts = match survey.parts {
        0 | 1 => String::new(),
        parts => format!(" of {parts} core modules"),
    };
    row("form", format_args!("{}{parts}", survey.form))?;
    let versions: Vec<_> = survey.contracts.iter().map(|version| clean(version)).collect();
    let contract = match versions.as_slice() {
        [] => format!("names no version, and is taken for one of {PACKAGE}"),
        versions => format!("postern:rule {}", versions.join(", ")),
    };
    row("contract", contract)?;
    let mut producers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for producer in &survey.producers {
        let name = format!("{} {}", clean(&producer.name), clean(&producer.version));
        producers.entry(&producer.field).or_default().push(name.trim_end().to_owned());
    }
    let producers: Vec<_> =
        producers.iter().map(|(field, names)| format!("{field} {}", some(names.iter().cloned()))).collect();
    row("producer", if producers.is_empty() { "is not told".to_owned() } else { producers.join("; ") })?;
    row(
        "imports",
        some(survey.imports.iter().filter(|import| !import.is_type).map(|import| clean(&import.name))),
    )?;
    row("exports", some(survey.exports.iter().map(|export| clean(export))))
}

fn say_features(features: &[FeatureUse]) -> std::io::Result<()> {
    let offered = features.iter().filter(|feature| feature.remedy.is_none());
    row("features", some(offered.map(|feature| feature.name.to_owned())))?;
    for feature in features {
        if let Some(remedy) = feature.remedy {
            row("not offered", format_args!("{}; switch it off: {remedy}", feature.name))?;
        }
    }
    Ok(())
}

fn say_interest(interest: &Interest) -> std::io::Result<()> {
    for (n, watch) in interest.watches.iter().take(MOST_WATCHES).enumerate() {
        let ports =
            WatchedPorts { transport: watch.transport, first: watch.first_port, last: watch.last_port };
        let flags = [("with", watch.set), ("without", watch.clear)].map(|(word, flags)| match flags.0 {
            0 => String::new(),
            _ => format!(" {word} {}", flags),
        });
        row(if n == 0 { "watches" } else { "" }, format_args!("{ports}{}{}", flags[0], flags[1]))?;
    }
    if let Some(more @ 1..) = interest.watches.len().checked_sub(MOST_WATCHES) {
        row("", format_args!("and {more} more"))?;
    }
    row(
        "destination",
        match &interest.destination {
            Destination::ThisHost => "this host".to_owned(),
            Destination::Anywhere => "anywhere".to_owned(),
            Destination::Within(prefixes) => some(prefixes.iter().map(ToString::to_string)),
        },
    )?;
    let header = if interest.detail.tcp_header { ", and the TCP header" } else { "" };
    row("detail", format_args!("{} bytes of payload{header}", interest.detail.payload_limit))?;
    row("remembers", format_args!("in the format {}", interest.memory_format))
}

fn say_refusal(error: &StartError, head: &RuleHead) -> std::io::Result<()> {
    match error {
        StartError::Refused(what) if what.trim().is_empty() => {
            row("refuses", "them, and does not say why; see what its configure answers")
        }
        StartError::Refused(what) => match head.settings_mistakes(what) {
            Some(mistakes) => mistakes
                .iter()
                .take(MOST_WATCHES)
                .try_for_each(|mistake| row("refuses", line(&mistake.to_string()))),
            None => {
                let what_to_do = if head.settings == "{}" { "; say --settings" } else { "" };
                what.lines()
                    .take(MOST_WATCHES)
                    .try_for_each(|text| row("refuses", format_args!("{}{what_to_do}", line(text))))
            }
        },
        other => row("fault", line(other)),
    }
}

/// Whether there is a signature beside a module, and whose it says it is.
fn signature(file: &ModuleFile) -> String {
    let Some(path) = file.path() else { return "needs none: it is part of the daemon".to_owned() };
    let signature = signature_file(path);
    let told = piece(signature.file_name().unwrap_or_default().display()).to_string();
    if !signature.exists() {
        return format!("none: there is no {told} beside it");
    }
    let bytes = match module_file::read(&signature, MOST_SIGNATURE) {
        Ok(bytes) => bytes,
        Err(what) => return format!("{told} {what}"),
    };
    match verify(file.bytes(), &bytes, &[]) {
        Err(BadSignature::Stranger { by }) => {
            format!(
                "{told}, which says it is of the key {by}; posternd rule verify --key KEY says whether it is"
            )
        }
        Err(bad) => format!("{told} {bad}"),
        // No key is trusted here.
        Ok(good) => format!("{told}, of the key {}", good.key.id),
    }
}

/// Names, the first of them, separated by commas.
fn some(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    let more = names.len().saturating_sub(MOST_NAMED);
    names.truncate(MOST_NAMED);
    match (names.len(), more) {
        (0, _) => "none".to_owned(),
        (_, 0) => names.join(", "),
        _ => format!("{}, and {more} more", names.join(", ")),
    }
}

/// A name of a module's author, cut.
fn clean(name: &str) -> String {
    Cleaned::new(name, LONGEST_NAME).to_string()
}

fn tell(mistakes: &[String], exit: Exit) -> anyhow::Result<Exit> {
    for mistake in mistakes {
        terminal::err(mistake)?;
    }
    Ok(exit)
}
