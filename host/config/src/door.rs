//! Door: something that can be opened, as `postern.toml` describes it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Again, CommandDoor, GuardDoor, MAX_ALWAYS, MAX_DOOR_PORTS, NetDoor, OnClose, PLACEHOLDERS, SetName,
    ShellDoor, Width,
};
use postern_text::{Mistake, chain};
use serde::{Deserialize, Serialize};

use crate::account;
use crate::name::{NAME_RULE, is_name};
use crate::table::{At, Table};
use crate::values::{ports, trusted};

pub(crate) const DEFAULT_FOR: Duration = Duration::from_secs(10 * 60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Something that can be opened for a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// Its name.
    pub name: Arc<str>,
    /// How long it stays open, if the rule does not say.
    pub lasts: Duration,
    /// What it is.
    pub kind: DoorKind,
    /// What opening it does while it is open.
    pub again: Again,
    line: usize,
}

impl Door {
    /// A door of a knockd.conf: every knock has its own start and stop.
    pub const fn of_section(name: Arc<str>, lasts: Duration, commands: ShellDoor, line: usize) -> Self {
        Self { name, lasts, kind: DoorKind::Shell(commands), again: Again::OpenAnother, line }
    }

    /// A door that stands in no file.
    pub(crate) const fn unplaced(name: Arc<str>, lasts: Duration, kind: DoorKind, again: Again) -> Self {
        Self { name, lasts, kind, again, line: 0 }
    }

    /// Widths of prefixes that it may be opened for.
    #[must_use]
    pub fn prefixes(&self) -> &[Width] {
        match &self.kind {
            DoorKind::Net(NetDoor::Guard(guard)) => &guard.prefixes,
            _ => &[],
        }
    }

    /// What is said to be wrong with it.
    pub fn refused(&self, file: &Path, what: impl std::error::Error + 'static) -> Mistake {
        self.mistake(file, chain(&what).to_string())
    }

    /// A mistake in the door as a whole.
    pub fn mistake(&self, file: &Path, what: String) -> Mistake {
        let key = format!("doors.{}", self.name);
        Mistake { file: file.to_owned(), line: Some(self.line), key, what }
    }
}

/// What a door is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DoorKind {
    /// In the kernel's packet filter.
    Net(NetDoor),
    /// A pair of commands.
    Command(CommandDoor),
    /// Commands as knockd runs them.
    Shell(ShellDoor),
}

/// Reads one `[doors.NAME]`; nothing if it is not a door.
pub(crate) fn read(name: &str, table: Table<'_>, longest: Duration) -> Option<Door> {
    if !is_name(name) {
        table.mistake(&table.place(), NAME_RULE);
    }
    let lasts = table.duration("for", Duration::from_millis(1)..=longest).map_or(DEFAULT_FOR, |at| at.value);
    let line = table.place().line;
    let kinds = ["guard", "set", "open"].map(|key| table.has(key));
    let kind = match kinds {
        [true, false, false] => guard(name, &table),
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
    for key in ["on_close", "always", "prefixes"] {
        if !kinds[0] && table.has(key) {
            table.mistake(&table.place(), format!("{key} is for guard doors only; leave it out"));
        }
    }
    if !kinds[2] && ["close", "timeout", "user"].iter().any(|key| table.has(key)) {
        table.mistake(&table.place(), "close, timeout and user are for command doors only; leave them out");
    }
    let again = match table.text("again") {
        None => Again::Extend,
        Some(At { value: "extend", .. }) => Again::Extend,
        Some(At { value: "run", .. }) if kinds[2] => Again::OpenAnother,
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

fn guard(name: &str, table: &Table<'_>) -> Option<DoorKind> {
    let on_close = match table.text("on_close") {
        None => Some(OnClose::Keep),
        Some(At { value: "keep", .. }) => Some(OnClose::Keep),
        Some(At { value: "cut", .. }) => Some(OnClose::Cut),
        Some(At { value: "reset", .. }) => Some(OnClose::Reset),
        Some(At { value, place }) => {
            table.mistake(&place, format!("`{value}` is none of \"keep\", \"cut\" and \"reset\""));
            None
        }
    };
    let guarded = each(table, "guard", ports);
    let always = each(table, "always", trusted);
    let prefixes = prefixes(table);
    for (key, count, most) in [
        ("guard", guarded.as_ref().map_or(0, Vec::len), MAX_DOOR_PORTS),
        ("always", always.as_ref().map_or(0, Vec::len), MAX_ALWAYS),
    ] {
        if count > most {
            table.mistake(&table.place(), format!("{key} has {count} items; at most {most}"));
            return None;
        }
    }
    let door = GuardDoor {
        name: name.into(),
        ports: guarded?,
        always: always?,
        prefixes: prefixes?,
        on_close: on_close?,
    };
    Some(DoorKind::Net(NetDoor::Guard(door)))
}

/// Widths of prefixes that something may be opened for.
pub(crate) fn prefixes(table: &Table<'_>) -> Option<Vec<Width>> {
    let mut prefixes =
        each(table, "prefixes", |text| text.parse::<Width>().map_err(|error| error.to_string()))?;
    prefixes.sort_unstable();
    prefixes.dedup();
    if prefixes.len() > Width::MOST {
        table.mistake(
            &table.place(),
            format!("prefixes has {} widths; at most {}", prefixes.len(), Width::MOST),
        );
        return None;
    }
    Some(prefixes)
}

/// A list, item by item; none if one of them is wrong, an empty one if there is no such key.
fn each<T>(table: &Table<'_>, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
    if !table.has(key) {
        return Some(Vec::new());
    }
    let mut items = Vec::new();
    let mut is_right = true;
    for At { value, place } in table.texts(key)? {
        match read(value) {
            Ok(item) => items.push(item),
            Err(what) => {
                table.mistake(&place, what);
                is_right = false;
            }
        }
    }
    is_right.then_some(items)
}

fn set(table: &Table<'_>) -> Option<DoorKind> {
    let sets = each(table, "set", |text| text.parse::<SetName>().map_err(|error| error.to_string()))?;
    Some(DoorKind::Net(NetDoor::Set { sets }))
}

fn command(table: &Table<'_>) -> Option<DoorKind> {
    let open = argv(table, "open");
    let close = if table.has("close") { argv(table, "close") } else { Some(Vec::new()) };
    let limits = Duration::from_millis(10)..=LONGEST_TIMEOUT;
    let timeout = table.duration("timeout", limits).map_or(DEFAULT_TIMEOUT, |at| at.value);
    let user = account(table);
    Some(DoorKind::Command(CommandDoor { open: open?, close: close?, timeout, user: user? }))
}

/// The account that commands run as, or none; nothing if that is wrong.
pub(crate) fn account(table: &Table<'_>) -> Option<Option<String>> {
    if !table.has("user") {
        return Some(None);
    }
    let At { value, place } = table.text("user")?;
    match account::refuse(value) {
        None => Some(Some(value.to_owned())),
        Some(why) => {
            table.mistake(&place, why);
            None
        }
    }
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
