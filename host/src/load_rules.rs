//! Loads the rules of a configuration into the sandbox, and puts what is wrong with them at its place in the files.

use std::path::{Path, PathBuf};

use postern_config::{
    Activity, Config, Mistake, Mistakes, NOT_REGULAR, OpenError, RuleFile, Trust, UNANSWERED, read_regular,
};
use postern_sandbox::{Generation, LoadError, Loader, ModuleFiles, Problem, ReadError, StartError};
use postern_text::piece;

/// The generation of a configuration: the modules of all its rules are loaded, and each rule is tried with its settings; `activity` tells others
/// what is being done.
///
/// # Errors
/// Every rule that could not be loaded or started.
pub fn load_rules(
    number: u64,
    config: &Config,
    loader: &Loader,
    activity: &Activity,
) -> Result<Generation, Mistakes> {
    let specs: Vec<_> = config.rules.iter().map(RuleFile::spec).collect();
    let files = ConfigFiles { trust: config.trust, activity };
    let built = Generation::build(number, &specs, config.memory, loader, &files);
    built.map_err(|problems| {
        Mistakes::new(problems.into_iter().flat_map(|problem| mistakes(config, problem)).collect())
    })
}

/// Files that a configuration names.
struct ConfigFiles<'a> {
    trust: Trust,
    activity: &'a Activity,
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
fn mistakes(config: &Config, problem: Problem) -> Vec<Mistake> {
    let whole = |file: PathBuf, what: String| vec![Mistake { file, line: None, key: String::new(), what }];
    match problem {
        // About the module's file, or a folder, which many rules may share.
        Problem::Module { error: LoadError::Distrusted { path, what }, .. } => whole(path, what),
        Problem::Module { rule, error } => {
            let what = format!("the module {}; {}", piece(&error), error.remedy());
            vec![config.rules[rule].module_mistake(what)]
        }
        Problem::Start { rule, error: StartError::Refused(what) } => {
            config.rules[rule].settings_mistakes(&what)
        }
        Problem::Start { rule, error } => vec![config.rules[rule].module_mistake(error.to_string())],
        Problem::Overlaps(error) => whole(config.rules_dir.clone(), error.to_string()),
    }
}
