//! Reader: goes through the lines, section by section, and never stops at a mistake.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::lines::{Piece, atoi, pieces, trim};
use super::sequence::{SequenceError, Step, steps, steps_text};
use super::syntax::SyntaxError;
use super::{Conf, Door, FLAG_NAMES, Flag, Mistake, Problem, Sequence};
use crate::options;

/// Most bytes of a door's name.
const LONGEST_NAME: usize = 127;
const LONGEST_SECTION_ECHO: usize = 254;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) fn read(file: &Path, text: &[u8]) -> (Conf, Vec<Mistake>) {
    let mut reader = Reader {
        file,
        conf: Conf::default(),
        section: Section::None,
        mistakes: Vec::new(),
        broken: BTreeSet::new(),
    };
    for piece in pieces(text) {
        reader.piece(piece);
    }
    reader.finish()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// Above the first section line; a mistake is said once.
    None,
    NoneAndSaid,
    Options,
    /// The last door.
    Door,
    /// Below `[]`: directives are not looked at, for want of knowing what they belong to.
    Lost,
}

struct Reader<'a> {
    file: &'a Path,
    conf: Conf,
    section: Section,
    mistakes: Vec<Mistake>,
    /// Indexes of doors that have a sequence, but a wrong one.
    broken: BTreeSet<usize>,
}

impl Reader<'_> {
    fn piece(&mut self, piece: Piece<'_>) {
        let Piece { number, mut text, .. } = piece;
        if number == 1
            && let Some(behind) = text.strip_prefix(BYTE_ORDER_MARK)
        {
            self.mistake(number, Problem::ByteOrderMark);
            text = trim(behind);
        }
        match text {
            [] | [b'#', ..] => {}
            text if text.contains(&0) => self.syntax(piece, SyntaxError::Nul),
            [b'[', name @ .., b']'] => self.section(number, name),
            text => self.directive(Piece { text, ..piece }),
        }
    }

    fn section(&mut self, line: usize, name: &[u8]) {
        self.echo(format!("config: new section: '{}'", cut(name, LONGEST_SECTION_ECHO)));
        if name.is_empty() {
            self.section = Section::Lost;
            return self.mistake(line, Problem::NoSectionName);
        }
        if name == b"options" {
            self.section = Section::Options;
            return;
        }
        self.section = Section::Door;
        self.conf.doors.push(Door::new(cut(name, LONGEST_NAME), line));
    }

    fn directive(&mut self, piece: Piece<'_>) {
        let never = SyntaxError::of_no_directive(piece.text);
        match self.section {
            Section::None => {
                self.section = Section::NoneAndSaid;
                let error = piece.rest_of.map(SyntaxError::TooLong).or(never);
                return self.mistake(piece.number, Problem::NoSection(error));
            }
            Section::NoneAndSaid | Section::Lost => return,
            Section::Options | Section::Door => {}
        }
        if let Some(error) = never {
            return self.syntax(piece, error);
        }
        let Some(equals) = piece.text.iter().position(|byte| *byte == b'=') else {
            if piece.text.eq_ignore_ascii_case(b"UseSyslog") {
                self.conf.use_syslog = true;
                return self.echo("config: usesyslog".to_owned());
            }
            return self.syntax(piece, SyntaxError::NoEquals);
        };
        let written = String::from_utf8_lossy(trim(&piece.text[..equals]));
        let key = written.to_ascii_lowercase();
        let value = trim(&piece.text[equals + 1..]);
        if key == "usesyslog" {
            return self.syntax(piece, SyntaxError::UseSyslogValue);
        }
        if self.section == Section::Options {
            if !self.option(&key, value) {
                self.syntax(piece, SyntaxError::in_options(written.into_owned()));
            }
        } else if !self.door_directive(piece.number, &key, value) {
            self.syntax(piece, SyntaxError::in_door(written.into_owned()));
        }
    }

    /// False if `[options]` has no such directive.
    fn option(&mut self, key: &str, value: &[u8]) -> bool {
        let shown = String::from_utf8_lossy(value).into_owned();
        match key {
            "logfile" => {
                self.conf.log_file = Some(path(value));
                self.echo(format!("config: log file: {shown}"));
            }
            "pidfile" => {
                self.conf.pid_file = Some(path(value));
                self.echo(format!("config: pid file: {shown}"));
            }
            "interface" => {
                if self.conf.interface.is_none() {
                    self.conf.interface = options::interface(value);
                    self.echo(format!("config: interface: {shown}"));
                }
            }
            _ => return false,
        }
        true
    }

    /// False if a door has no such directive.
    fn door_directive(&mut self, line: usize, key: &str, value: &[u8]) -> bool {
        let index = self.conf.doors.len().saturating_sub(1);
        let Some(door) = self.conf.doors.last_mut() else { return false };
        let name = door.name.clone();
        let shown = String::from_utf8_lossy(value);
        let text = || Some(OsStr::from_bytes(value).to_owned());
        let said = match key {
            "sequence" => match steps(value) {
                Ok(steps) => {
                    let said = format!("sequence: {}", steps_text(&steps));
                    set_steps(door, steps);
                    self.broken.remove(&index);
                    said
                }
                Err(errors) => return self.bad_sequence(line, index, &name, errors),
            },
            "one_time_sequences" => {
                door.sequence = Sequence::OneTime(path(value));
                format!("one time sequences file: {shown}")
            }
            "seq_timeout" | "timeout" => {
                door.seq_timeout = atoi(value);
                format!("seq_timeout: {}", door.seq_timeout)
            }
            "seq_cooldown" => {
                door.seq_cooldown = atoi(value);
                format!("seq_cooldown: {}", door.seq_cooldown)
            }
            "tcpflags" => return self.flags(line, value),
            "target" => {
                door.target = text();
                format!("target: {shown}")
            }
            "start_command" | "command" => {
                door.start = text();
                format!("start_command: {shown}")
            }
            "start_command_6" | "command_6" => {
                door.start_6 = text();
                format!("start_command_6: {shown}")
            }
            "cmd_timeout" => {
                door.cmd_timeout = atoi(value);
                format!("cmd_timeout: {}", door.cmd_timeout)
            }
            "stop_command" => {
                door.stop = text();
                format!("stop_command: {shown}")
            }
            "stop_command_6" => {
                door.stop_6 = text();
                format!("stop_command_6: {shown}")
            }
            _ => return false,
        };
        self.echo(format!("config: {name}: {said}"));
        true
    }

    fn bad_sequence(&mut self, line: usize, index: usize, door: &str, errors: Vec<SequenceError>) -> bool {
        self.broken.insert(index);
        for error in errors {
            self.mistake(line, Problem::Sequence { door: door.to_owned(), error });
        }
        true
    }

    /// Items are not trimmed, as in knockd; of contradictions the later one counts.
    fn flags(&mut self, line: usize, value: &[u8]) -> bool {
        let value = String::from_utf8_lossy(value).to_ascii_uppercase();
        for item in value.split(',') {
            let (name, wanted) = match item.strip_prefix('!') {
                Some(name) => (name, Flag::Clear),
                None => (item, Flag::Set),
            };
            let Some(n) = FLAG_NAMES.iter().position(|known| *known == name) else {
                self.mistake(line, Problem::UnknownFlag(item.to_owned()));
                continue;
            };
            if let Some(door) = self.conf.doors.last_mut() {
                door.tcp_flags[n] = wanted;
            }
            self.echo(format!("config: tcp flag: {item}"));
        }
        true
    }

    /// The checks after the last line. Their mistakes come last, so that the first is always the one knockd stops at.
    fn finish(mut self) -> (Conf, Vec<Mistake>) {
        for (index, door) in self.conf.doors.iter().enumerate() {
            let mut problem = |problem| {
                self.mistakes.push(Mistake { file: self.file.to_owned(), line: door.line, problem });
            };
            let is_empty = matches!(&door.sequence, Sequence::Fixed(steps) if steps.is_empty());
            if is_empty && !self.broken.contains(&index) {
                problem(Problem::NoSequence { door: door.name.clone() });
            }
        }
        (self.conf, self.mistakes)
    }

    fn syntax(&mut self, piece: Piece<'_>, error: SyntaxError) {
        let error = piece.rest_of.map_or(error, SyntaxError::TooLong);
        self.mistake(piece.number, Problem::Syntax(error));
    }

    fn mistake(&mut self, line: usize, problem: Problem) {
        self.mistakes.push(Mistake { file: self.file.to_owned(), line, problem });
    }

    fn echo(&mut self, line: String) {
        self.conf.echo.push(line);
    }
}

/// A `Sequence` below a one-time file comes before that file's lines.
fn set_steps(door: &mut Door, steps: Vec<Step>) {
    door.sequence = match door.sequence.one_time_path() {
        Some(path) => Sequence::FixedThenOneTime { first: steps, then: path.to_owned() },
        None => Sequence::Fixed(steps),
    };
}

/// What fits into `limit` bytes, whole characters only.
fn cut(name: &[u8], limit: usize) -> String {
    let name = String::from_utf8_lossy(name);
    name[..name.floor_char_boundary(limit)].to_owned()
}

fn path(value: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from(OsStr::from_bytes(value)))
}
