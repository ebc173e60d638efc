//! Runs a rule natively, with knocks as text lines, and keeps its memory as the host does: for each client, bounded,
//! expiring. There are no doors here: what a rule says is what comes out.
//!
//! A knock is a line such as `+0.4s 203.0.113.7 tcp/2222 flags=syn,ack`: a time, a source, a transport and a destination port (ICMP: the message
//! type), and whatever matters beyond. [`postern_lines`] has all of it. `posternd rule test` plays the same lines to the compiled module.
//!
//! Times count from [`ORIGIN`]. The host that the rule believes to be on has the addresses 192.0.2.1 and 2001:db8::1.
//! Empty lines, and whatever stands behind `#`, are left out.

mod line;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use postern_lines::{Source, Time, is_this_host};

use crate::{
    Destination, Interest, Knock, MAX_MEMORY, MAX_PAYLOAD, Memory, Progress, Rule, Timestamp, Transport,
    Verdict, Watch, rule,
};

/// When `+0.0s` is: 2023-11-14 22:13:20 UTC.
pub const ORIGIN: Timestamp = Timestamp::from_micros(postern_lines::ORIGIN);

/// The longest that the host remembers a client without a further knock.
const LONGEST_MEMORY: Duration = Duration::from_secs(3600);

/// Configures a rule with the JSON text `settings`, plays `knocks`, and gives a line for each with what the rule said; see
/// [`Rehearsal::play`]. If the rule refuses its settings, that is the only line: `refused: ...`.
///
/// # Panics
///
/// If a line of `knocks` cannot be parsed.
#[must_use]
pub fn rehearse<R: Rule>(settings: &str, knocks: &str) -> String {
    match Rehearsal::<R>::new(settings) {
        Ok(mut rehearsal) => rehearsal.play(knocks),
        Err(refusal) => format!("refused: {refusal}\n"),
    }
}

/// A configured rule, and what is remembered of its clients.
#[derive(Debug)]
pub struct Rehearsal<R> {
    rule: R,
    interest: Interest,
    /// By source and zone.
    memory: HashMap<(IpAddr, u32), Kept>,
}

/// What is remembered of one client.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    until: Timestamp,
}

impl<R: Rule> Rehearsal<R> {
    /// Configures a rule with the JSON text `settings`.
    ///
    /// # Errors
    ///
    /// What the rule says against its settings, or the host against the rule's interest.
    pub fn new(settings: &str) -> Result<Self, String> {
        let (rule, interest) = configure(settings)?;
        Ok(Self { rule, interest, memory: HashMap::new() })
    }

    /// Configures the rule again, as a reload does: what is remembered stays if the memory format is the same.
    ///
    /// # Errors
    ///
    /// As [`Rehearsal::new`]; then nothing changes.
    pub fn reload(&mut self, settings: &str) -> Result<(), String> {
        let (rule, interest) = configure(settings)?;
        if interest.memory_format != self.interest.memory_format {
            self.memory.clear();
        }
        (self.rule, self.interest) = (rule, interest);
        Ok(())
    }

    /// Plays knocks, a line each, and gives a line for each:
    ///
    /// ```text
    /// +0.0s 203.0.113.7 remember 1 until +5.0s
    /// +0.1s 203.0.113.7 ignore
    /// +0.2s 203.0.113.7 forget: wrong port
    /// +0.3s 203.0.113.7 open
    /// +0.4s 203.0.113.7 open ssh for 30s prefix 24 once token 6162 until +60.0s, web
    /// +0.5s 203.0.113.7 close and remember 0 until +5.5s
    /// +0.6s 203.0.113.7 not shown             the rule did not ask for such packets
    /// +0.7s 203.0.113.7 fault: remembers 2000 bytes; the most is 1024
    /// ```
    ///
    /// # Panics
    ///
    /// If a line cannot be parsed.
    pub fn play(&mut self, knocks: &str) -> String {
        let mut said = String::new();
        for (index, text) in knocks.lines().enumerate() {
            let text = text.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let knock = match line::parse(text) {
                Ok(knock) => knock,
                Err(mistake) => panic!("knock in line {}, `{text}`: {mistake}", index + 1),
            };
            let (time, source, zone) = (knock.time, knock.source, knock.source_zone);
            let verdict = self
                .offer(knock)
                .map_or_else(|| "not shown".to_owned(), |verdict| self.obey(time, (source, zone), verdict));
            let (time, source) = (Time(time.as_micros()), Source { address: source, zone });
            // Writing to a String cannot fail.
            let _ = writeln!(said, "{time} {source} {verdict}");
        }
        said
    }

    /// What the rule says of this knock, if it asked for such a one.
    pub fn offer(&self, mut knock: Knock) -> Option<Verdict<R::Memory>> {
        if !self.wants(&knock) {
            return None;
        }
        knock.payload.truncate(usize::try_from(self.interest.payload_limit).unwrap_or(usize::MAX));
        if !self.interest.tcp_header {
            knock.tcp_header = None;
        }
        let kept = self.memory.get(&(knock.source, knock.source_zone)).filter(|kept| kept.until > knock.time);
        let memory = kept.and_then(|kept| R::Memory::from_bytes(&kept.bytes));
        Some(self.rule.judge(&knock, memory))
    }

    fn wants(&self, knock: &Knock) -> bool {
        let is_meant = match &self.interest.destination {
            Destination::ThisHost => is_this_host(knock.destination),
            Destination::Anywhere => true,
            Destination::Within(prefixes) => prefixes.iter().any(|prefix| prefix.contains(knock.destination)),
        };
        is_meant && self.interest.watches.iter().any(|watch| watch.matches(knock))
    }

    /// Changes memory as the host would, and shows the verdict as a line. A faulty verdict changes nothing.
    fn obey(&mut self, now: Timestamp, source: (IpAddr, u32), verdict: Verdict<R::Memory>) -> String {
        if let Some(fault) = line::fault(&verdict, now) {
            return format!("fault: {fault}");
        }
        let progress = match &verdict {
            Verdict::Ignore => return line::verdict(&verdict),
            Verdict::Remember(progress) => Some(progress),
            Verdict::Open { remember, .. } | Verdict::Close { remember, .. } => remember.as_ref(),
            Verdict::Forget(_) => None,
        };
        let kept = progress.map(|Progress { memory, until, .. }| Kept {
            bytes: memory.to_bytes(),
            until: (*until).min(now + LONGEST_MEMORY),
        });
        match kept {
            Some(Kept { bytes, .. }) if bytes.len() > MAX_MEMORY => {
                return format!("fault: remembers {} bytes; the most is {MAX_MEMORY}", bytes.len());
            }
            Some(kept) => drop(self.memory.insert(source, kept)),
            None => drop(self.memory.remove(&source)),
        }
        line::verdict(&verdict)
    }
}

fn configure<R: Rule>(settings: &str) -> Result<(R, Interest), String> {
    let (rule, interest) = rule::configure(settings)?;
    check(&interest)?;
    Ok((rule, interest))
}

/// The host's own checks of an interest.
fn check(interest: &Interest) -> Result<(), String> {
    let Interest { watches, destination, payload_limit, .. } = interest;
    if watches.is_empty() || watches.len() > 1024 {
        return Err(format!("the rule asks for {} watches; it must be 1 to 1024", watches.len()));
    }
    for Watch { transport, ports, set, clear } in watches {
        let highest = if matches!(transport, Transport::Icmp | Transport::Icmpv6) { 255 } else { u16::MAX };
        if ports.first > ports.last || ports.last > highest {
            let (first, last) = (ports.first, ports.last);
            return Err(format!(
                "the rule watches {transport} {first} to {last}; it must be a range within 0 to {highest}"
            ));
        }
        if set.intersects(*clear) {
            return Err(format!("the rule watches {transport} with a flag that must be both set and clear"));
        }
    }
    if *payload_limit > MAX_PAYLOAD {
        return Err(format!("the rule asks for {payload_limit} bytes of payload; the most is {MAX_PAYLOAD}"));
    }
    match destination {
        Destination::Within(prefixes) if prefixes.len() > 64 => {
            Err(format!("the rule asks for {} destination prefixes; the most is 64", prefixes.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
