//! ConfReader: reads the lines, section by section, and never stops at a mistake.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::lines::{Piece, atoi, pieces, trim};
use super::sequence::{SequenceError, SequenceStep, steps, steps_text};
use super::syntax::SyntaxError;
use super::{Conf, ConfDoor, ConfMistake, ConfProblem, DoorSequence, FLAG_NAMES, FlagCondition};
use crate::options;

/// Most bytes of a door's name.
const LONGEST_NAME: usize = 127;
const LONGEST_SECTION_ECHO: usize = 254;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) fn read(file: &Path, text: &[u8]) -> (Conf, Vec<ConfMistake>) {
    let mut reader = ConfReader {
        file,
        conf: Conf::default(),
        section: CurrentSection::None,
        mistakes: Vec::new(),
        broken: BTreeSet::new(),
    };
    for piece in pieces(text) {
        reader.piece(piece);
    }
    reader.finish()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CurrentSection {
    /// Above the first section line; a mistake is said once.
    None,
    NoneAndSaid,
    Options,
    /// The last door.
    Door,
    /// Below `[]`: directives are ignored, since it is not known which section they belong to.
    Lost,
}

struct ConfReader<'a> {
    file: &'a Path,
    conf: Conf,
    section: CurrentSection,
    mistakes: Vec<ConfMistake>,
    /// Indexes of doors that have a sequence, but a wrong one.
    broken: BTreeSet<usize>,
}

impl ConfReader<'_> {
    fn piece(&mut self, piece: Piece<'_>) {
        let Piece { number, mut text, .. } = piece;
        if number == 1
            && let Some(behind) = text.strip_prefix(BYTE_ORDER_MARK)
        {
            self.mistake(number, ConfProblem::ByteOrderMark);
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
            self.section = CurrentSection::Lost;
            return self.mistake(line, ConfProblem::NoSectionName);
        }
        if name == b"options" {
            self.section = CurrentSection::Options;
            return;
        }
        self.section = CurrentSection::Door;
        self.conf.doors.push(ConfDoor::new(cut(name, LONGEST_NAME), line));
    }

    fn directive(&mut self, piece: Piece<'_>) {
        let never = SyntaxError::of_no_directive(piece.text);
        match self.section {
            CurrentSection::None => {
                self.section = CurrentSection::NoneAndSaid;
                let error = piece.rest_of.map(SyntaxError::TooLong).or(never);
                return self.mistake(piece.number, ConfProblem::NoSection(error));
            }
            CurrentSection::NoneAndSaid | CurrentSection::Lost => return,
            CurrentSection::Options | CurrentSection::Door => {}
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
        if self.section == CurrentSection::Options {
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
                door.sequence = DoorSequence::OneTime(path(value));
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
            self.mistake(line, ConfProblem::Sequence { door: door.to_owned(), error });
        }
        true
    }

    /// Items are not trimmed, as in knockd; of contradictions the later one counts.
    fn flags(&mut self, line: usize, value: &[u8]) -> bool {
        let value = String::from_utf8_lossy(value).to_ascii_uppercase();
        for item in value.split(',') {
            let (name, wanted) = match item.strip_prefix('!') {
                Some(name) => (name, FlagCondition::Clear),
                None => (item, FlagCondition::Set),
            };
            let Some(n) = FLAG_NAMES.iter().position(|known| *known == name) else {
                self.mistake(line, ConfProblem::UnknownFlag(item.to_owned()));
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
    fn finish(mut self) -> (Conf, Vec<ConfMistake>) {
        for (index, door) in self.conf.doors.iter().enumerate() {
            let mut problem = |problem| {
                self.mistakes.push(ConfMistake { file: self.file.to_owned(), line: door.line, problem });
            };
            let is_empty = matches!(&door.sequence, DoorSequence::Fixed(steps) if steps.is_empty());
            if is_empty && !self.broken.contains(&index) {
                problem(ConfProblem::NoSequence { door: door.name.clone() });
            }
        }
        (self.conf, self.mistakes)
    }

    fn syntax(&mut self, piece: Piece<'_>, error: SyntaxError) {
        let error = piece.rest_of.map_or(error, SyntaxError::TooLong);
        self.mistake(piece.number, ConfProblem::Syntax(error));
    }

    fn mistake(&mut self, line: usize, problem: ConfProblem) {
        self.mistakes.push(ConfMistake { file: self.file.to_owned(), line, problem });
    }

    fn echo(&mut self, line: String) {
        self.conf.echo.push(line);
    }
}

/// A `Sequence` below a one-time file comes before that file's lines.
fn set_steps(door: &mut ConfDoor, steps: Vec<SequenceStep>) {
    door.sequence = match door.sequence.one_time_path() {
        Some(path) => DoorSequence::FixedThenOneTime { first: steps, then: path.to_owned() },
        None => DoorSequence::Fixed(steps),
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
