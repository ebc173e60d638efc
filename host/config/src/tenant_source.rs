//! TenantSource: the rules of one tenant as a source of configurations, where nothing is known but what the tenant may know.

use std::path::{Path, PathBuf};
use std::slice;

use postern_core::{Likeness, Observer, TenantId};

use crate::activity::Activity;
use crate::config::{Config, ConfigReading};
use crate::files::text;
use crate::grant_file::GrantFile;
use crate::rule_folder::Folders;
use crate::source::ConfigSource;
use crate::tenant_files::TenantFiles;
use crate::trust::Trust;

/// A tenant's rules, and the file that says what it is granted.
#[derive(Clone, Debug)]
pub struct TenantSource {
    tenant: TenantId,
    grant: PathBuf,
}

impl TenantSource {
    /// That of `tenant`, whose grant is in the file `grant`.
    #[must_use]
    pub const fn new(tenant: TenantId, grant: PathBuf) -> Self {
        Self { tenant, grant }
    }
}

impl ConfigSource for TenantSource {
    fn read(&self, files: &dyn TenantFiles, activity: &Activity, _observer: &dyn Observer) -> ConfigReading {
        let Self { tenant: id, grant: file } = self;
        let mut mistakes = Vec::new();
        // Whoever wrote it: it decides nothing but what is said.
        let grant = text(file, || Trust::Anybody.open(file), &mut mistakes, activity).and_then(|text| {
            let (grant, found) = GrantFile::read(id, file, &text);
            mistakes.extend(found);
            grant
        });
        let Some(grant) = grant.filter(|_| mistakes.is_empty()) else {
            return ConfigReading { mistakes, ..ConfigReading::default() };
        };
        let GrantFile { tenant, longest, trust, .. } = &grant;
        let folders = Folders { trust: *trust, activity, files };
        let (mut rules, mut files, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for (reading, mistakes) in
            folders.read_all(slice::from_ref(tenant), |tenant| tenant.ceilings(*longest))
        {
            rules.extend(reading.rules);
            files.extend(reading.files);
            found.extend(mistakes);
        }
        tenant.check(&rules, |door| grant.widths_of(door), &mut found);
        let GrantFile { tenant, longest, trust, .. } = grant;
        let mistakes_of_tenants = (!found.is_empty()).then(|| (id.clone(), found)).into_iter().collect();
        let config = Config::of_tenant(tenant, rules, longest, trust);
        ConfigReading { config: Some(config), mistakes, mistakes_of_tenants, files }
    }

    fn file(&self) -> &Path {
        &self.grant
    }

    fn journal_stem(&self) -> &'static str {
        "tenant"
    }

    fn likeness(&self) -> Likeness {
        Likeness::Exact
    }
}
