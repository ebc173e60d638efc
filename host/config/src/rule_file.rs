//! RuleFile: one knock profile as its file describes it.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Bounds, CpuShare, ModuleSource, RuleId, RuleLimits, RuleLogLevel, RuleSpec, TenantId, WatchGrant, Width,
};
use postern_text::Mistake;
use serde::{Deserialize, Serialize};

use crate::ceilings::{CPU, Ceilings, INSTANCE_MEMORY};
use crate::door::prefixes;
use crate::memory;
use crate::name::{NAME_RULE, is_name};
use crate::settings_places::SettingsPlaces;
use crate::table::{At, Table, TomlSource, ValuePlace};

/// Most doors of a rule, and most interfaces.
const MOST_NAMES: usize = 64;

/// One knock profile: a module, its settings, and the doors it may open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleFile {
    /// Its tenant and name.
    pub id: RuleId,
    /// How processes that do not know its name call it: the same as long as its name and file are; 0 if nobody numbered it.
    pub number: u32,
    /// The file it stands in.
    #[serde(with = "postern_core::os_text")]
    pub file: PathBuf,
    /// The module it runs.
    pub module: ModuleSource,
    /// The doors it may open, by name: those that its file names, or fewer if the rule is kept in place of what its file says now.
    pub doors: Vec<Arc<str>>,
    /// The doors that its file names; at least one.
    doors_of_file: Vec<Arc<str>>,
    /// How long its openings last, and at most; none: as the door says.
    pub lasts: Option<Duration>,
    /// Widths of prefixes around a client that it may open its doors for, where they allow it.
    pub prefixes: Vec<Width>,
    /// The rules of its tenant that it shares progress with have the same.
    pub group: Arc<str>,
    /// Interfaces whose packets it sees; empty: all.
    pub interfaces: Vec<Arc<str>>,
    /// Whether its file says that it is on trial; see [`crate::Config::is_on_trial`].
    pub is_trial: bool,
    /// Which of the lines that its module writes are logged.
    pub log: RuleLogLevel,
    /// Whether it also sees packets that leave this machine.
    pub sees_outgoing: bool,
    /// What the host remembers for it, all workers together.
    pub bounds: Bounds,
    /// What its instances may use.
    pub limits: RuleLimits,
    /// CPU time that it may use in a second, if it is the host's.
    pub share: CpuShare,
    /// What is under `[settings]`, as a JSON object.
    pub settings: String,
    /// Where the one-time sequence stands that an opening uses up; none if the sequence may be used again.
    pub one_time: Option<OneTime>,
    module_place: ValuePlace,
    settings_places: SettingsPlaces,
    door_places: Vec<ValuePlace>,
    lasts_place: ValuePlace,
    prefixes_place: ValuePlace,
    interface_places: Vec<ValuePlace>,
}

/// A door that a rule could open before and cannot any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostDoor {
    /// The rule.
    pub rule: RuleId,
    /// The door.
    pub door: Arc<str>,
    /// The rule's first door, if this one is granted and lost only because that one is not; none if this one is not granted.
    pub without: Option<Arc<str>>,
}

/// A sequence that opens once: crossing it out is part of opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTime {
    /// The file.
    #[serde(with = "postern_core::os_text")]
    pub path: PathBuf,
    /// The first byte of its line.
    pub offset: u64,
    /// What that line says, normalised.
    pub steps: String,
}

impl OneTime {
    /// A memory format for each one-time sequence, so that half-finished knocks start over, even if the steps are those of the one before.
    fn memory_epoch(&self) -> u32 {
        let [a, b, c, d, ..] = self.offset.to_le_bytes();
        // By an odd number, so that no two places of a file below 4 GiB are one.
        u32::from_le_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b1)
    }
}

impl RuleFile {
    /// Reads the file of a tenant's rule; nothing if too little of it is right.
    pub(crate) fn read(
        tenant: &TenantId,
        file: &Path,
        text: &str,
        ceilings: Ceilings,
    ) -> (Option<Self>, Vec<Mistake>) {
        let source = TomlSource::new(file, text);
        let document = source.parse();
        let rule = document
            .as_ref()
            .and_then(|table| Self::from_table(tenant, file, Table::root(&source, table), ceilings));
        drop(document);
        (rule, source.into_mistakes())
    }

    /// The rule of a section of a knockd.conf. All of them are one group. One with a target sees packets to it, incoming and outgoing.
    pub fn of_section(
        file: &Path,
        line: usize,
        name: &Arc<str>,
        settings: String,
        has_target: bool,
        one_time: Option<OneTime>,
    ) -> Self {
        let place = ValuePlace { line, key: String::new() };
        Self {
            id: RuleId { tenant: TenantId::host(), name: Arc::clone(name) },
            number: 0,
            file: file.to_owned(),
            module: ModuleSource::Stock("sequence"),
            doors: vec![Arc::clone(name)],
            doors_of_file: vec![Arc::clone(name)],
            lasts: None,
            prefixes: Vec::new(),
            group: "knockd".into(),
            interfaces: Vec::new(),
            is_trial: false,
            log: RuleLogLevel::OfDaemon,
            sees_outgoing: has_target,
            bounds: Bounds::OF_A_RULE,
            limits: RuleLimits::default(),
            share: CpuShare::DEFAULT,
            settings,
            one_time,
            module_place: place.clone(),
            settings_places: SettingsPlaces::whole(place.clone()),
            door_places: vec![place.clone()],
            lasts_place: place.clone(),
            prefixes_place: place,
            interface_places: Vec::new(),
        }
    }

    /// What the sandbox needs to load it, as a rule that may watch what `watch` says on these interfaces.
    pub(crate) fn spec(&self, watch: Arc<WatchGrant>, interfaces: Vec<Arc<str>>, is_trial: bool) -> RuleSpec {
        RuleSpec {
            id: self.id.clone(),
            module: self.module.clone(),
            settings: self.settings.as_str().into(),
            limits: self.limits,
            share: self.share,
            bounds: self.bounds,
            group: Arc::clone(&self.group),
            watch,
            interfaces,
            sees_outgoing: self.sees_outgoing,
            is_trial,
            log: self.log,
            memory_epoch: self.one_time.as_ref().map_or(0, OneTime::memory_epoch),
        }
    }

    /// Has, of the doors that its file names, those that it `may_open` now; gives back those that it had and has no more. If it may not open
    /// the first it has none: what it opens without naming a door must not become another.
    pub(crate) fn keep_doors(&mut self, may_open: impl Fn(&str) -> bool) -> Vec<LostDoor> {
        let without = self.doors_of_file.first().filter(|first| !may_open(first));
        let now: Vec<_> = match without {
            None => self.doors_of_file.iter().filter(|door| may_open(door)).cloned().collect(),
            Some(_) => Vec::new(),
        };
        let had = mem::take(&mut self.doors).into_iter();
        let lost = had.filter(|door| !now.contains(door)).map(|door| LostDoor {
            rule: self.id.clone(),
            without: without.filter(|_| may_open(&door)).cloned(),
            door,
        });
        let lost = lost.collect();
        self.doors = now;
        lost
    }

    /// A mistake in the module that the rule runs.
    pub fn module_mistake(&self, what: impl Into<String>) -> Mistake {
        self.mistake(&self.module_place, what.into())
    }

    /// What the rule's module says is wrong with its settings.
    pub fn settings_mistakes(&self, refusal: &str) -> Vec<Mistake> {
        let mistakes = self.settings_places.mistakes(refusal).into_iter();
        mistakes.map(|(place, what)| self.mistake(place, what)).collect()
    }

    /// A mistake in the rule's n-th door.
    pub(crate) fn door_mistake(&self, n: usize, what: impl Into<String>) -> Mistake {
        self.mistake(&self.door_places[n], what.into())
    }

    /// A mistake in how long it opens its doors.
    pub(crate) fn lasts_mistake(&self, what: impl Into<String>) -> Mistake {
        self.mistake(&self.lasts_place, what.into())
    }

    /// A mistake in no key of its own.
    pub(crate) fn whole_mistake(&self, what: impl Into<String>) -> Mistake {
        self.mistake(&ValuePlace { line: 1, key: String::new() }, what.into())
    }

    /// A mistake in the prefixes that the rule may open its doors for.
    pub(crate) fn prefixes_mistake(&self, what: impl Into<String>) -> Mistake {
        self.mistake(&self.prefixes_place, what.into())
    }

    /// A mistake in the rule's n-th interface.
    pub(crate) fn interface_mistake(&self, n: usize, what: impl Into<String>) -> Mistake {
        self.mistake(&self.interface_places[n], what.into())
    }

    fn mistake(&self, place: &ValuePlace, what: String) -> Mistake {
        place.mistake(&self.file, what)
    }

    fn from_table(tenant: &TenantId, file: &Path, table: Table<'_>, ceilings: Ceilings) -> Option<Self> {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        let start = ValuePlace { line: 1, key: String::new() };
        if !is_name(stem) {
            table.mistake(&start, format!("the file's name is the rule's name: {}", NAME_RULE));
        }
        let module = table.text("module");
        if module.is_none() && !table.has("module") {
            table.mistake(&start, "no module; say which one: module = \"sequence\"");
        }
        let module_place = module.as_ref().map_or_else(|| start.clone(), |at| at.place.clone());
        let module = module.and_then(|at| Self::module(file, &table, &at));

        if table.has("door") && table.has("doors") {
            table.mistake(&start, "both door and doors; write one of them");
        }
        let doors =
            table.texts("door").or_else(|| table.texts_up_to("doors", MOST_NAMES)).unwrap_or_default();
        if doors.is_empty() && !table.has("door") && !table.has("doors") {
            table.mistake(&start, "no door; say which one the rule may open: door = \"ssh\"");
        }
        let door_places = doors.iter().map(|at| at.place.clone()).collect();
        let doors: Vec<Arc<str>> = doors.iter().map(|at| at.value.into()).collect();

        let lasts = table.duration("for", Ceilings::SHORTEST..=ceilings.longest).map(|at| at.value);
        let lasts_place = table.place_of("for");
        let prefixes = prefixes(&table).unwrap_or_default();
        let prefixes_place = table.place_of("prefixes");
        let group = table.text("group").map_or(stem, |at| at.value).into();
        let interfaces = table.texts_up_to("interfaces", MOST_NAMES).unwrap_or_default();
        let is_trial = table.flag("trial").unwrap_or(false);
        let log = Self::log_level(&table);
        let bounds = memory::of_a_rule(&table, tenant, ceilings.memory);
        let (limits, share) = Self::limits(tenant, &table, ceilings.instance);
        let (settings, settings_places) = SettingsPlaces::read(&table);
        table.finish();
        Some(Self {
            id: RuleId { tenant: tenant.clone(), name: stem.into() },
            number: 0,
            file: file.to_owned(),
            module: module?,
            doors_of_file: doors.clone(),
            doors,
            lasts,
            prefixes,
            group,
            interfaces: interfaces.iter().map(|at| at.value.into()).collect(),
            is_trial,
            log,
            sees_outgoing: false,
            bounds,
            limits,
            share,
            settings,
            one_time: None,
            module_place,
            settings_places,
            door_places,
            lasts_place,
            prefixes_place,
            interface_places: interfaces.iter().map(|at| at.place.clone()).collect(),
        })
    }

    pub(crate) fn module(
        file: &Path,
        table: &Table<'_>,
        At { value, place }: &At<&str>,
    ) -> Option<ModuleSource> {
        if value.contains('/') || Path::new(value).extension().is_some() {
            // Without `./` in it: it is shown to people, who open it.
            return Some(ModuleSource::File(file.with_file_name(value).components().collect()));
        }
        let stock = ModuleSource::STOCK.iter().find(|name| *name == value);
        if stock.is_none() {
            let known = ModuleSource::STOCK.join(", ");
            let example = if is_name(value) { value } else { "knock" };
            table.mistake(
                place,
                format!("there is no stock module `{value}`; the stock modules are: {known}; a file of your own is named with its path, such as ./{example}.wasm"),
            );
        }
        stock.map(|name| ModuleSource::Stock(name))
    }

    /// The level that the file says, or the daemon's.
    fn log_level(table: &Table<'_>) -> RuleLogLevel {
        let Some(At { value, place }) = table.text("log") else { return RuleLogLevel::default() };
        let level = RuleLogLevel::named(value);
        if level.is_none() {
            let names = "\"error\", \"warn\", \"info\", \"debug\" or \"off\"";
            table.mistake(&place, format!("`{value}` is no level of a log; use {names}"));
        }
        level.unwrap_or_default()
    }

    /// What is written, up to `most`; what is not is a default, or that.
    pub(crate) fn limits(tenant: &TenantId, table: &Table<'_>, most: RuleLimits) -> (RuleLimits, CpuShare) {
        let default = RuleLimits::default().min(most);
        let limits = table.table("limits");
        let cpu = limits.as_ref().and_then(|limits| limits.duration("cpu", *CPU.start()..=most.cpu));
        let memory_range = *INSTANCE_MEMORY.start() as u64..=most.memory as u64;
        let memory = limits.as_ref().and_then(|limits| limits.size("memory", memory_range));
        // A tenant's rules have the tenant's.
        let share = limits.as_ref().filter(|_| tenant.is_host()).and_then(|limits| limits.percent("share"));
        if let Some(limits) = limits {
            limits.finish();
        }
        let memory = memory.map(|at| usize::try_from(at.value).unwrap_or(usize::MAX));
        let cpu = cpu.map_or(default.cpu, |at| at.value);
        let limits = RuleLimits { cpu, memory: memory.unwrap_or(default.memory) };
        let share = match share {
            None => CpuShare::DEFAULT,
            // A whole processor is what a worker has.
            Some(100) => CpuShare::UNLIMITED,
            Some(percent) => CpuShare::percent(percent),
        };
        (limits, share)
    }
}
