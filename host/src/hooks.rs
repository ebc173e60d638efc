//! Hooks: has commands run when something happens that the log has a line for. What is reported more often than that causes nothing more.
//!
//! **Invariant:** whoever reports waits for no command, and no text of a report is anything but data to one. What happens to one owner's rules leaves
//! no event of another's without a command.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use postern_config::Hook;
use postern_core::{HookRun, Report, TenantId};
use postern_text::panic::PastPanic;

use crate::observe::plain_line;

/// The longest value in a command's environment, in bytes: a command whose environment is too large cannot be started.
const LONGEST_VALUE: usize = 4096;

/// Owners of whom it is known how often a hook has run. There are no more at a time; those that are gone make place.
const MOST_OWNERS: usize = 1025;

/// Passes on what is to be run; false if it cannot be.
type PassOn = Box<dyn Fn(HookRun) -> bool + Send + Sync>;

/// Where reports lead to commands. None do until a configuration says so.
#[derive(Clone, Default)]
pub struct Hooks(Arc<ArcSwapOption<HooksInForce>>);

struct HooksInForce {
    hooks: Vec<PacedHook>,
    pass_on: PassOn,
}

/// A hook, and how often it may run for the events of each owner of rules.
struct PacedHook {
    hook: Hook,
    paces: Mutex<HashMap<TenantId, HookPace>>,
}

/// So many runs a minute, as many at once.
#[derive(Debug)]
struct HookPace {
    /// When as many may run as ever.
    full_at: Instant,
    /// Events since the last run for which there was none.
    left_out: u64,
}

impl Hooks {
    /// From now on these hooks are in force, and `pass_on` gets what they have run.
    pub(crate) fn put_in_force(
        &self,
        hooks: Vec<Hook>,
        pass_on: impl Fn(HookRun) -> bool + Send + Sync + 'static,
    ) {
        if hooks.is_empty() {
            return self.switch_off();
        }
        let before = self.0.load();
        let is_same = |before: &&HooksInForce| before.hooks.iter().map(|paced| &paced.hook).eq(&hooks);
        // A part of the daemon that keeps being started anew gives no hook more runs.
        let same = before.as_deref().filter(is_same);
        let hooks = hooks.into_iter().enumerate().map(|(n, hook)| {
            let of_same = same.and_then(|same| same.hooks.get(n));
            let paces = of_same.map(|of_same| mem::take(&mut *of_same.paces.lock().past_panic()));
            PacedHook { hook, paces: Mutex::new(paces.unwrap_or_default()) }
        });
        let hooks = hooks.collect();
        self.0.store(Some(Arc::new(HooksInForce { hooks, pass_on: Box::new(pass_on) })));
    }

    /// From now on nothing is run.
    pub(crate) fn switch_off(&self) {
        self.0.store(None);
    }

    /// Something was reported, with a line of the log, at `time` as that has it.
    pub(crate) fn happened(&self, report: &Report<'_>, time: impl Fn() -> String) {
        let in_force = self.0.load();
        let Some(HooksInForce { hooks, pass_on }) = in_force.as_deref() else { return };
        let name = report.what.name();
        for (n, paced) in hooks.iter().enumerate() {
            if !paced.hook.on.iter().any(|on| on == name) {
                continue;
            }
            let owner = report.tenant().cloned().unwrap_or_else(TenantId::host);
            let (mut paces, now) = (paced.paces.lock().past_panic(), Instant::now());
            if paces.len() >= MOST_OWNERS && !paces.contains_key(&owner) {
                paces.retain(|_, pace| pace.full_at > now);
            }
            let pace = paces.entry(owner.clone()).or_insert(HookPace { full_at: now, left_out: 0 });
            let is_run = pace.take(paced.hook.rate, now)
                && pass_on(run_of(n, &paced.hook, owner, report, time(), pace.left_out));
            pace.left_out = if is_run { 0 } else { pace.left_out.saturating_add(1) };
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl HookPace {
    /// Takes one run of so many a minute, if there is one.
    fn take(&mut self, rate: u32, now: Instant) -> bool {
        let each = Duration::from_secs(60) / rate.max(1);
        let full_at = self.full_at.max(now) + each;
        let may = full_at.saturating_duration_since(now) <= Duration::from_secs(60);
        if may {
            self.full_at = full_at;
        }
        may
    }
}

/// What a hook has run for a report: the line that programs get in the log, and what is most asked for of it in the environment.
fn run_of(
    n: usize,
    hook: &Hook,
    owner: TenantId,
    report: &Report<'_>,
    time: String,
    left_out: u64,
) -> HookRun {
    let mut event = plain_line(report).json(time);
    if left_out > 0 {
        event.insert("left_out".to_owned(), left_out.into());
    }
    let named = |name: &str| {
        let value = event.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        value[..value.floor_char_boundary(LONGEST_VALUE)].to_owned()
    };
    let environment = ["event", "level", "tenant", "rule", "door", "src", "message"]
        .map(|name| (format!("POSTERN_{}", name.to_ascii_uppercase()), named(name)));
    HookRun {
        hook: u32::try_from(n).unwrap_or(u32::MAX),
        place: hook.place.clone(),
        owner,
        argv: hook.run.clone(),
        user: hook.user.clone(),
        limit: hook.timeout,
        environment: environment.into(),
        event: serde_json::Value::Object(event).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use postern_core::{Client, RuleId, Scope, What};

    use super::*;

    fn hook(on: &[&str], rate: u32) -> Hook {
        let on = on.iter().map(|on| (*on).to_owned()).collect();
        let run = vec!["/bin/true".to_owned()];
        Hook { place: "p.toml:7".to_owned(), on, run, user: None, rate, timeout: Duration::from_secs(1) }
    }

    /// Hooks, and what they have run.
    fn hooks(hooks: Vec<Hook>) -> (Hooks, Arc<Mutex<Vec<HookRun>>>) {
        let (slot, run) = (Hooks::default(), Arc::new(Mutex::new(Vec::new())));
        let into = Arc::clone(&run);
        slot.put_in_force(hooks, move |run| {
            into.lock().unwrap().push(run);
            true
        });
        (slot, run)
    }

    #[test]
    fn a_command_is_run_for_the_events_that_it_asks_for_and_hears_the_line_of_the_log() {
        let (slot, run) = hooks(vec![hook(&["stuck"], 10), hook(&["open", "close"], 10)]);
        let rule = RuleId { tenant: TenantId::new("web"), name: "knock\n".into() };
        let client: Client = "192.0.2.7".parse().unwrap();
        let opened = What::Opened { lasts: Duration::from_secs(30), module: None };
        let report =
            Report { door: Some("ssh".into()), ..Report::of_rule(&rule, opened).with_client(client) };
        slot.happened(&report, || "now".to_owned());
        slot.happened(&Report::new(What::Hangup), || panic!("nobody asked"));
        let run = run.lock().unwrap();
        let [HookRun { hook: 1, place, event, environment, .. }] = &run[..] else { panic!("{run:?}") };
        assert_eq!(place, "p.toml:7");
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        let expected = serde_json::json!({
            "timestamp": "now", "level": "INFO", "message": "ssh is open for 192.0.2.7 for 30s", "event": "open", "tenant": "web",
            "rule": "knock\\n", "door": "ssh", "src": "192.0.2.7", "lasts_s": 30.0,
        });
        assert_eq!(event, expected);
        let has = |name: &str, value: &str| environment.contains(&(name.to_owned(), value.to_owned()));
        assert!(has("POSTERN_EVENT", "open") && has("POSTERN_SRC", "192.0.2.7"), "{environment:?}");
        assert!(has("POSTERN_RULE", "knock\\n"), "no text makes a line: {environment:?}");
    }

    #[test]
    fn what_a_command_finds_is_cut_shorter_than_what_it_reads() {
        let (slot, run) = hooks(vec![hook(&["mistake"], 10)]);
        let detail = "\u{e4}".repeat(5000);
        slot.happened(&Report::new(What::Mistake { detail: detail.as_str().into() }), String::new);
        let run = run.lock().unwrap();
        assert!(run[0].environment.iter().all(|(_, value)| value.len() <= LONGEST_VALUE));
        assert!(run[0].event.len() > LONGEST_VALUE);
    }

    #[test]
    fn so_many_run_in_a_minute_and_the_next_is_told_how_many_did_not() {
        let start = Instant::now();
        let mut pace = HookPace { full_at: start, left_out: 0 };
        let taken = |pace: &mut HookPace, seconds| {
            (0..100).filter(|_| pace.take(6, start + Duration::from_secs(seconds))).count()
        };
        assert_eq!([taken(&mut pace, 0), taken(&mut pace, 9), taken(&mut pace, 30)], [6, 0, 3]);
        assert_eq!(taken(&mut pace, 600), 6);

        let (slot, run) = hooks(vec![hook(&["hangup"], 2)]);
        (0..5).for_each(|_| slot.happened(&Report::new(What::Hangup), String::new));
        assert_eq!(run.lock().unwrap().len(), 2);
        // The same, a line further down, is put in force again: it has no more runs than before.
        let (moved, into) = (Hook { place: "p.toml:8".to_owned(), ..hook(&["hangup"], 2) }, Arc::clone(&run));
        slot.put_in_force(vec![moved], move |run| {
            into.lock().unwrap().push(run);
            true
        });
        slot.happened(&Report::new(What::Hangup), String::new);
        assert_eq!(run.lock().unwrap().len(), 2);
        let in_force = slot.0.load();
        let paced = &in_force.as_ref().unwrap().hooks[0];
        paced.paces.lock().unwrap().get_mut(&TenantId::host()).unwrap().full_at = Instant::now();
        slot.happened(&Report::new(What::Hangup), String::new);
        slot.happened(&Report::new(What::Hangup), String::new);
        let run = run.lock().unwrap();
        assert_eq!(run[2].place, "p.toml:8");
        let left_out =
            |n: usize| serde_json::from_str::<serde_json::Value>(&run[n].event).unwrap()["left_out"].as_u64();
        assert_eq!((left_out(0), left_out(2), left_out(3)), (None, Some(4), None));
    }

    #[test]
    fn the_events_of_one_owner_use_up_no_run_of_another() {
        let (slot, run) = hooks(vec![hook(&["hangup"], 2)]);
        let happens = |scope| slot.happened(&Report { scope, ..Report::new(What::Hangup) }, String::new);
        let tenant = |n: usize| Scope::Tenant(Cow::Owned(TenantId::new(&format!("t{n}"))));
        (0..100).for_each(|_| happens(tenant(0)));
        (0..100).for_each(|_| happens(Scope::Machine));
        (0..4).for_each(|_| happens(tenant(1)));
        let owners: Vec<_> = run.lock().unwrap().iter().map(|run| run.owner.to_string()).collect();
        assert_eq!(owners, ["t0", "t0", "host", "host", "t1", "t1"]);
        // Those that are gone are forgotten once they could run as much as ever.
        let in_force = slot.0.load();
        let paces = &in_force.as_ref().unwrap().hooks[0].paces;
        (2..MOST_OWNERS - 1).for_each(|n| happens(tenant(n)));
        assert_eq!(paces.lock().unwrap().len(), MOST_OWNERS);
        paces.lock().unwrap().values_mut().for_each(|pace| pace.full_at = Instant::now());
        happens(tenant(MOST_OWNERS));
        assert_eq!(paces.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_passed_on_is_left_out_and_none_are_run_without_a_hook() {
        let slot = Hooks::default();
        slot.happened(&Report::new(What::Hangup), || panic!("nobody asked"));
        slot.put_in_force(vec![hook(&["hangup"], 10)], |_| false);
        (0..3).for_each(|_| slot.happened(&Report::new(What::Hangup), String::new));
        let in_force = slot.0.load();
        assert_eq!(in_force.as_ref().unwrap().hooks[0].paces.lock().unwrap()[&TenantId::host()].left_out, 3);
        slot.put_in_force(Vec::new(), |_| panic!("there is none"));
        slot.happened(&Report::new(What::Hangup), || panic!("nobody asked"));
    }
}
