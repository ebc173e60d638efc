//! Door: something that can be opened, as `postern.toml` describes it.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Again, Transport};
use postern_doorman::{GuardProtocol, MAX_DOOR_PORTS, NetDoor, OnClose, SetName};

use super::mistake::Mistake;
use super::table::{At, Table};
use super::values::port;

const DEFAULT_FOR: Duration = Duration::from_secs(10 * 60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What a command's argument may be filled with, in braces.
pub(crate) const PLACEHOLDERS: [&str; 4] = ["ip", "door", "rule", "seconds"];

/// Something that can be opened for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Its name.
    pub name: Arc<str>,
    /// How long it stays open, if the rule does not say.
    pub lasts: Duration,
    /// What it is.
    pub kind: DoorKind,
    /// What opening it again does.
    pub again: Again,
    line: usize,
}

impl Door {
    /// A door of a knockd.conf: every knock has its own start and stop.
    pub(crate) const fn of_section(
        name: Arc<str>,
        lasts: Duration,
        commands: ShellDoor,
        line: usize,
    ) -> Self {
        Self { name, lasts, kind: DoorKind::Shell(commands), again: Again::Run, line }
    }

    /// A mistake in the door as a whole.
    pub(crate) fn mistake(&self, file: &Path, what: String) -> Mistake {
        let key = format!("doors.{}", self.name);
        Mistake { file: file.to_owned(), line: Some(self.line), key, what }
    }
}

/// What a door is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorKind {
    /// In the kernel's packet filter.
    Net(NetDoor),
    /// A pair of commands.
    Command(CommandDoor),
    /// Commands as knockd runs them.
    Shell(ShellDoor),
}

/// Commands as knockd runs them: each a line for `/bin/sh`, none of them required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellDoor {
    /// Opens.
    pub start: Option<OsString>,
    /// Opens for IPv6 clients, instead.
    pub start_6: Option<OsString>,
    /// Closes.
    pub stop: Option<OsString>,
    /// Closes for IPv6 clients, instead.
    pub stop_6: Option<OsString>,
}

impl ShellDoor {
    /// The commands that open and close for a client of IPv6, or of IPv4. One that is there but empty counts as there.
    #[must_use]
    pub fn commands(&self, is_ipv6: bool) -> (Option<&OsString>, Option<&OsString>) {
        match is_ipv6 {
            true => {
                (self.start_6.as_ref().or(self.start.as_ref()), self.stop_6.as_ref().or(self.stop.as_ref()))
            }
            false => (self.start.as_ref(), self.stop.as_ref()),
        }
    }
}

/// A pair of commands. Each is a program and its arguments; no shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandDoor {
    /// Opens.
    pub open: Vec<String>,
    /// Closes; empty: nothing to run.
    pub close: Vec<String>,
    /// A command that runs longer is killed.
    pub timeout: Duration,
}

/// Reads one `[doors.NAME]`; nothing if it is not a door.
pub(super) fn read(name: &str, table: Table<'_>, longest: Duration) -> Option<Door> {
    if !super::is_name(name) {
        table.mistake(&table.place(), super::NAME_RULE);
    }
    let lasts = table.duration("for", Duration::from_millis(1)..=longest).map_or(DEFAULT_FOR, |at| at.value);
    let line = table.place().line;
    let kinds = ["guard", "set", "open"].map(|key| table.has(key));
    let kind = match kinds {
        [true, false, false] => guard(&table),
        [false, true, false] => set(&table),
        [false, false, true] => command(&table),
        [false, false, false] => {
            table.mistake(&table.place(), "is not a door yet; give it one of guard, set or open");
            None
        }
        _ => {
            table.mistake(&table.place(), "a door is one of guard, set or open; make two doors of it");
            None
        }
    };
    if !kinds[0] && table.has("on_close") {
        table.mistake(&table.place(), "on_close is for guard doors only; leave it out");
    }
    if !kinds[2] && (table.has("close") || table.has("timeout")) {
        table.mistake(&table.place(), "close and timeout are for command doors only; leave them out");
    }
    let again = match table.text("again") {
        None => Again::Extend,
        Some(At { value: "extend", .. }) => Again::Extend,
        Some(At { value: "run", .. }) if kinds[2] => Again::Run,
        Some(At { value: "run", place }) => {
            table.mistake(&place, "only a command can be run again; leave it out");
            Again::Extend
        }
        Some(At { value, place }) => {
            table.mistake(&place, format!("`{value}` is neither \"extend\" nor \"run\""));
            Again::Extend
        }
    };
    table.finish();
    Some(Door { name: name.into(), lasts: lasts.min(longest), kind: kind?, again, line })
}

fn guard(table: &Table<'_>) -> Option<DoorKind> {
    let on_close = match table.text("on_close") {
        None => OnClose::Keep,
        Some(At { value: "keep", .. }) => OnClose::Keep,
        Some(At { value: "cut", .. }) => OnClose::Cut,
        Some(At { value, place }) => {
            table.mistake(&place, format!("`{value}` is neither \"keep\" nor \"cut\""));
            return None;
        }
    };
    let texts = table.texts("guard")?;
    let mut ports = Vec::with_capacity(texts.len());
    let mut is_right = true;
    for At { value, place } in texts {
        match port(value) {
            Ok((transport, number)) => {
                let protocol = match transport {
                    Transport::Tcp => GuardProtocol::Tcp,
                    _ => GuardProtocol::Udp,
                };
                ports.push((protocol, number));
            }
            Err(what) => {
                table.mistake(&place, what);
                is_right = false;
            }
        }
    }
    if ports.len() > MAX_DOOR_PORTS {
        table.mistake(&table.place(), format!("guards {} ports; at most {MAX_DOOR_PORTS}", ports.len()));
        is_right = false;
    }
    is_right.then_some(DoorKind::Net(NetDoor::Guard { ports, on_close }))
}

fn set(table: &Table<'_>) -> Option<DoorKind> {
    let texts = table.texts("set")?;
    let mut sets = Vec::with_capacity(texts.len());
    let mut is_right = true;
    for At { value, place } in texts {
        match value.parse::<SetName>() {
            Ok(name) => sets.push(name),
            Err(error) => {
                table.mistake(&place, error);
                is_right = false;
            }
        }
    }
    is_right.then_some(DoorKind::Net(NetDoor::Set { sets }))
}

fn command(table: &Table<'_>) -> Option<DoorKind> {
    let open = argv(table, "open");
    let close = if table.has("close") { argv(table, "close") } else { Some(Vec::new()) };
    let limits = Duration::from_millis(10)..=LONGEST_TIMEOUT;
    let timeout = table.duration("timeout", limits).map_or(DEFAULT_TIMEOUT, |at| at.value);
    Some(DoorKind::Command(CommandDoor { open: open?, close: close?, timeout }))
}

fn argv(table: &Table<'_>, key: &'static str) -> Option<Vec<String>> {
    let texts = table.texts(key)?;
    let mut is_right = true;
    for (n, At { value, place }) in texts.iter().enumerate() {
        if n == 0 {
            if !value.starts_with('/') {
                table.mistake(place, format!("`{value}`: name the program by its full path"));
                is_right = false;
            } else if !Path::new(value).is_file() {
                table.mistake(place, format!("there is no program {value}"));
                is_right = false;
            }
            continue;
        }
        for found in placeholders(value) {
            if !PLACEHOLDERS.contains(&found) {
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
                table.mistake(place, format!("nothing is called {{{found}}}; there are {known}"));
                is_right = false;
            }
        }
    }
    is_right.then(|| texts.iter().map(|at| at.value.to_owned()).collect())
}

/// What looks like a placeholder: a word in braces.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}
