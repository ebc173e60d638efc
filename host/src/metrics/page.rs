//! Page: what is measured as `OpenMetrics` has it.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use postern_core::{Direction, RuleId};
use postern_sandbox::VerdictKind;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::sources::{EngineCounts, Sources};

/// A family of series, without what the format adds to its name: the unit, and `total` or `info`.
pub(super) struct Family {
    pub(super) name: &'static str,
    help: &'static str,
    pub(super) kind: MetricType,
    pub(super) has_seconds: bool,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::Counter, has_seconds: false }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::Gauge, has_seconds: false }
}

const BUILD: Family = Family {
    name: "postern_build",
    help: "Which version this is",
    kind: MetricType::Info,
    has_seconds: false,
};
const GENERATION: Family = gauge("postern_generation", "The number of the generation in force");
const RULES: Family = gauge("postern_rules", "Rules in force");
const PACKETS: Family = counter("postern_packets", "Packets that passed the kernel's filter");
const LOST: Family = counter("postern_packets_lost", "Of these, packets that found the ring full");
const LISTENING: Family = gauge("postern_listening", "Whether incoming packets are captured, 0 or 1");
const KNOCKS: Family = counter("postern_knocks", "Packets that were looked at for rules");
const DROPS: Family = counter("postern_drops", "Packets and verdicts that came to nothing");
const VERDICTS: Family = counter("postern_verdicts", "What rules said of packets, and how often they failed");
const CPU: Family = Family {
    name: "postern_rule_cpu",
    help: "CPU time of rules, as it counts for their shares",
    kind: MetricType::Counter,
    has_seconds: true,
};
const OPENINGS: Family = counter("postern_openings", "Doors opened");
const CLOSINGS: Family = counter("postern_closings", "Doors closed");
const OPEN: Family = gauge("postern_open_doors", "Openings that are open now");
const STUCK: Family = counter("postern_stuck_doors", "Openings that must be closed by hand");
const TIMES: Family = Family {
    name: "postern_time_to_open",
    help: "From a packet to the door that it opened, as the daemon hears of it",
    kind: MetricType::Histogram,
    has_seconds: true,
};
const RELOADS: Family =
    counter("postern_reloads", "Configurations that were put in force, the first included, or refused");
const NEWEST: Family = gauge(
    "postern_newest_configuration_in_force",
    "Whether the newest configuration is in force, 0 if it was refused",
);
const REFUSED_TENANTS: Family =
    counter("postern_tenant_reloads_refused", "How often files of a tenant were refused");
const CLAIMS: Family =
    counter("postern_ledger_claims", "One-time tokens and counters that were to be used up");
const COMMITS: Family = counter("postern_ledger_commits", "Writes of the ledger to the disk");
const COMMIT_TIME: Family = Family {
    name: "postern_ledger_commit",
    help: "How long these took",
    kind: MetricType::Counter,
    has_seconds: true,
};
const LEDGER: Family = gauge("postern_ledger_usable", "Whether used tokens can be recorded, 0 or 1");
const RESTORED: Family =
    counter("postern_guard_repairs", "Repairs of a guard that another program had removed, or a part of it");
const RULESET: Family = counter(
    "postern_ruleset_changes",
    "How often what is open was read back, as the packet filter was changed",
);
const RESTARTS: Family = counter("postern_role_restarts", "Processes of the daemon that were started anew");
const PANICS: Family = counter("postern_panics", "Panics that were survived");
const PROBES: Family =
    counter("postern_probes_missing", "Knocks of the watchdog that came back too late or to nothing");

/// All of them, in the order of the page.
#[cfg(test)]
pub(super) const FAMILIES: [Family; 27] = [
    BUILD,
    GENERATION,
    RULES,
    PACKETS,
    LOST,
    LISTENING,
    KNOCKS,
    DROPS,
    VERDICTS,
    CPU,
    OPENINGS,
    CLOSINGS,
    OPEN,
    STUCK,
    TIMES,
    RELOADS,
    NEWEST,
    REFUSED_TENANTS,
    CLAIMS,
    COMMITS,
    COMMIT_TIME,
    LEDGER,
    RESTORED,
    RULESET,
    RESTARTS,
    PANICS,
    PROBES,
];

/// Makes the page.
pub(super) struct Page(Registry);

impl Page {
    pub(super) fn new(sources: Arc<Sources>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// As of now.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.0);
        text
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.of_configuration(&mut writer)?;
        self.of_packets(&mut writer)?;
        self.of_rules(&mut writer)?;
        let engine = self.engine();
        self.of_doors(&mut writer, &engine.open)?;
        self.of_the_daemon(&mut writer, &engine)
    }
}

impl Sources {
    fn of_configuration(&self, to: &mut Writer<'_>) -> fmt::Result {
        let in_force = self.in_force.load();
        to.family(&BUILD)?.encode_info(&Labels(&[("version", env!("CARGO_PKG_VERSION"))]))?;
        to.family(&GENERATION)?.encode_gauge(&in_force.generation)?;
        let mut family = to.family(&RULES)?;
        for (tenant, rules) in in_force.rules_of_tenants() {
            family.encode_family(&Labels(&[("tenant", tenant.as_str())]))?.encode_gauge(&rules)?;
        }
        Ok(())
    }

    fn of_packets(&self, to: &mut Writer<'_>) -> fmt::Result {
        let in_force = self.in_force.load();
        // One that is too busy to say is left out this time.
        let seen: Vec<_> = in_force
            .captures
            .iter()
            .filter_map(|(interface, direction, counter)| Some((interface, *direction, counter.stats()?)))
            .collect();
        let direction_name = |direction| match direction {
            Direction::Incoming => "incoming",
            Direction::Outgoing => "outgoing",
        };
        for (family, is_lost) in [(&PACKETS, false), (&LOST, true)] {
            let mut family = to.family(family)?;
            for (interface, direction, stats) in &seen {
                let labels = [("interface", interface.as_str()), ("direction", direction_name(*direction))];
                let value = if is_lost { stats.dropped } else { stats.received };
                count(&mut family.encode_family(&Labels(&labels))?, value)?;
            }
        }
        let mut family = to.family(&LISTENING)?;
        for (interface, is_listening) in &self.counted.tally().listening {
            family
                .encode_family(&Labels(&[("interface", interface)]))?
                .encode_gauge(&u32::from(*is_listening))?;
        }
        count(&mut to.family(&KNOCKS)?, self.counted.knocks())?;
        let mut family = to.family(&DROPS)?;
        for (tenant, reason, drops) in self.counted.drops.all() {
            let tenant = tenant.as_ref().map_or("", |tenant| tenant.as_str());
            count(
                &mut family.encode_family(&Labels(&[("tenant", tenant), ("reason", reason.name())]))?,
                drops,
            )?;
        }
        Ok(())
    }

    fn of_rules(&self, to: &mut Writer<'_>) -> fmt::Result {
        let in_force = self.in_force.load();
        let mut family = to.family(&VERDICTS)?;
        for (rule, counts) in &in_force.rules {
            let [tenant, name] = names(Some(rule));
            for kind in VerdictKind::ALL {
                let labels = [tenant, name, ("verdict", kind.name())];
                count(&mut family.encode_family(&Labels(&labels))?, counts.verdicts(kind))?;
            }
        }
        let mut family = to.family(&CPU)?;
        for (rule, counts) in &in_force.rules {
            let seconds = counts.cpu().as_secs_f64();
            family
                .encode_family(&Labels(&names(Some(rule))))?
                .encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
        }
        Ok(())
    }

    fn of_doors(&self, to: &mut Writer<'_>, open: &HashMap<Arc<str>, u64>) -> fmt::Result {
        let (in_force, tally) = (self.in_force.load(), self.counted.tally().clone());
        let mut family = to.family(&OPENINGS)?;
        for ((rule, door), openings) in &tally.openings {
            let [tenant, name] = names(rule.as_ref());
            count(&mut family.encode_family(&Labels(&[tenant, name, ("door", door)]))?, *openings)?;
        }
        let mut family = to.family(&CLOSINGS)?;
        for ((door, reason), closings) in &tally.closings {
            count(&mut family.encode_family(&Labels(&[("door", door), ("reason", reason)]))?, *closings)?;
        }
        let mut family = to.family(&OPEN)?;
        for door in &in_force.doors {
            let open = open.get(door).copied().unwrap_or_default();
            family.encode_family(&Labels(&[("door", door)]))?.encode_gauge(&open)?;
        }
        let mut family = to.family(&STUCK)?;
        for door in &in_force.doors {
            let stuck = tally.stuck.get(door).copied().unwrap_or_default();
            count(&mut family.encode_family(&Labels(&[("door", door)]))?, stuck)?;
        }
        let mut family = to.family(&TIMES)?;
        for (door, times) in &tally.times {
            family.encode_family(&Labels(&[("door", door)]))?.encode_histogram::<NoLabelSet>(
                times.sum(),
                times.count(),
                &times.buckets(),
                None,
            )?;
        }
        Ok(())
    }

    fn of_the_daemon(&self, to: &mut Writer<'_>, engine: &EngineCounts) -> fmt::Result {
        let tally = self.counted.tally().clone();
        let mut family = to.family(&RELOADS)?;
        for (result, reloads) in [("in-force", tally.reloads), ("refused", tally.refused_reloads)] {
            count(&mut family.encode_family(&Labels(&[("result", result)]))?, reloads)?;
        }
        to.family(&NEWEST)?.encode_gauge(&u32::from(!tally.is_newest_refused))?;
        let mut family = to.family(&REFUSED_TENANTS)?;
        for (tenant, refused) in &tally.refused_tenants {
            count(&mut family.encode_family(&Labels(&[("tenant", tenant.as_str())]))?, *refused)?;
        }
        let (recorded, refused) = engine.claims;
        let mut family = to.family(&CLAIMS)?;
        for (result, claims) in [("recorded", recorded), ("refused", refused)] {
            count(&mut family.encode_family(&Labels(&[("result", result)]))?, claims)?;
        }
        let (commits, took) = engine.commits;
        count(&mut to.family(&COMMITS)?, commits)?;
        to.family(&COMMIT_TIME)?.encode_counter::<NoLabelSet, _, f64>(&took.as_secs_f64(), None)?;
        to.family(&LEDGER)?.encode_gauge(&u32::from(!tally.is_ledger_unusable))?;
        count(&mut to.family(&RESTORED)?, self.counted.tally().restored_guards)?;
        count(&mut to.family(&RULESET)?, engine.ruleset_changes)?;
        let mut family = to.family(&RESTARTS)?;
        for process in self.processes() {
            count(&mut family.encode_family(&Labels(&[("role", &process.name)]))?, process.restarts)?;
        }
        count(&mut to.family(&PANICS)?, tally.panics)?;
        count(&mut to.family(&PROBES)?, tally.missing_probes)
    }
}

/// Whose something is. What is no rule's is written as the log writes it.
fn names(rule: Option<&RuleId>) -> [(&'static str, &str); 2] {
    let (tenant, name) = rule.map_or(("", "-"), |rule| (rule.tenant.as_str(), &*rule.name));
    [("tenant", tenant), ("rule", name)]
}

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn family(
        &mut self,
        Family { name, help, kind, has_seconds }: &'static Family,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        let unit = has_seconds.then_some(const { &Unit::Seconds });
        self.0.encode_descriptor(name, &format!("{help}."), unit, *kind)
    }
}

fn count(to: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    to.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

/// What a series is named by.
#[derive(Debug)]
struct Labels<'a>(&'a [(&'static str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.0 {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut text = key.encode_label_value()?;
            write!(text, "{}", postern_text::line(value))?;
            text.finish()?;
        }
        Ok(())
    }
}
