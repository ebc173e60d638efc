//! Translate: a knockd.conf in Postern's own terms.
//!
//! Each section becomes a rule that runs the stock module `sequence` and a door that runs its commands. All rules are one group,
//! as knockd's doors behave: while a client is half way at some of them, only those get its packets.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_config::{Config, ControlSocket, Door as ConfigDoor, Mistake, OneTime, RuleFile};
use postern_core::{Observer, Report, ShellDoor, What};
use serde_json::json;

use crate::conf::{Conf, ConfDoor, DoorSequence, FLAG_NAMES, FlagCondition, StepProtocol};
use crate::conf::{one_time, steps_text};
use crate::known_conf::{KnownConf, KnownSection, KnownSections};
use crate::log::system_text;
use crate::options::Options;

/// What knockd calls "practically never".
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The stock module remembers no client for longer.
const LONGEST_REMEMBERED: i64 = 3600;
/// As many openings as the engine takes.
const MAX_OPENINGS: usize = 131_072;

/// The configuration that does what a knockd.conf says, and the section behind each name in it.
pub(crate) struct Translation {
    pub(crate) config: Config,
    pub(crate) sections: KnownSections,
}

/// The configuration that does what `conf` says; `interface` is the one to listen on. A door whose one-time sequences are all used
/// is left out, and that is reported.
pub(crate) fn translate(
    known_conf: &KnownConf,
    conf: &Conf,
    options: &Options,
    interface: &str,
    observer: &dyn Observer,
) -> (Translation, Vec<Mistake>) {
    let file = known_conf.file.as_path();
    let mut sections = KnownSections::new();
    let mut config = Config::of_knockd(vec![interface.to_owned()], options.only_ipv4, NEVER, MAX_OPENINGS);
    if let Some(path) = &options.control_socket {
        config.control = ControlSocket::At(known_conf.folder.join(path));
    }
    let mut mistakes = Vec::new();
    for (door, name) in conf.doors.iter().zip(names(conf.doors.iter().map(|door| &*door.name))) {
        let mistake = |what: String| Mistake {
            file: file.to_owned(),
            line: Some(door.line),
            key: door.name.clone(),
            what,
        };
        let (steps, one_time) = match &door.sequence {
            DoorSequence::Fixed(steps) => (steps.clone(), None),
            // knockd lets a Sequence below One_Time_Sequences open once, without using anything up; here the file alone counts.
            DoorSequence::OneTime(path) | DoorSequence::FixedThenOneTime { then: path, .. } => {
                let path = known_conf.folder.join(path);
                match one_time::open(&path) {
                    Err(error) => {
                        mistakes.push(mistake(format!("{}: {}", path.display(), system_text(&error))));
                        continue;
                    }
                    Ok((_, lines)) => {
                        let unused =
                            |line: &one_time::OneTimeLine| Some((line.unused()?.to_vec(), line.offset));
                        let Some((steps, offset)) = lines.iter().find_map(unused) else {
                            observer.report(&Report::of_door(&door.name, What::OneTimeEmpty));
                            continue;
                        };
                        let one_time = OneTime { path, offset, steps: steps_text(&steps) };
                        (steps, Some(one_time))
                    }
                }
            }
        };
        sections
            .insert(Arc::clone(&name), KnownSection { name: door.name.as_str().into(), steps: steps.len() });
        if let Some(target) = &door.target
            && target.to_str().is_none_or(|target| target.parse::<IpAddr>().is_err())
        {
            let target = target.display();
            mistakes.push(mistake(format!(
                "the target `{target}` is not an address; knockd would never match it"
            )));
            continue;
        }
        let times = [("Seq_Timeout", door.seq_timeout), ("Seq_Cooldown", door.seq_cooldown)];
        if let Some((name, time)) = times.iter().find(|(_, time)| *time > LONGEST_REMEMBERED) {
            mistakes.push(mistake(format!("a {name} of {time} is too long; at most {LONGEST_REMEMBERED}")));
            continue;
        }
        let steps: Vec<_> = steps
            .iter()
            .map(|step| match step.protocol {
                StepProtocol::Tcp => format!("{}/tcp", step.port),
                StepProtocol::Udp => format!("{}/udp", step.port),
            })
            .collect();
        let mut settings = json!({
            "sequence": steps,
            // Zero or less lets nothing but one-step sequences through.
            "within": if door.seq_timeout > 0 { format!("{}s", door.seq_timeout) } else { "1ms".to_owned() },
            "tcp_flags": flags(door),
        });
        if door.seq_cooldown > 0 {
            settings["cooldown"] = format!("{}s", door.seq_cooldown).into();
        }
        if let Some(target) = &door.target {
            settings["target"] = target.to_string_lossy().into();
        }
        let commands = ShellDoor {
            start: door.start.clone(),
            start_6: door.start_6.clone(),
            stop: door.stop.clone(),
            stop_6: door.stop_6.clone(),
        };
        let lasts = match u64::try_from(door.cmd_timeout) {
            Ok(0) => Duration::from_millis(1),
            Ok(seconds) => Duration::from_secs(seconds).min(NEVER),
            Err(_) => NEVER,
        };
        let has_target = door.target.is_some();
        let rule = RuleFile::of_section(file, door.line, &name, settings.to_string(), has_target, one_time);
        config.rules.push(rule);
        config.doors.insert(Arc::clone(&name), ConfigDoor::of_section(name, lasts, commands, door.line));
    }
    (Translation { config, sections }, mistakes)
}

/// What the rules and doors of sections are called: as their section, and with a number behind it from the second of the same name on.
fn names<'a>(sections: impl Iterator<Item = &'a str> + Clone) -> Vec<Arc<str>> {
    let mut taken: HashSet<String> = sections.clone().map(str::to_owned).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let name = |section: &'a str| -> Arc<str> {
        let count = counts.entry(section).or_default();
        *count += 1;
        if *count == 1 {
            return section.into();
        }
        loop {
            let name = format!("{section}#{count}");
            if taken.insert(name.clone()) {
                return name.into();
            }
            *count += 1;
        }
    };
    sections.map(name).collect()
}

fn flags(door: &ConfDoor) -> Vec<String> {
    let named = FLAG_NAMES.iter().zip(door.tcp_flags);
    named
        .filter_map(|(name, flag)| match flag {
            FlagCondition::DontCare => None,
            FlagCondition::Set => Some(name.to_lowercase()),
            FlagCondition::Clear => Some(format!("!{}", name.to_lowercase())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_called_as_its_section_and_told_from_another_of_that_name() {
        for (sections, expected) in [
            (&["ssh", "web"][..], &["ssh", "web"][..]),
            (&["ssh", "ssh", "web", "ssh"], &["ssh", "ssh#2", "web", "ssh#3"]),
            (&["ssh", "ssh", "ssh#2", "ssh"], &["ssh", "ssh#3", "ssh#2", "ssh#4"]),
            (&["ssh#2", "ssh#2", "ssh", "ssh"], &["ssh#2", "ssh#2#2", "ssh", "ssh#3"]),
        ] {
            let names = names(sections.iter().copied());
            let names: Vec<_> = names.iter().map(|name| &**name).collect();
            assert_eq!(names, expected);
        }
    }
}
