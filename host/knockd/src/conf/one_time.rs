//! One-time sequences: a file of them, a line each, crossed out when used.
//!
//! It changes nothing in the file but the first byte of the line in use, found by its offset and not by comparison, so a
//! broken line before it is never crossed out in its place. No two doors may share a file. The file must not be edited
//! meanwhile: before it is crossed out, the line is compared with the one that was used.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::lines::{LONGEST_PIECE, trim};
use super::{Conf, ConfMistake, ConfProblem, SequenceError, SequenceStep, steps};
use crate::log::system_text;

/// Most bytes of a file; what is behind is not read.
const LONGEST_FILE: u64 = 16 << 20;

/// A line that is neither empty nor blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OneTimeLine {
    /// Of its first byte, which may be a blank.
    pub(crate) offset: u64,
    /// What it holds.
    pub(crate) state: OneTimeState,
}

impl OneTimeLine {
    /// The steps, if the line is still to be used.
    pub(crate) fn unused(&self) -> Option<&[SequenceStep]> {
        match &self.state {
            OneTimeState::Unused(steps) => Some(steps),
            OneTimeState::Used | OneTimeState::Broken(_) => None,
        }
    }
}

/// What a line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OneTimeState {
    /// Crossed out, or a comment: the two look the same.
    Used,
    /// A sequence.
    Unused(Vec<SequenceStep>),
    /// No sequence; reported and skipped. Empty for a line over 4095 bytes.
    Broken(Vec<SequenceError>),
}

/// The lines of a file, in order.
pub(crate) fn read_lines(bytes: &[u8]) -> Vec<OneTimeLine> {
    let mut lines = Vec::new();
    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let state = match trim(line) {
            [] => None,
            [b'#', ..] => Some(OneTimeState::Used),
            _ if line.len() > LONGEST_PIECE => Some(OneTimeState::Broken(Vec::new())),
            text => Some(steps(text).map_or_else(OneTimeState::Broken, OneTimeState::Unused)),
        };
        if let Some(state) = state {
            lines.push(OneTimeLine { offset, state });
        }
        offset += line.len() as u64;
    }
    lines
}

/// Opens a file for reading and crossing out, and reads it. Commands do not inherit the file.
///
/// # Errors
/// If it cannot be opened for both, or read.
pub(crate) fn open(path: &Path) -> io::Result<(File, Vec<OneTimeLine>)> {
    // Opening a pipe for both would succeed, and reading it would never end.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "Not a regular file"));
    }
    let mut bytes = Vec::new();
    (&file).take(LONGEST_FILE).read_to_end(&mut bytes)?;
    Ok((file, read_lines(&bytes)))
}

/// Crosses out the line at `offset` and waits until that is on the disk.
///
/// # Errors
/// If it cannot be written or not be made durable; the sequence must then not be used.
pub(crate) fn mark_used(file: &mut File, offset: u64) -> io::Result<()> {
    file.write_all_at(b"#", offset)?;
    file.sync_all()
}

/// Opens every one-time file of `conf`, named `file`, and says which doors cannot be served.
pub(crate) fn check(file: &Path, conf: &Conf) -> Vec<ConfMistake> {
    let mut mistakes = Vec::new();
    for door in &conf.doors {
        let Some(path) = door.sequence.one_time_path() else { continue };
        let problem = match open(path) {
            Err(error) => ConfProblem::OneTimeClosed {
                door: door.name.clone(),
                path: path.to_owned(),
                why: system_text(&error),
            },
            Ok((_, lines)) if lines.iter().all(|line| line.unused().is_none()) => {
                ConfProblem::OneTimeSpent { door: door.name.clone(), path: path.to_owned() }
            }
            Ok(_) => continue,
        };
        mistakes.push(ConfMistake { file: file.to_owned(), line: door.line, problem });
    }
    mistakes
}

/// What knockd says at the start of lines that are no sequences, in the files of all doors; at most so many.
pub(crate) fn broken(conf: &Conf, most: usize) -> Vec<(String, SequenceError)> {
    let files =
        conf.doors.iter().filter_map(|door| Some((door, open(door.sequence.one_time_path()?).ok()?.1)));
    let errors = files.flat_map(|(door, lines)| {
        let errors = lines.into_iter().filter_map(|line| match line.state {
            OneTimeState::Broken(errors) => Some(errors),
            OneTimeState::Used | OneTimeState::Unused(_) => None,
        });
        errors.flatten().map(|error| (door.name.clone(), error))
    });
    errors.take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::steps_text;

    fn shown(bytes: &[u8]) -> Vec<String> {
        let show = |line: &OneTimeLine| match &line.state {
            OneTimeState::Used => format!("{} used", line.offset),
            OneTimeState::Unused(steps) => format!("{} {}", line.offset, steps_text(steps)),
            OneTimeState::Broken(errors) => format!("{} broken {errors:?}", line.offset),
        };
        read_lines(bytes).iter().map(show).collect()
    }

    // 10.1
    #[test]
    fn lines_and_offsets() {
        let text = b"# a comment\n\n 1001,1002\n  #1,2\r\n1003:udp\r\n\t\n1:x\n70000\n5";
        assert_eq!(
            shown(text),
            [
                "0 used",
                "13 1001:tcp,1002:tcp",
                "24 used",
                "32 1003:udp",
                "44 broken [Protocol(\"1:x\")]",
                "48 broken [Port(\"70000\")]",
                "54 5:tcp",
            ]
        );
        assert!(shown(b"").is_empty());
        let long = [vec![b'1'; 4096], b"\n2\n".to_vec()].concat();
        assert_eq!(shown(&long), ["0 broken []", "4097 2:tcp"]);
        assert_eq!(shown(b"\xff\xfe\n"), ["0 broken [Port(\"\u{fffd}\u{fffd}\")]"]);
    }

    // 10.3, and 10.4: the broken line stays, the used one goes.
    #[test]
    fn crosses_out_the_line_in_use() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("once");
        std::fs::write(&path, "1:x\n1001,1002\n 2001\n3001").expect("written");
        let (mut file, lines) = open(&path).expect("opened");
        for line in lines.iter().filter(|line| line.unused().is_some()) {
            mark_used(&mut file, line.offset).expect("marked");
        }
        assert_eq!(std::fs::read(&path).expect("read"), b"1:x\n#001,1002\n#2001\n#001");
        assert!(open(&path).expect("opened").1.iter().all(|line| line.unused().is_none()));
    }

    // 10.1: what is crossed out or broken serves no door.
    #[test]
    fn a_file_without_unused_lines_is_spent() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("spent");
        std::fs::write(&path, "#1\n1:x\n").expect("written");
        let file = Path::new("k.conf");
        let text = format!("[a]\nsequence = 1\n[b]\none_time_sequences = {}\n", path.display());
        let (conf, mistakes) = Conf::parse(file, text.as_bytes());
        assert_eq!(mistakes, []);
        let problem = ConfProblem::OneTimeSpent { door: "b".to_owned(), path };
        assert_eq!(check(file, &conf), [ConfMistake { file: file.to_owned(), line: 3, problem }]);
    }
}
