//! Test: plays scenarios to the modules of rules, and compares what comes of them with what their files expect.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use postern_core::ModuleSource;
use postern_sandbox::{Loader, Module, Runtime};
use postern_text::{Mistake, piece, terminal};

use super::junit::JunitReport;
use super::module_file::{self, ModuleFile};
use super::played::Played;
use super::scenario::{MOST_TEXT, Scenario};
use crate::cli::{ReplayArgs, TestArgs};
use crate::compile::Compile;
use crate::exit::Exit;
use crate::replay::replay;
use crate::whole_file;

/// What the name of a scenario's file ends with.
const EXTENSION: &str = "scenario";

/// A scenario and the module that it is for.
struct Test {
    scenario: Scenario,
    module: Arc<Module>,
}

/// Plays scenarios, says what came out, and whether that was expected. Captures among them are replayed: of those nothing is expected.
///
/// # Errors
/// If the system does not let us run modules, or what came out cannot be written.
pub fn test(args: &TestArgs, compiler: &dyn Compile) -> anyhow::Result<Exit> {
    let (captures, paths): (Vec<_>, Vec<_>) = args.paths.iter().cloned().partition(|path| is_capture(path));
    let mut exit = Exit::Success;
    if !paths.is_empty() {
        exit = play(args, &paths, compiler)?;
    }
    for capture in captures {
        if exit == Exit::Success {
            exit = replay(&ReplayArgs::of_rule(capture))?;
        }
    }
    Ok(exit)
}

/// Whether it is packets that somebody has captured.
fn is_capture(path: &Path) -> bool {
    matches!(path.extension().and_then(|extension| extension.to_str()), Some("pcap" | "pcapng"))
}

fn play(args: &TestArgs, paths: &[PathBuf], compiler: &dyn Compile) -> anyhow::Result<Exit> {
    let runtime = Runtime::start()?;
    let loader = Loader::new(runtime.clone(), Arc::new(()))?;
    let tests = match read_tests(args, paths, &loader, compiler) {
        Ok(tests) => tests,
        Err(mistakes) => return tell(&mistakes),
    };
    if let Some(file) = &args.junit {
        whole_file::check(file).with_context(|| not_reported(file))?;
    }
    let (running, mut report) = (runtime.running(), args.junit.as_deref().map(|_| JunitReport::default()));
    let (mut steps, mut differ) = (0, 0);
    // One after the other: what all of them come to may be more than there is memory.
    for test in &tests {
        let played = Played::new(&test.scenario, &test.module, &running);
        let (all, different) = say(&played, args.quiet)?;
        (steps, differ) = (steps + all, differ + different);
        report.iter_mut().for_each(|report| report.add(&played));
        if args.update && different > 0 {
            update(&played)?;
        }
    }
    drop(running);
    if let (Some(file), Some(report)) = (&args.junit, report) {
        whole_file::write(file, report.finish().as_bytes()).with_context(|| not_reported(file))?;
    }
    let what = format!("{}, {}", count(tests.len(), "scenario"), count(steps, "step"));
    if differ == 0 {
        terminal::out(format_args!("{what}: all as expected"))?;
        return Ok(Exit::Success);
    }
    if args.update {
        terminal::out(format_args!("{what}: {differ} written anew; look at what changed"))?;
        return Ok(Exit::Success);
    }
    terminal::out(format_args!(
        "{what}: {differ} not as expected; if the rule is right, --update writes what came into the files"
    ))?;
    Ok(Exit::Mistakes)
}

fn not_reported(file: &Path) -> String {
    format!("the report {} cannot be written", file.display())
}

/// Says what came of a scenario: how many steps it has, and how many of them are not as expected.
fn say(played: &Played<'_>, quiet: bool) -> anyhow::Result<(usize, usize)> {
    let steps: Vec<_> = played.steps().collect();
    let differ = steps.iter().filter(|step| !step.is_as_expected()).count();
    if !quiet || differ > 0 {
        terminal::out(format_args!("{}", piece(played.scenario.file.display())))?;
    }
    for step in steps.iter().filter(|step| !(quiet && step.is_as_expected())) {
        terminal::out(format_args!("{:>5}  {step}", step.step.line))?;
        for line in step.compared() {
            terminal::out(format_args!("         {line}"))?;
        }
    }
    Ok((steps.len(), differ))
}

/// Writes what came into the file in which something else is expected.
fn update(played: &Played<'_>) -> anyhow::Result<()> {
    let Played { scenario, outcomes, .. } = played;
    whole_file::write(&scenario.file, scenario.with_outcomes(outcomes).as_bytes())
        .with_context(|| format!("{} cannot be written", scenario.file.display()))
}

/// Reads the scenarios and loads their modules, each once.
fn read_tests(
    args: &TestArgs,
    paths: &[PathBuf],
    loader: &Loader,
    compiler: &dyn Compile,
) -> Result<Vec<Test>, Vec<String>> {
    let mut mistakes = Vec::new();
    let scenarios: Vec<_> =
        files(paths, &mut mistakes).iter().filter_map(|file| read(file, &mut mistakes)).collect();
    let mut modules: HashMap<ModuleSource, Option<Arc<Module>>> = HashMap::new();
    let mut tests = Vec::new();
    for scenario in scenarios {
        let source = match &args.module {
            Some(module) => ModuleFile::named(module),
            None => match module_of(&scenario) {
                Ok(source) => source,
                Err(mistake) => {
                    mistakes.push(mistake);
                    continue;
                }
            },
        };
        let module = modules.entry(source.clone()).or_insert_with(|| {
            let loaded = ModuleFile::read(source)
                .and_then(|file| file.load(loader, compiler, false).map_err(|error| file.mistake(&error)));
            loaded.map_err(|mistake| mistakes.push(mistake)).ok()
        });
        if let Some(module) = module {
            tests.push(Test { scenario, module: Arc::clone(module) });
        }
    }
    if mistakes.is_empty() { Ok(tests) } else { Err(mistakes) }
}

/// The scenarios that are named, those of a folder by their names.
fn files(paths: &[PathBuf], mistakes: &mut Vec<String>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        let told = piece(path.display());
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        match with_extension(path, EXTENSION) {
            Ok(found) if found.is_empty() => mistakes.push(format!(
                "{told}: there is no *.{EXTENSION} in this folder; write one, or name a folder that has one"
            )),
            Ok(found) => files.extend(found),
            Err(error) => mistakes.push(format!("{told}: cannot be read: {error}")),
        }
    }
    files
}

/// The files of a folder with this extension, by their names.
fn with_extension(dir: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|of| of == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(file: &Path, mistakes: &mut Vec<String>) -> Option<Scenario> {
    let text = module_file::read(file, MOST_TEXT)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()));
    let text = match text {
        Ok(text) => text,
        Err(what) => {
            mistakes
                .push(format!("{}: {what}; name a scenario, or a folder with some", piece(file.display())));
            return None;
        }
    };
    match Scenario::read(file, &text) {
        Ok(scenario) => Some(scenario),
        Err(found) => {
            mistakes.extend(found.iter().map(Mistake::to_string));
            None
        }
    }
}

/// The module of a scenario: the one that it names, or else the only one beside it.
fn module_of(scenario: &Scenario) -> Result<ModuleSource, String> {
    if let Some(module) = &scenario.head.module {
        return Ok(module.clone());
    }
    let file = piece(scenario.file.display()).to_string();
    let dir =
        scenario.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let found =
        with_extension(dir, "wasm").map_err(|error| format!("{file}: its folder cannot be read: {error}"))?;
    match found.as_slice() {
        [only] => Ok(ModuleSource::File(only.clone())),
        [] => Err(format!(
            "{file}: names no module, and there is no *.wasm beside it; build the rule first, or write module = \"FILE.wasm\" in its first line"
        )),
        several => Err(format!(
            "{file}: names no module, and there are {} beside it; write module = \"FILE.wasm\" in its first line, or say --module FILE.wasm",
            several.len()
        )),
    }
}

fn tell(mistakes: &[String]) -> anyhow::Result<Exit> {
    for mistake in mistakes {
        terminal::err(mistake)?;
    }
    terminal::err(format_args!("posternd: {}; nothing was played", count(mistakes.len(), "mistake")))?;
    Ok(Exit::Usage)
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
