//! RuleState: a rule at work in a shard: its instance, its back-off, and what becomes of its verdict.

use postern_core::{
    Backoff, Client, DropReason, HashedClient, Knock, Memories, MemoryId, Moment, Observer, Remembered,
    Report, Request, RuleId, Silence, Verdict, What,
};

use crate::instance::{Instance, StartError};
use crate::loaded_rule::LoadedRule;
use crate::rule_counts::VerdictKind;
use crate::runtime::RunPermit;

/// Why a client starts over whose rule remembers it until a moment that is past.
const PAST: &str = "the rule remembers it until a moment that is not after its knock; `until` is in microseconds since 1970, as the knock's time is";

#[derive(Debug)]
pub(super) struct RuleState {
    pub(super) memory: MemoryId,
    /// None until the first knock, and after a fault.
    pub(super) instance: Option<Instance>,
    backoff: Backoff,
}

/// The outcome of a rule's judging a knock, and of storing what it wanted to remember.
#[derive(Debug, Default)]
pub(super) struct Judged {
    what: Option<Outcome>,
    /// The client is remembered.
    remembers: bool,
    /// No client could be evicted, so this one is not remembered.
    is_full: bool,
}

/// The outcome of a rule's judging a knock; an ignored knock has none.
#[derive(Debug)]
enum Outcome {
    Happened(What<'static>),
    /// Doors should open or close.
    Asks(Request),
    /// The rule was not asked.
    Dropped(DropReason),
}

impl RuleState {
    pub(super) fn new(memory: MemoryId) -> Self {
        Self { memory, instance: None, backoff: Backoff::default() }
    }

    pub(super) fn carry_over(self, old: &LoadedRule, new: &LoadedRule, memories: &mut Memories) -> Self {
        if old.memory_format != new.memory_format {
            memories.clear(self.memory);
        }
        if new.runs_like(old) { self } else { Self::new(self.memory) }
    }

    pub(super) fn judge(
        &mut self,
        running: &RunPermit<'_>,
        rule: &LoadedRule,
        memories: &mut Memories,
        knock: &Knock,
        client: HashedClient,
        now: Moment,
    ) -> Judged {
        if self.backoff.is_active(now) {
            return Judged::only(Outcome::Dropped(DropReason::BackingOff));
        }
        let remembered = memories.recall(self.memory, client, knock.time);
        let stopwatch = &running.stopwatch;
        let begun = rule.share.as_ref().map(|share| (share, stopwatch.begin(rule.tenant)));
        let verdict = self.call(running, rule, knock, remembered);
        match begun {
            Some((share, begun)) => {
                let used = stopwatch.end(begun);
                share.charge(now, used);
                rule.counts.charge(used);
            }
            None => stopwatch.interrupt(),
        }
        rule.counts.count(kind_of(&verdict));
        let (what, progress) = match verdict {
            Ok(Verdict::Ignore) => return Judged::default(),
            Ok(Verdict::Remember(progress)) if progress.until <= knock.time => {
                let is_past = || Outcome::Happened(What::Forgot { reason: PAST.into(), level: rule.log });
                ((progress.stage > 0).then(is_past), None)
            }
            // Stage 0 is no progress, so there is nothing to report.
            Ok(Verdict::Remember(progress)) => (
                (progress.stage > 0).then(|| {
                    let lasts = progress.until.since(knock.time);
                    Outcome::Happened(What::Stage { stage: progress.stage, lasts })
                }),
                Some(progress),
            ),
            Ok(Verdict::Forget(reason)) => {
                let reason = String::from(reason).into();
                (Some(Outcome::Happened(What::Forgot { reason, level: rule.log })), None)
            }
            Ok(Verdict::Open { requests, remember }) => {
                (Some(Outcome::Asks(Request::Open(requests))), remember)
            }
            Ok(Verdict::Close { requests, remember }) => {
                (Some(Outcome::Asks(Request::Close(requests))), remember)
            }
            Err(error) => return Judged::only(self.fault(rule, &error, now)),
        };
        let Some(progress) = progress else {
            memories.forget(self.memory, client);
            return Judged { what, ..Judged::default() };
        };
        let Remembered { is_kept, .. } = memories.remember(self.memory, client, progress, knock.time);
        // A stage that is not remembered was not reached; but doors open all the same.
        let what = what.filter(|what| is_kept || !matches!(what, Outcome::Happened(What::Stage { .. })));
        Judged { what, remembers: is_kept, is_full: !is_kept }
    }

    /// Calls the rule, for which it is started if it must be. After a fault there is no instance any more; what is remembered of clients stays.
    fn call(
        &mut self,
        running: &RunPermit<'_>,
        rule: &LoadedRule,
        knock: &Knock,
        remembered: Option<&[u8]>,
    ) -> Result<Verdict, StartError> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => none.insert(rule.start()?),
        };
        let verdict = instance.judge(running, knock, remembered);
        if verdict.is_err() {
            self.instance = None;
        }
        Ok(verdict?)
    }

    fn fault(&mut self, rule: &LoadedRule, error: &StartError, now: Moment) -> Outcome {
        let (detail, pause) = (error.to_string().into(), self.backoff.fault(now));
        Outcome::Happened(What::Fault { detail, pause, module: rule.module() })
    }
}

const fn kind_of(verdict: &Result<Verdict, StartError>) -> VerdictKind {
    match verdict {
        Ok(Verdict::Ignore) => VerdictKind::Ignore,
        Ok(Verdict::Remember(_)) => VerdictKind::Remember,
        Ok(Verdict::Forget(_)) => VerdictKind::Forget,
        Ok(Verdict::Open { .. }) => VerdictKind::Open,
        Ok(Verdict::Close { .. }) => VerdictKind::Close,
        Err(_) => VerdictKind::Fault,
    }
}

impl Judged {
    fn only(what: Outcome) -> Self {
        Self { what: Some(what), ..Self::default() }
    }

    pub(super) fn tell(
        self,
        rule: &RuleId,
        knock: &Knock,
        observer: &dyn Observer,
        ask: impl FnOnce(&RuleId, Request),
    ) {
        let dropped = |reason, count| observer.count_drops(Some(&rule.tenant), reason, count);
        let happened = |what| {
            let client = Client::on_link(knock.source, knock.link);
            observer.report(&Report::of_rule(rule, what).with_client(client));
        };
        if self.is_full {
            dropped(DropReason::MemoryFull, 1);
            observer.silent(rule, knock, Silence::Dropped(DropReason::MemoryFull));
        }
        match self.what {
            None if self.is_full => {}
            None if self.remembers => observer.silent(rule, knock, Silence::Remembered),
            None => observer.silent(rule, knock, Silence::Ignored),
            Some(Outcome::Happened(what)) => happened(what),
            Some(Outcome::Dropped(reason)) => {
                dropped(reason, 1);
                observer.silent(rule, knock, Silence::Dropped(reason));
            }
            Some(Outcome::Asks(request)) => {
                happened(What::Solved { closes: matches!(request, Request::Close(_)) });
                ask(rule, request);
            }
        }
    }
}
