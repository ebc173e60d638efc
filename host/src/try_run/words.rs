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

/// What becomes of so many ports.
fn are(ports: &str) -> &'static str {
    if ports.contains(", ") { "are" } else { "is" }
}

/// How to confirm: `reads` is whether the terminal is read.
fn how(reads: bool) -> &'static str {
    if reads { "press Enter here, or run `postern confirm`" } else { "run `postern confirm`" }
}

pub(super) fn begun(ports: &str, left: Duration, reads: bool) -> Vec<String> {
    vec![
        format!("posternd try: closed to whoever has not knocked: {ports}."),
        format!(
            "{} open again in {}, and posternd ends, unless you confirm; the kernel sees to that, whatever happens here.",
            if are(ports) == "is" { "It is" } else { "They are" },
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
        "posternd try: {} left, then {ports} {} open again; to keep {} closed {}",
        duration::show(left),
        are(ports),
        if are(ports) == "is" { "it" } else { "them" },
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
        "To have it run for good: stop it with Ctrl-C (ports stay closed), then `systemctl enable --now postern`, or \
         `posternd run` if there is no unit."
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
        WhyOver::Ended => "it could not go on".to_owned(),
    }
}

pub(super) fn over(why: WhyOver, ports: Option<&str>, lasts: Duration, failed: Option<&str>) -> Vec<String> {
    let what = why_over(why, lasts);
    let end = match (why, ports, failed) {
        (WhyOver::NothingGuarded, ..) => "`posternd run` starts it".to_owned(),
        (WhyOver::Ended, None, _) => "nothing was closed; why is said on standard error".to_owned(),
        (_, None, _) => "nothing was closed".to_owned(),
        (_, Some(ports), None) => format!("{ports} {} open again, as before", are(ports)),
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
    use expect_test::expect_file;
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

    /// Everything that is said, held by a file; `UPDATE_EXPECT=1` writes it.
    #[test]
    fn all_that_is_said_is_held_by_a_file() {
        let (ssh, web) = (door("ssh", [22].into_iter()), door("web", [80, 443].into_iter()));
        let all_ports = ports(&[ssh.clone(), web]);
        let (one, lasts) = (ports(&[ssh]), Duration::from_secs(300));
        let left = Duration::from_millis(299_400);
        let mut said: Vec<(&str, Vec<String>)> = vec![
            ("begun, with a terminal", begun(&all_ports, left, true)),
            ("begun, without", begun(&one, left, false)),
            ("reminder, with a terminal", vec![reminder(&one, Duration::from_secs(120), true)]),
            ("reminder, without", vec![reminder(&all_ports, Duration::from_secs(10), false)]),
        ];
        let client = "192.0.2.7".parse().unwrap();
        for by in [ConfirmedBy::Terminal, ConfirmedBy::Control, ConfirmedBy::Knock(client)] {
            said.push(("confirmed", confirmed(&confirmed_by(by))));
        }
        said.push(("not confirmed", vec![not_confirmed("the doorman does not answer", left)]));
        for why in [
            WhyOver::Expired,
            WhyOver::TerminalGone,
            WhyOver::Stopped,
            WhyOver::NothingGuarded,
            WhyOver::Ended,
        ] {
            said.push(("over", over(why, Some(&one), lasts, None)));
        }
        said.push(("over, of several", over(WhyOver::Expired, Some(&all_ports), lasts, None)));
        said.push(("over, before anything was closed", over(WhyOver::Stopped, None, lasts, None)));
        said.push(("over, before anything was closed", over(WhyOver::Ended, None, lasts, None)));
        let failed = Some("the doorman does not answer");
        said.push(("over, and left to the kernel", over(WhyOver::Expired, Some(&one), lasts, failed)));
        let said = said.into_iter().map(|(when, lines)| {
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            format!("[{when}]\n{lines}\n")
        });
        expect_file!["golden/try.txt"].assert_eq(&said.collect::<String>());
    }
}
