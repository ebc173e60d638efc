//! Convert: what a knockd.conf says, in the words of Postern's own configuration.
//!
//! Makes text that the operator cuts into files and reads before use. It starts from a configuration without mistakes, and does no I/O.

mod iptables;
mod verdict;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_config::{Config, Door, DoorKind, RuleFile};
use postern_core::ShellDoor;
use postern_text::clean::is_fit;
use postern_text::{duration, piece};
use serde_json::Value;

use crate::known_conf::KnownConf;
use iptables::{Accept, AcceptChange};

/// The most that `limits.for` may be, and its default.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
const DEFAULT_LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Most bytes of a name.
const LONGEST_NAME: usize = 64;
/// Where the text is to stand that names no rules.
pub(crate) const POSTERN_TOML: &str = "postern.toml";
const TARGET: &str = "target";
const SETTINGS: [&str; 5] = ["sequence", "within", "cooldown", "tcp_flags", TARGET];
const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";
/// Where knockd's commands have the client's address.
const ADDRESS: &str = "%IP%";

/// What a knockd.conf says, in Postern's own words.
pub(crate) struct Converted {
    /// The text of `postern.toml`.
    pub(crate) config: String,
    /// The rule files, by their paths beside it.
    pub(crate) rules: Vec<(PathBuf, String)>,
    /// What opened doors in the knockd.conf and would not any more, or would open them otherwise.
    left_out: Vec<String>,
}

/// The files one below the other, each below a line that names it.
impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "# --- {POSTERN_TOML} ---\n{}", self.config)?;
        self.rules.iter().try_for_each(|(path, text)| write!(f, "\n# --- {} ---\n{text}", path.display()))
    }
}

/// `config`, read from `file`, as a configuration of Postern's own; `known_conf` has the names of its sections.
pub(crate) fn convert(file: &Path, known_conf: &KnownConf, config: &Config) -> Converted {
    let mut names = Vec::new();
    let section = |rule| ConvertedSection::read(rule, known_conf, config, &mut names);
    let sections: Vec<_> = config.rules.iter().map(section).collect();
    let mut text = head(file, config);
    let longest =
        sections.iter().filter_map(|section| section.said.as_ref().ok()).map(|said| said.lasts).max();
    if let Some(longest) = longest.filter(|longest| *longest > DEFAULT_LONGEST) {
        text.push_str(&format!("\n[limits]\nfor = {}\n", quoted(&duration::show(longest))));
    }
    // One door may guard a port; what else opens it opens that door.
    let mut guards = BTreeMap::new();
    for ConvertedSection { name, said, .. } in &sections {
        if let Ok(Said { accept: Some((AcceptChange::Open, accept)), .. }) = said {
            guards.entry(*accept).or_insert_with(|| name.clone());
        }
    }
    sections.iter().for_each(|section| text.push_str(&section.door_text(&guards)));
    Converted {
        config: text,
        rules: sections.iter().filter_map(|section| section.rule_file(&guards)).collect(),
        left_out: sections.iter().flat_map(ConvertedSection::left_out).collect(),
    }
}

/// One section of a knockd.conf.
struct ConvertedSection {
    /// As Postern takes it.
    name: String,
    /// As the user wrote it.
    written: Arc<str>,
    settings: Value,
    said: Result<Said, &'static str>,
}

/// What its door does.
struct Said {
    open: Vec<String>,
    close: Option<Vec<String>>,
    lasts: Duration,
    /// It lasted longer.
    is_shortened: bool,
    /// The only family whose clients open it, and why the others do not.
    family: Option<(&'static str, String)>,
    /// knockd runs a command for the others.
    loses_family: bool,
    /// What its commands do to the packet filter, if that is all they do.
    accept: Option<(AcceptChange, Accept)>,
}

impl ConvertedSection {
    fn read(rule: &RuleFile, known_conf: &KnownConf, config: &Config, names: &mut Vec<String>) -> Self {
        let written = known_conf.section_name(&rule.id.name);
        let name = name(&written, names);
        let settings = serde_json::from_str(&rule.settings).unwrap_or_default();
        let said = match config.doors.get(&rule.id.name) {
            _ if rule.one_time.is_some() => Err("One_Time_Sequences cannot be said in these words yet"),
            Some(Door { kind: DoorKind::Shell(commands), lasts, .. }) => {
                Said::of(commands, *lasts, config.only_ipv4)
            }
            _ => Err("it has no commands"),
        };
        Self { name, written, settings, said }
    }

    fn door_text(&self, guards: &BTreeMap<Accept, String>) -> String {
        let name = &self.name;
        let said = match &self.said {
            Ok(said) => said,
            Err(why) => {
                let written = comment(&self.written);
                return format!("\n# The section [{written}] is left out: {why}. It stays with knockd.\n");
            }
        };
        let mut text = "\n".to_owned();
        if let Some((AcceptChange::Open, accept)) = &said.accept {
            match guards.get(accept) {
                Some(first) if first != name => text.push_str(&format!(
                    "# Without iptables: let rules/{name}.toml open the guard door {first}, and leave out this one.\n"
                )),
                _ => text.push_str(&said.guard_text(name, accept)),
            }
        }
        text.push_str(&format!("[doors.{name}]\nopen    = {}\n", list(&said.open)));
        if let Some(close) = &said.close {
            text.push_str(&format!("close   = {}\n", list(close)));
        }
        let lasts = quoted(&duration::show(said.lasts));
        text.push_str(&format!("for     = {lasts}\ntimeout = \"10m\"\nagain   = \"run\"\n"));
        text
    }

    /// What is in the knockd.conf and cannot be converted, in words.
    fn left_out(&self) -> Vec<String> {
        let written = comment(&self.written);
        let said = match &self.said {
            Ok(said) => said,
            Err(why) => return vec![format!("the section [{written}] ({why})")],
        };
        // A rule of iptables is of one family, so no client of the other got in by it.
        let family = said.family.as_ref().filter(|_| said.loses_family && said.accept.is_none());
        let family = family.map(|(_, why)| format!("clients of the section [{written}] ({why})"));
        let time = said
            .is_shortened
            .then(|| format!("the time of the section [{written}] beyond {}", duration::show(LONGEST)));
        let leaves = self
            .settings
            .get(TARGET)
            .map(|_| format!("packets that leave for the target of the section [{written}]"));
        family.into_iter().chain(time).chain(leaves).collect()
    }

    fn rule_file(&self, guards: &BTreeMap<Accept, String>) -> Option<(PathBuf, String)> {
        let Self { name, written, settings, said } = self;
        let said = said.as_ref().ok()?;
        let mut text = String::new();
        if **name != **written {
            text.push_str(&format!("# The section [{}]\n", comment(written)));
        }
        match said.accept.as_ref().and_then(|(act, accept)| Some((act, guards.get(accept)?))) {
            Some((AcceptChange::Open, first)) if first != name => {
                text.push_str(&format!("# Without iptables: door = \"{first}\"\n"));
            }
            Some((AcceptChange::Close, first)) => text.push_str(&format!(
                "# Without iptables: door = \"{first}\", and action = \"close\" below [settings]\n"
            )),
            _ => {}
        }
        text.push_str(&format!(
            "module = \"sequence\"\ndoor   = \"{name}\"\ngroup  = \"knockd\"\n\n[settings]\n"
        ));
        for key in SETTINGS {
            match settings.get(key) {
                Some(Value::Array(items)) => {
                    let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
                    text.push_str(&format!("{key:<9} = {}\n", list(&items)));
                }
                Some(Value::String(value)) => {
                    let note = if key == TARGET {
                        "   # what comes in there; what leaves for it is not seen"
                    } else {
                        ""
                    };
                    text.push_str(&format!("{key:<9} = {}{note}\n", quoted(value)));
                }
                _ => {}
            }
        }
        if let Some((family, why)) = &said.family {
            text.push_str(&format!("{:<9} = {}   # {why}\n", "family", quoted(family)));
        }
        Some((PathBuf::from(format!("rules/{name}.toml")), text))
    }
}

impl Said {
    /// Each family has its own commands or opens nothing: a command that was written for the other may never succeed, and then
    /// the door could not be closed.
    fn of(commands: &ShellDoor, lasts: Duration, only_ipv4: bool) -> Result<Self, &'static str> {
        const NOT_UTF8: &str = "a command of it is not UTF-8 text";
        const NO_START: &str = "it has no start command";
        let mut four = Pair::of(commands.start.as_ref(), commands.stop.as_ref()).ok_or(NOT_UTF8)?;
        let mut six = Pair::of(commands.start_6.as_ref(), commands.stop_6.as_ref()).ok_or(NOT_UTF8)?;
        let missing = |pair: &Pair<'_>, other: &Pair<'_>, start, stop| match pair {
            Pair { start: None, .. } => Some(start),
            Pair { stop: None, .. } if other.stop.is_some() => Some(stop),
            _ => None,
        };
        let no_four = missing(&four, &six, "Start_Command", "Stop_Command");
        let no_six = missing(&six, &four, "Start_Command_6", "Stop_Command_6");
        let words = |family, key| format!("without {key} clients of {family} open nothing");
        let family = match (no_four, no_six) {
            (None, None) if only_ipv4 => Some((IPV4, "-4".to_owned())),
            (None, None) => None,
            (None, Some(key)) => Some((IPV4, words("IPv6", key))),
            (Some(_), None) if only_ipv4 => return Err("with -4 nothing opens it"),
            (Some(key), None) => Some((IPV6, words("IPv4", key))),
            (Some(_), Some(_)) => return Err(NO_START),
        };
        let opens = |is_six| commands.commands(is_six).0.is_some_and(|command| !command.is_empty());
        let loses_family = match family {
            Some((IPV4, _)) => !only_ipv4 && opens(true),
            Some(_) => opens(false),
            None => false,
        };
        match family {
            Some((IPV4, _)) => six = four,
            Some(_) => four = six,
            None => {}
        }
        let (Some(start), Some(start_6)) = (four.start, six.start) else { return Err(NO_START) };
        Ok(Self {
            open: argv(start, start_6),
            close: four.stop.zip(six.stop).map(|(stop, stop_6)| argv(stop, stop_6)),
            lasts: lasts.min(LONGEST),
            loses_family,
            is_shortened: lasts > LONGEST && four.stop.is_some(),
            family,
            accept: accept(&four, &six),
        })
    }

    /// The guard door that could take the place of the commands, as a comment.
    fn guard_text(&self, name: &str, accept: &Accept) -> String {
        let (lasts, note) = match self.close {
            Some(_) => (self.lasts, ""),
            None => {
                (DEFAULT_LONGEST, "   # a guard door always closes by itself; a rule can close it sooner")
            }
        };
        let lasts = quoted(&duration::show(lasts));
        format!(
            "# Without iptables: this in place of the door below. Postern itself then drops what goes to {accept} and lets clients\n\
             # through that have knocked right; your own rules must not drop it.\n\
             # [doors.{name}]\n# guard = \"{accept}\"\n# for   = {lasts}{note}\n"
        )
    }
}

/// What a section runs for the clients of one family; without a start command there is no stop command.
#[derive(Clone, Copy)]
struct Pair<'a> {
    start: Option<&'a str>,
    stop: Option<&'a str>,
}

impl<'a> Pair<'a> {
    /// None if it is not UTF-8, as TOML requires.
    fn of(start: Option<&'a OsString>, stop: Option<&'a OsString>) -> Option<Self> {
        let is_there = |command: &&OsString| !command.is_empty();
        let start = start.filter(is_there);
        let stop = stop.filter(is_there).filter(|_| start.is_some());
        let text = |command: Option<&'a OsString>| command.map_or(Some(None), |it| it.to_str().map(Some));
        Some(Self { start: text(start)?, stop: text(stop)? })
    }

    /// What it does to the packet filter; none if there is more to it.
    fn accept(&self) -> Option<(AcceptChange, Accept)> {
        let (act, accept) = iptables::read(self.start?)?;
        let undo = self.stop.map(iptables::read);
        (undo.is_none() || act == AcceptChange::Open && undo == Some(Some((AcceptChange::Close, accept))))
            .then_some((act, accept))
    }
}

fn accept(four: &Pair<'_>, six: &Pair<'_>) -> Option<(AcceptChange, Accept)> {
    four.accept().filter(|accept| six.accept().as_ref() == Some(accept))
}

/// A program and its arguments that run what knockd runs for clients of IPv4 and of IPv6.
fn argv(four: &str, six: &str) -> Vec<String> {
    let script = if four == six {
        four.to_owned()
    } else {
        // A comment or a backslash at a command's end must not reach what follows.
        let gap = if four.contains(['#', '\\']) || six.contains(['#', '\\']) { "\n" } else { " " };
        format!("case \"$POSTERN_IP\" in *:*) {six}{gap};; *) {four}{gap};; esac")
    };
    let place =
        if [four, six].iter().all(|command| may_be_variable(command)) { "$POSTERN_IP" } else { "{ip}" };
    let mut argv = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    let pieces: Vec<_> = cut(&script).iter().map(|piece| piece.replace(ADDRESS, place)).collect();
    if pieces.len() > 1 {
        let all: String = (1..=pieces.len()).map(|n| format!("${{{n}}}")).collect();
        argv.extend([format!("eval \"set --; {all}\""), "/bin/sh".to_owned()]);
    }
    argv.extend(pieces);
    argv
}

/// Whether the shell puts the address in if it is a variable: not within single quotes, nor where the name would go on.
fn may_be_variable(command: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let parts: Vec<_> = command.split(ADDRESS).collect();
    let is_last = |n: usize| n + 1 == parts.len();
    !command.contains(['\'', '\\'])
        && !parts.iter().skip(1).any(|rest| goes_on(rest))
        && !parts.iter().enumerate().any(|(n, part)| part.ends_with('$') && !is_last(n))
}

/// The script in pieces, so that none has what Postern would take for a placeholder.
fn cut(script: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, _) in script.match_indices('{') {
        let rest = &script[at + 1..];
        let name = rest.split_once('}').map_or("", |(name, _)| name);
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            pieces.push(&script[start..=at]);
            start = at + 1;
        }
    }
    pieces.push(&script[start..]);
    pieces
}

fn head(file: &Path, config: &Config) -> String {
    let file = comment(&file.to_string_lossy());
    let mut text = format!(
        "# Made of {file} by `posternd knockd --convert`. What is different from there: commands find nothing in their environment\n\
         # but PATH and POSTERN_...; one that runs longer than `timeout` is killed; if `open` fails, `close` is run; `close` is tried six times.\n\
         # The log goes to standard error; UseSyslog, LogFile and PidFile are not needed.\n"
    );
    text.push_str(&format!("interfaces = {}\n", list(&config.interfaces)));
    text
}

/// A name that Postern takes and that none of `taken` has; it is then one of them.
fn name(written: &str, taken: &mut Vec<String>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let plain: String =
        written.chars().map(|c| if is_plain(c) { c } else { '-' }).take(LONGEST_NAME).collect();
    let mut name = plain.clone();
    let mut number = 1;
    while taken.contains(&name) {
        number += 1;
        let suffix = format!("-{number}");
        name = format!("{}{suffix}", &plain[..plain.len().min(LONGEST_NAME - suffix.len())]);
    }
    taken.push(name.clone());
    name
}

/// What may stand in a comment.
fn comment(text: &str) -> String {
    piece(text).to_string()
}

/// A text as TOML has it. Invisible characters are written as their numbers, so that the file's reader sees them.
fn quoted(text: &str) -> String {
    if text.chars().all(is_fit) {
        return toml::Value::from(text).to_string();
    }
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_fit(c) => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted + "\""
}

fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests;
