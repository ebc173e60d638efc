//! Loads the rules of a configuration into the sandbox, and puts what is wrong with them at its place in the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postern_config::{
    Activity, Config, Mistake, Mistakes, NOT_REGULAR, OpenError, RuleFile, Trust, UNANSWERED, read_regular,
};
use postern_core::{TenantId, TooManyOverlaps};
use postern_sandbox::{
    Generation, LoadError, Loader, ModuleFiles, Problem, ProblemKind, ReadError, ReadyRule, StartError,
};
use postern_text::piece;

/// The generation of a configuration: the modules of all its rules are loaded, and each rule is tried with its settings; `activity` shows
/// what is being done.
///
/// # Errors
/// Every rule that could not be loaded or started, whosever it is.
pub fn load_rules(
    number: u64,
    config: &Config,
    loader: &Loader,
    activity: &Activity,
) -> Result<Generation, Mistakes> {
    let files = ConfigFiles { trust: config.trust, activity };
    let (rules, mistakes) = read_modules(config, loader, &files);
    if !mistakes.is_empty() {
        return Err(Mistakes::new(mistakes.into_values().flatten().collect()));
    }
    Generation::of_rules(number, &rules, config.memory).map_err(|error| overlap(&config.rules_dir, error))
}

/// The rules of a configuration that could be loaded and started, in its order, and the mistakes in the others, by whose they are. `files`
/// reads their modules.
pub(crate) fn read_modules(
    config: &Config,
    loader: &Loader,
    files: &dyn ModuleFiles,
) -> (Vec<ReadyRule>, BTreeMap<TenantId, Vec<Mistake>>) {
    let specs: Vec<_> = config.rules.iter().map(RuleFile::spec).collect();
    let (rules, problems) = ReadyRule::load_all(&specs, loader, files);
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Problem { rule, what } in problems {
        let rule = &config.rules[rule];
        found.entry(rule.id.tenant.clone()).or_default().extend(mistakes(rule, what));
    }
    (rules, found)
}

/// What is wrong with the rules in `dir`, which ask for too much together with all others.
pub(crate) fn overlap(dir: &Path, error: TooManyOverlaps) -> Mistakes {
    Mistakes::new(vec![whole(dir.to_owned(), error.to_string())])
}

/// Files that a configuration names.
pub(crate) struct ConfigFiles<'a> {
    pub(crate) trust: Trust,
    pub(crate) activity: &'a Activity,
}

impl ModuleFiles for ConfigFiles<'_> {
    fn read(&self, file: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
        match read_regular(file, most, self.trust, self.activity) {
            Ok(read) => read.map_err(ReadError::Unfit),
            Err(OpenError::Io(error)) => Err(ReadError::Io(error)),
            Err(OpenError::Distrust(distrust)) => {
                Err(ReadError::Distrusted { path: distrust.path, what: distrust.what })
            }
            Err(OpenError::NotRegular) => Err(ReadError::Unfit(NOT_REGULAR.to_owned())),
            Err(OpenError::Unanswered) => Err(ReadError::Unfit(UNANSWERED.to_owned())),
        }
    }

    fn begin_compiling(&self, file: &Path) {
        self.activity.begin_compiling(file);
    }

    fn end_compiling(&self, file: &Path) {
        self.activity.end_compiling(file);
    }

    fn is_overtaken(&self) -> bool {
        self.activity.is_overtaken()
    }
}

/// A problem is one mistake, or one for each setting that the module refuses.
fn mistakes(rule: &RuleFile, problem: ProblemKind) -> Vec<Mistake> {
    match problem {
        // About the module's file, or a folder, which many rules may share.
        ProblemKind::Module(LoadError::Distrusted { path, what }) => vec![whole(path, what)],
        ProblemKind::Module(error) => {
            vec![rule.module_mistake(format!("the module {}; {}", piece(&error), error.remedy()))]
        }
        ProblemKind::Start(StartError::Refused(what)) => rule.settings_mistakes(&what),
        ProblemKind::Start(error) => vec![rule.module_mistake(error.to_string())],
        ProblemKind::Panicked => {
            vec![rule.module_mistake("the module made the compiler panic; see the standard error")]
        }
    }
}

fn whole(file: PathBuf, what: String) -> Mistake {
    Mistake { file, line: None, key: String::new(), what }
}
