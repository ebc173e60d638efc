//! Syntax: why a line is not valid in a knockd.conf, and what its author may have meant.

/// Directives of `[options]`.
const OPTION_KEYS: [&str; 4] = ["UseSyslog", "LogFile", "PidFile", "Interface"];
/// Directives of a door.
const DOOR_KEYS: [&str; 14] = [
    "Sequence",
    "One_Time_Sequences",
    "Seq_Timeout",
    "Timeout",
    "Seq_Cooldown",
    "TCPFlags",
    "Target",
    "Start_Command",
    "Command",
    "Start_Command_6",
    "Command_6",
    "Cmd_Timeout",
    "Stop_Command",
    "Stop_Command_6",
];

/// What is behind knockd's "syntax error".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyntaxError {
    /// A NUL byte.
    Nul,
    /// `[` without `]` at the line's end.
    SectionLine,
    /// A comment as other programs have it.
    Semicolon,
    /// Neither a directive nor a comment.
    NoEquals,
    /// `UseSyslog` takes no value.
    UseSyslogValue,
    /// In `[options]`, what belongs to a door.
    ForDoor(&'static str),
    /// In a door, what belongs to `[options]`.
    ForOptions(&'static str),
    /// In `[options]`, what belongs nowhere.
    UnknownOption(String),
    /// In a door, what belongs nowhere.
    UnknownDirective(String),
    /// The rest of the line of this number, which is too long.
    TooLong(usize),
}

impl SyntaxError {
    /// A line that nothing could make a directive, whatever it holds.
    pub(super) fn of_no_directive(text: &[u8]) -> Option<Self> {
        match text.first() {
            Some(b'[') => Some(Self::SectionLine),
            Some(b';') => Some(Self::Semicolon),
            _ => None,
        }
    }

    /// A directive that `[options]` does not have.
    pub(super) fn in_options(key: String) -> Self {
        find(&DOOR_KEYS, &key).map_or(Self::UnknownOption(key), Self::ForDoor)
    }

    /// A directive that a door does not have.
    pub(super) fn in_door(key: String) -> Self {
        find(&OPTION_KEYS, &key).map_or(Self::UnknownDirective(key), Self::ForOptions)
    }

    /// What to do about it.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Nul => "remove the NUL byte".to_owned(),
            Self::SectionLine => "end the section line with ] and write nothing behind it".to_owned(),
            Self::Semicolon => "begin a comment with #".to_owned(),
            Self::NoEquals => "write Directive = value, or begin a comment with #".to_owned(),
            Self::UseSyslogValue => "write UseSyslog alone, without = and a value".to_owned(),
            Self::ForDoor(key) => format!("move {key} into the section of a door"),
            Self::ForOptions(key) => format!("move {key} into [options]"),
            Self::UnknownOption(key) => {
                format!("[options] has no {key:?}; use one of {}", OPTION_KEYS.join(", "))
            }
            Self::UnknownDirective(key) => {
                format!("a door has no {key:?}; use one of {}", DOOR_KEYS.join(", "))
            }
            Self::TooLong(line) => format!(
                "line {line} is longer than 4095 bytes; shorten it, for example by moving a command into a script"
            ),
        }
    }
}

fn find(keys: &[&'static str], key: &str) -> Option<&'static str> {
    keys.iter().copied().find(|known| known.eq_ignore_ascii_case(key))
}
