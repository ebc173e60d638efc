//! RuleFolder: the rule files of one tenant, all that are in its folder.

use std::io;
use std::path::{Path, PathBuf};

use postern_core::TenantId;
use postern_text::Mistake;

use crate::activity::Activity;
use crate::ceilings::Ceilings;
use crate::files::{rule_files, text, unreadable};
use crate::rule_file::RuleFile;
use crate::trust::{OpenError, Trust};

const MAX_RULES: usize = 65_536;

/// Reads folders of rule files.
#[derive(Debug)]
pub(crate) struct Folders<'a> {
    pub(crate) trust: Trust,
    pub(crate) ceilings: Ceilings,
    pub(crate) activity: &'a Activity,
}

impl Folders<'_> {
    /// The rule files of a tenant in `dir`, and what could be read of them.
    pub(crate) fn read(
        &self,
        tenant: &TenantId,
        dir: &Path,
        mistakes: &mut Vec<Mistake>,
    ) -> (Vec<PathBuf>, Vec<RuleFile>) {
        let Self { trust, ceilings, activity } = *self;
        let whole = |what: String| Mistake { file: dir.to_owned(), line: None, key: String::new(), what };
        let listed = activity.read(dir, || {
            let folder = trust.open_folder(dir)?;
            Ok((rule_files(&folder)?, folder))
        });
        let (mut files, folder) = match listed {
            Ok(listed) => listed,
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                mistakes.push(whole("there is no such folder; make it and put a rule there".to_owned()));
                return (Vec::new(), Vec::new());
            }
            Err(error) => {
                mistakes.push(unreadable(dir, error));
                return (Vec::new(), Vec::new());
            }
        };
        files.sort();
        if files.len() > MAX_RULES {
            mistakes.push(whole(format!("{} rules; at most {MAX_RULES}", files.len())));
            files.clear();
        }
        let mut rules = Vec::with_capacity(files.len());
        let paths: Vec<_> = files.iter().map(|name| dir.join(name)).collect();
        for (file, name) in paths.iter().zip(&files) {
            let Some(text) = text(file, || folder.open(name), mistakes, activity) else { continue };
            let (rule, found) = RuleFile::read(tenant, file, &text, ceilings);
            mistakes.extend(found);
            rules.extend(rule);
        }
        (paths, rules)
    }
}
