//! Config: the checked settings of the daemon.
//!
//! Owns what `postern.toml` and the rule files may say; every mistake in any of them is reported at once, with file, line, key
//! and remedy. It never compiles a module and never changes the system: that is the sandbox's and the doorman's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Bounds, CpuShare, DoorId, GuardDoor, ModuleSource, NetDoor, RuleSpec, TenantId, WatchGrant, Width,
    check_doors as check_doors_of_net,
};
use postern_text::{Mistake, Mistakes};
use serde::{Deserialize, Serialize};

use crate::activity::Activity;
use crate::ceilings::Ceilings;
use crate::control_settings::{self, ControlSocket};
use crate::door::{self, Door, DoorKind};
use crate::files::{self, text};
use crate::hook::{self, Hook};
use crate::metrics_settings::MetricsListen;
use crate::module_signature::{TrustedKey, signature_file};
use crate::process_user::ProcessUser;
use crate::rule_doors::{check_doors_once, check_prefixes};
use crate::rule_file::{LostDoor, RuleFile};
use crate::rule_folder::{FolderIdentity, FolderReading, Folders};
use crate::sandbox_settings::SandboxSettings;
use crate::start_settings::{self, StartSettings};
use crate::table::{Table, TomlSource, ValuePlace};
use crate::tenant::{KnownInterfaces, Machine, Tenant};
use crate::tenant_files::{OwnFiles, TenantFiles};
use crate::trust::Trust;
use crate::{guards, interfaces, memory, metrics_settings, sandbox_settings, tenant, tenant_user};

pub(crate) const DEFAULT_OPENINGS: usize = 65_536;
/// Mistakes of one tenant that are told.
const MOST_OF_TENANT: usize = 100;
/// As many openings as a machine has room for: each takes an element in the kernel and an entry in the engine.
pub(crate) const CEILING_OPENINGS: usize = 131_072;
/// One worker judges close to a million knocks a second, and no thread is woken for it.
const DEFAULT_WORKERS: usize = 1;
const MAX_WORKERS: usize = 64;

/// Everything that the configuration says, checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Interfaces to capture on; at least one.
    pub interfaces: Vec<String>,
    /// Whether to see packets that are not for this machine's hardware address.
    pub promiscuous: bool,
    /// Whether packets of IPv6 are left out.
    pub only_ipv4: bool,
    /// Workers that run rules: 1 is each thread that captures, more are threads of their own.
    pub workers: usize,
    /// The folder of the host's own rule files.
    #[serde(with = "postern_core::os_text")]
    pub rules_dir: PathBuf,
    /// The other owners of rules, by name.
    pub tenants: Vec<Tenant>,
    /// The doors, by name.
    pub doors: BTreeMap<Arc<str>, Door>,
    /// No opening lasts longer.
    pub longest: Duration,
    /// Openings at once.
    pub max_openings: usize,
    /// What may be remembered for all rules together.
    pub memory: Bounds,
    /// The rules by file name, the host's first and then each tenant's.
    pub rules: Vec<RuleFile>,
    /// Which owners' rule files and modules are accepted.
    pub trust: Trust,
    /// How the daemon's processes are held.
    pub sandbox: SandboxSettings,
    /// Where the daemon can be asked.
    pub control: ControlSocket,
    /// Where it hands its metrics out.
    pub metrics: MetricsListen,
    /// Commands that are run when something happens.
    pub hooks: Vec<Hook>,
    /// Where the keys of [`crate::StartSettings`] stand.
    pub(crate) start_places: Vec<ValuePlace>,
}

/// A configuration as it was read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ConfigReading {
    /// What it says, if the text of `postern.toml` is right itself, whatever is wrong with folders and rule files: enough to know which files to watch. The rules
    /// are those that could be read.
    pub config: Option<Config>,
    /// Every mistake in `postern.toml` and in the host's own rules.
    #[serde(with = "crate::mistake_list")]
    pub mistakes: Vec<Mistake>,
    /// Every mistake in the rules of each other tenant that made any. They are no reason to refuse what others say.
    #[serde(with = "crate::mistake_list::by_tenant")]
    pub mistakes_of_tenants: BTreeMap<TenantId, Vec<Mistake>>,
    /// The rule files that are there, those with mistakes included.
    #[serde(with = "postern_core::os_text::list")]
    pub files: Vec<PathBuf>,
}

impl ConfigReading {
    /// Every mistake, of the host and of all tenants.
    #[must_use]
    pub fn all_mistakes(&self) -> Vec<Mistake> {
        self.mistakes.iter().chain(self.mistakes_of_tenants.values().flatten()).cloned().collect()
    }
}

impl Config {
    /// Reads and checks `postern.toml` at `file` and the rule files beside it. A file that other users could write is a mistake.
    ///
    /// # Errors
    /// Every mistake in any of them.
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        match Self::read(file, Trust::Strict, &OwnFiles, &Activity::default()) {
            ConfigReading { config: Some(config), mistakes, mistakes_of_tenants, .. }
                if mistakes.is_empty() && mistakes_of_tenants.is_empty() =>
            {
                Ok(config)
            }
            reading => Err(Mistakes::new(reading.all_mistakes())),
        }
    }

    /// What of it counts from the daemon's start on.
    #[must_use]
    pub fn start_settings(&self) -> StartSettings {
        StartSettings {
            workers: self.workers,
            user: self.sandbox.user,
            control: self.control.clone(),
            metrics: self.metrics.clone(),
            hooks: self.hooks.clone(),
        }
    }

    /// What it says, read from `file`, otherwise than the settings with which the daemon was started; each with its place, if it has one there, and
    /// when it counts.
    #[must_use]
    pub fn changed_since_start(&self, started: &StartSettings, file: &Path) -> Vec<Mistake> {
        started.changed_in(&self.start_settings(), &self.start_places, file)
    }

    /// As [`Config::load`], with what is right of it even if there are mistakes; see [`ConfigReading`].
    ///
    /// `trust` says which owners' files are accepted. `postern.toml` may waive the check for the other files, but not for itself: a file that
    /// everybody can write must not decide that. `files` reads those of tenants with users of their own. `activity` shows what is being read.
    #[must_use]
    pub fn read(file: &Path, trust: Trust, files: &dyn TenantFiles, activity: &Activity) -> ConfigReading {
        let mut mistakes = Vec::new();
        let mut door_names = Vec::new();
        let config = text(file, || trust.open(file), &mut mistakes, activity)
            .and_then(|text| Self::from_text(file, &text, &mut door_names, &mut mistakes));
        let is_right = mistakes.is_empty();
        // Rule files are read even when postern.toml is wrong, so that all mistakes are seen at once.
        let fallback = file.with_file_name("rules");
        let said = config.as_ref().map_or(Trust::Strict, |config| config.trust);
        let trust = trust.unless_waived(said);
        let (rules_dir, ceilings) = config
            .as_ref()
            .map_or((fallback, Ceilings::UNKNOWN), |config| (config.rules_dir.clone(), config.ceilings()));
        let folders = Folders { trust, activity, files };
        let FolderReading { identity, mut files, mut rules } =
            folders.read(&TenantId::host(), &rules_dir, ceilings, &mut mistakes);
        let mut mistakes_of_tenants = BTreeMap::new();
        if let Some(config) = &config {
            config.check_rules(&rules, &door_names, &mut mistakes);
            // A file that two owners had would be two rules.
            let mut taken: Vec<(FolderIdentity, String)> = Vec::new();
            taken.extend(folders.identity(&file.with_file_name(".")).map(|id| (id, file_name(file))));
            taken.push((identity, format!("tenant {}", TenantId::HOST)));
            let readings = folders.read_all(&config.tenants, |tenant| tenant.ceilings(config.longest));
            for (tenant, (reading, mut found)) in config.tenants.iter().zip(readings) {
                let FolderReading { identity, files: its_files, rules: its_rules } = reading;
                if let Some((_, owner)) = taken.iter().find(|(known, _)| *known == identity) {
                    mistakes.push(tenant.rules_mistake(
                        file,
                        format!("is the folder of {owner} already; give each tenant its own"),
                    ));
                    continue;
                }
                taken.push((identity, format!("tenant {}", tenant.id)));
                tenant.check(&its_rules, |door| config.widths_of(door), &mut found);
                files.extend(its_files);
                rules.extend(its_rules);
                if !found.is_empty() {
                    mistakes_of_tenants.insert(tenant.id.clone(), first_of(found));
                }
            }
        }
        let config = config.filter(|_| is_right).map(|config| Self { rules, trust, ..config });
        ConfigReading { config, mistakes, mistakes_of_tenants, files }
    }

    /// As [`Config::read`], of texts that are in no files yet: `text` is to be the one at `file`, and `rules` are to be those beside it.
    pub fn of_texts(file: &Path, text: &str, rules: &[(PathBuf, String)]) -> ConfigReading {
        let mut mistakes = Vec::new();
        let mut door_names = Vec::new();
        let Some(config) = Self::from_text(file, text, &mut door_names, &mut mistakes) else {
            return ConfigReading { mistakes, ..ConfigReading::default() };
        };
        let host = TenantId::host();
        let read = rules.iter().map(|(file, text)| RuleFile::read(&host, file, text, config.ceilings()));
        let (rules, found): (Vec<_>, Vec<_>) = read.unzip();
        mistakes.extend(found.into_iter().flatten());
        let rules: Vec<_> = rules.into_iter().flatten().collect();
        config.check_rules(&rules, &door_names, &mut mistakes);
        ConfigReading { config: Some(Self { rules, ..config }), mistakes, ..ConfigReading::default() }
    }

    /// The guard doors that can be read from `postern.toml` at `file`, whatever else is wrong with it: enough to keep their ports closed,
    /// and for nothing else. Empty for a file that other users could have written.
    #[must_use]
    pub fn guards(file: &Path, trust: Trust) -> Vec<GuardDoor> {
        trust.open(file).map(files::lossy_text).map_or_else(|_| Vec::new(), |text| guards::read(&text))
    }

    /// The user that `postern.toml` at `file` names, or else the default one, whatever else is wrong; none if there is no such account.
    #[must_use]
    pub fn process_user(file: &Path, trust: Trust) -> Option<ProcessUser> {
        let text = trust.open(file).map(files::lossy_text);
        text.map_or_else(|_| SandboxSettings::of_machine().user, |text| sandbox_settings::user_of(&text))
    }

    /// What no rule of the host may go beyond.
    const fn ceilings(&self) -> Ceilings {
        Ceilings::of_host(self.longest, self.memory)
    }

    /// Lets rules use all CPU time that there is: for a look at what they say, which must not depend on how fast a machine is.
    pub fn lift_shares(&mut self) {
        self.rules.iter_mut().for_each(|rule| rule.share = CpuShare::UNLIMITED);
        self.tenants.iter_mut().for_each(|tenant| tenant.limits.share = CpuShare::UNLIMITED);
    }

    /// Whether any door is opened by a command.
    #[must_use]
    pub fn has_commands(&self) -> bool {
        self.doors.values().any(|door| !matches!(door.kind, DoorKind::Net(_)))
    }

    /// A configuration without rules and doors, for those of a knockd.conf.
    pub fn of_knockd(
        interfaces: Vec<String>,
        only_ipv4: bool,
        longest: Duration,
        max_openings: usize,
    ) -> Self {
        Self {
            interfaces,
            promiscuous: false,
            only_ipv4,
            workers: DEFAULT_WORKERS,
            rules_dir: PathBuf::new(),
            tenants: Vec::new(),
            doors: BTreeMap::new(),
            longest,
            max_openings,
            memory: Bounds::OF_ALL_RULES,
            rules: Vec::new(),
            // knockd does not check owners, and a knockd.conf names no modules.
            trust: Trust::Anybody,
            sandbox: SandboxSettings::of_machine(),
            // Who has set up knockd does not expect one.
            control: ControlSocket::None,
            metrics: MetricsListen::None,
            hooks: Vec::new(),
            start_places: Vec::new(),
        }
    }

    /// The rules of one tenant and nothing else, where only what is the tenant's own is known: no opening lasts longer than `longest`.
    pub(crate) fn of_tenant(tenant: Tenant, rules: Vec<RuleFile>, longest: Duration, trust: Trust) -> Self {
        let bare = Self::of_knockd(Vec::new(), false, longest, DEFAULT_OPENINGS);
        Self { tenants: vec![tenant], rules, trust, ..bare }
    }

    /// What a postern.toml says, without the rules beside it.
    fn from_text(
        file: &Path,
        text: &str,
        door_names: &mut Vec<String>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let source = TomlSource::new(file, text);
        let document = source.parse();
        let config =
            document.as_ref().map(|table| Self::from_table(file, Table::root(&source, table), door_names));
        drop(document);
        mistakes.extend(source.into_mistakes());
        if let Some(config) = &config {
            mistakes.extend(config.door_mistakes(file, check_doors_of_net));
            let processes = config.sandbox.user.map(|user| user.uid);
            let users = config.tenants.iter().filter_map(|tenant| Some((&tenant.id, tenant.user.as_ref()?)));
            mistakes.extend(tenant_user::conflicts(file, &users.collect::<Vec<_>>(), processes));
        }
        config
    }

    /// What the host's rules say that does not fit to what is said here. `door_names` are all doors, those with mistakes included.
    fn check_rules(&self, rules: &[RuleFile], door_names: &[String], mistakes: &mut Vec<Mistake>) {
        for rule in rules {
            check_doors(rule, door_names, mistakes);
            check_interfaces(rule, &self.interfaces, mistakes);
            check_prefixes(rule, |door| self.widths_of(door), mistakes);
        }
    }

    /// The widths of prefixes that a door may be opened for; none if there is no such door.
    fn widths_of(&self, door: &str) -> &[Width] {
        self.doors.get(door).map_or(&[], Door::prefixes)
    }

    /// A tenant of this configuration; none if it has none of that name, or if it is the host.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<&Tenant> {
        // They are in the order of their names.
        let place = self.tenants.binary_search_by(|tenant| tenant.id.cmp(id)).ok()?;
        self.tenants.get(place)
    }

    /// Whether nothing is opened or closed for a rule, but told what would be: its own file says so, or all rules of its tenant are on trial.
    #[must_use]
    pub fn is_on_trial(&self, rule: &RuleFile) -> bool {
        rule.is_trial || self.tenant(&rule.id.tenant).is_some_and(|tenant| tenant.is_trial)
    }

    /// What the sandbox needs to load each rule, in their order.
    #[must_use]
    pub fn specs(&self) -> Vec<RuleSpec> {
        let everything = Arc::new(WatchGrant::EVERYTHING);
        let mut grants: BTreeMap<&TenantId, Arc<WatchGrant>> = BTreeMap::new();
        let mut spec = |rule: &'_ RuleFile| match self.tenant(&rule.id.tenant) {
            None => rule.spec(Arc::clone(&everything), rule.interfaces.clone(), rule.is_trial),
            Some(tenant) => {
                let watch = grants.entry(&tenant.id).or_insert_with(|| Arc::new(tenant.grant.watch.clone()));
                rule.spec(
                    Arc::clone(watch),
                    tenant.grant.interfaces_of(&rule.interfaces),
                    self.is_on_trial(rule),
                )
            }
        };
        self.rules.iter().map(&mut spec).collect()
    }

    /// Whether a rule of this tenant may open this door.
    fn may_open(&self, tenant: &TenantId, door: &str) -> bool {
        let is_granted = || self.tenant(tenant).is_some_and(|known| known.grant.has_door(door));
        self.doors.contains_key(door) && (tenant.is_host() || is_granted())
    }

    /// Has a tenant go on with the rules that it had in another configuration, in place of those here. Of the doors that their files named they
    /// have those that the tenant may open now, and no others; gives back those that they lost. A tenant that is not here any more has no rules.
    pub fn keep_rules<'a>(
        &mut self,
        tenant: &TenantId,
        before: impl Iterator<Item = &'a RuleFile>,
    ) -> Vec<LostDoor> {
        self.rules.retain(|rule| rule.id.tenant != *tenant);
        let mut lost = Vec::new();
        if self.tenant(tenant).is_none() {
            return lost;
        }
        for rule in before.filter(|rule| rule.id.tenant == *tenant) {
            let mut rule = rule.clone();
            lost.extend(rule.keep_doors(|door| self.may_open(tenant, door)));
            self.rules.push(rule);
        }
        lost
    }

    /// The mistakes that `check` finds in the doors in the packet filter of this configuration, read from `file`. `check` knows doors by
    /// number; the mistakes have their names.
    pub fn door_mistakes<E: std::error::Error + Send + Sync + 'static>(
        &self,
        file: &Path,
        check: impl FnOnce(&[(DoorId, NetDoor)]) -> Vec<(DoorId, E)>,
    ) -> Vec<Mistake> {
        let doors: Vec<_> = self.doors.values().collect();
        let net: Vec<_> = (0..)
            .zip(&doors)
            .filter_map(|(n, door)| match &door.kind {
                DoorKind::Net(net) => Some((DoorId(n), net.clone())),
                DoorKind::Command(_) | DoorKind::Shell(_) => None,
            })
            .collect();
        let mistake = |(DoorId(n), what)| doors.get(n as usize).map(|door| door.refused(file, what));
        check(&net).into_iter().filter_map(mistake).collect()
    }

    fn from_table(file: &Path, table: Table<'_>, door_names: &mut Vec<String>) -> Self {
        let interfaces = interfaces::read(&table);
        let promiscuous = table.flag("promiscuous").unwrap_or(false);
        let workers = table.number("workers", 1..=MAX_WORKERS);
        let rules_dir = table.folder("rules").map_or("rules", |at| at.value);
        let rules_dir = file.with_file_name(rules_dir);
        let is_strict = table.flag("strict_modes").unwrap_or(true);
        let sandbox = sandbox_settings::read(&table);
        let control = control_settings::read(&table);
        let metrics = metrics_settings::read(&table);
        let hooks = hook::read(&table);
        let start_places = start_settings::places(&table);
        let limits = table.table("limits");
        let longest = Ceilings::read_longest(limits.as_ref());
        let openings = limits.as_ref().and_then(|limits| limits.number("openings", 1..=CEILING_OPENINGS));
        if let Some(limits) = limits {
            limits.finish();
        }
        let memory = memory::of_all_rules(&table);
        let mut doors = BTreeMap::new();
        for (name, inner) in table.tables("doors") {
            door_names.push(name.to_owned());
            let Some(door) = door::read(name, inner, longest) else { continue };
            doors.insert(Arc::clone(&door.name), door);
        }
        let openings = openings.unwrap_or(DEFAULT_OPENINGS);
        let known = KnownInterfaces::These(&interfaces);
        let machine = Machine { doors: door_names, interfaces: known, longest, openings, memory };
        let tenants = tenant::read(file, &table, machine);
        table.finish();
        Self {
            interfaces,
            promiscuous,
            only_ipv4: false,
            workers: workers.unwrap_or(DEFAULT_WORKERS),
            rules_dir,
            tenants,
            doors,
            longest,
            max_openings: openings,
            memory,
            rules: Vec::new(),
            trust: if is_strict { Trust::Strict } else { Trust::Anybody },
            sandbox,
            control,
            metrics,
            hooks,
            start_places,
        }
    }

    /// The files of which a rule's module is read: its own, and that of its signature if it needs one.
    pub fn module_files(&self, rule: &RuleFile) -> impl Iterator<Item = PathBuf> {
        let module = match &rule.module {
            ModuleSource::File(path) => Some(path.clone()),
            ModuleSource::Stock(_) => None,
        };
        let signature = module.as_deref().filter(|_| self.keys_for(rule).is_some()).map(signature_file);
        module.into_iter().chain(signature)
    }

    /// The keys of which one must have signed the module of a rule, if that is a file; none if none must.
    #[must_use]
    pub fn keys_for(&self, rule: &RuleFile) -> Option<&[TrustedKey]> {
        self.tenant(&rule.id.tenant)?.trusted_keys.as_deref()
    }
}

/// The first mistakes of a tenant, and that there are more: a tenant's folder must not fill the memory of who reads it. Those that were cut before
/// may get more, and be cut again.
#[must_use]
pub fn first_of(mut found: Vec<Mistake>) -> Vec<Mistake> {
    if found.len() > MOST_OF_TENANT {
        found.truncate(MOST_OF_TENANT);
        let file = found.last().map_or_else(PathBuf::new, |last| last.file.clone());
        let what = "and more mistakes of this tenant, from here on".to_owned();
        found.push(Mistake { file, line: None, key: String::new(), what });
    }
    found
}

/// What a configuration's own file is called, for people.
fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `names` are all doors of postern.toml, those with mistakes included.
fn check_doors(rule: &RuleFile, names: &[String], mistakes: &mut Vec<Mistake>) {
    for (n, door) in rule.doors.iter().enumerate() {
        if !names.iter().any(|name| **name == **door) {
            let known = names.join(", ");
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("there are {known}") };
            mistakes.push(rule.door_mistake(n, format!("postern.toml has no door `{door}`; {known}")));
        }
    }
    check_doors_once(rule, mistakes);
}

fn check_interfaces(rule: &RuleFile, captured: &[String], mistakes: &mut Vec<Mistake>) {
    for (n, interface) in rule.interfaces.iter().enumerate() {
        if !captured.iter().any(|name| **name == **interface) {
            let captured = captured.join(", ");
            let what = format!(
                "nothing is captured on `{interface}`, only on {captured}; see interfaces in postern.toml"
            );
            mistakes.push(rule.interface_mistake(n, what));
        }
    }
}

#[cfg(test)]
mod tests;
