//! What is said to whoever has started `posternd try`.

use std::time::Duration;

use postern_capture::Shown;
use postern_core::GuardDoor;
use postern_text::duration;

use super::{ConfirmedBy, WhyOver};

/// Ports that are named; of more it is said how many there are.
const MOST_PORTS: usize = 12;

/// Guarded ports, such as `tcp/22 (ssh)`.
pub(super) fn ports(doors: &[GuardDoor]) -> String {
    let all = doors.iter().flat_map(|door| door.ports.iter().map(|range| (range, &door.name)));
    let mut named: Vec<_> =
        all.clone().take(MOST_PORTS).map(|(range, door)| format!("{range} ({door})")).collect();
    match all.count().saturating_sub(MOST_PORTS) {
        0 => {}
        more => named.push(format!("and {more} more")),
    }
    named.join(", ")
}

/// How to confirm: `reads` is whether the terminal is read.
fn how(reads: bool) -> &'static str {
    if reads { "press Enter here, or run `postern confirm`" } else { "run `postern confirm`" }
}

pub(super) fn begun(ports: &str, left: Duration, reads: bool) -> Vec<String> {
    vec![
        format!("posternd try: closed to whoever has not knocked: {ports}."),
        format!(
            "It is open again in {}, and posternd ends, unless you confirm; the kernel sees to that, whatever happens here.",
            duration::show(round(left))
        ),
        format!(
            "To confirm: {}. A knock and a connection through the door confirm by themselves.",
            how(reads)
        ),
        "Connections that exist live on; keep this one.".to_owned(),
    ]
}

pub(super) fn reminder(ports: &str, left: Duration, reads: bool) -> String {
    format!(
        "posternd try: {} left, then {ports} is open again; to keep it closed {}",
        duration::show(left),
        how(reads)
    )
}

pub(super) fn confirmed_by(by: ConfirmedBy) -> String {
    match by {
        ConfirmedBy::Terminal => "Enter was pressed".to_owned(),
        ConfirmedBy::Control => "`postern confirm` was run".to_owned(),
        ConfirmedBy::Knock(client) => {
            format!("a knock of {} opened a door, and a connection came in", Shown(client))
        }
    }
}

pub(super) fn confirmed(by: &str) -> Vec<String> {
    vec![
        format!("posternd try: confirmed: {by}. The guard stays, and posternd goes on as `posternd run` does."),
        "To have it run for good: stop it with Ctrl-C (ports stay closed), then `systemctl enable --now postern`."
            .to_owned(),
    ]
}

pub(super) fn not_confirmed(why: &str, left: Duration) -> String {
    format!("posternd try: not confirmed, {} left: {why}; confirm again", duration::show(round(left)))
}

pub(super) fn why_over(why: WhyOver, lasts: Duration) -> String {
    match why {
        WhyOver::Expired => format!("nobody confirmed within {}", duration::show(lasts)),
        WhyOver::TerminalGone => "the terminal is gone before it was confirmed".to_owned(),
        WhyOver::Stopped => "it was stopped before it was confirmed".to_owned(),
        WhyOver::NothingGuarded => "no door guards a port, so there is nothing to try".to_owned(),
        WhyOver::Ended => "posternd ends before it was confirmed".to_owned(),
    }
}

pub(super) fn over(why: WhyOver, ports: Option<&str>, lasts: Duration, failed: Option<&str>) -> Vec<String> {
    let what = why_over(why, lasts);
    let end = match (why, ports, failed) {
        (WhyOver::NothingGuarded, ..) => "`posternd run` starts it".to_owned(),
        (_, None, _) => "nothing was closed".to_owned(),
        (_, Some(ports), None) => format!("{ports} is open again, as before"),
        (_, Some(ports), Some(failed)) => {
            format!("{failed}; the kernel opens {ports} at the end of the time all the same")
        }
    };
    vec![format!("posternd try: {what}; {end}. posternd ends.")]
}

/// To whole seconds, for people.
fn round(left: Duration) -> Duration {
    Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use postern_core::{GuardProtocol, OnClose, PortRange};

    use super::*;

    fn door(name: &str, ports: impl Iterator<Item = u16>) -> GuardDoor {
        GuardDoor {
            name: name.into(),
            ports: ports.map(|port| PortRange::single(GuardProtocol::Tcp, port)).collect(),
            always: Vec::new(),
            prefixes: Vec::new(),
            on_close: OnClose::Keep,
        }
    }

    #[test]
    fn ports_are_named_with_their_doors() {
        let (ssh, web) = (door("ssh", [22].into_iter()), door("web", [80, 443].into_iter()));
        assert_eq!(ports(&[ssh, web]), "tcp/22 (ssh), tcp/80 (web), tcp/443 (web)");
        let many = ports(&[door("many", 1..=20)]);
        assert!(many.ends_with("tcp/12 (many), and 8 more"), "{many}");
    }

    #[test]
    fn the_end_says_what_became_of_the_ports() {
        let lasts = Duration::from_secs(300);
        let said = |why, ports, failed| over(why, ports, lasts, failed).join("\n");
        assert_eq!(
            said(WhyOver::Expired, Some("tcp/22 (ssh)"), None),
            "posternd try: nobody confirmed within 5m; tcp/22 (ssh) is open again, as before. posternd ends."
        );
        assert_eq!(
            said(WhyOver::NothingGuarded, None, None),
            "posternd try: no door guards a port, so there is nothing to try; `posternd run` starts it. posternd ends."
        );
        assert_eq!(
            said(WhyOver::Stopped, Some("tcp/22 (ssh)"), Some("the doorman does not answer")),
            "posternd try: it was stopped before it was confirmed; the doorman does not answer; the kernel opens tcp/22 (ssh) at the end of \
             the time all the same. posternd ends."
        );
    }
}
