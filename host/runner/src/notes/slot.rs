//! NoteSlot: the bytes of one note, with a meaning.

use super::{NotedAct, NotedPhase};
use crate::left_running::LeftRunning;
use crate::process_identity::ProcessIdentity;

/// Bytes of one.
pub(super) const SLOT: usize = 64;
const FREE: u8 = 0;
const RECORDED: u8 = 1;
const ASKED: u8 = 2;
const RUNNING: u8 = 3;
const ENDED: u8 = 4;
const NOT_STARTED: u8 = 5;

/// A slot's bytes, with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoteSlot {
    pub(super) ticket: u32,
    /// None if the slot is free.
    pub(super) used: Option<UsedSlot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UsedSlot {
    /// 0 if it is for no record; of a hook its number.
    pub(super) record: u64,
    pub(super) act: NotedAct,
    pub(super) phase: NotedPhase,
}

impl NoteSlot {
    /// Record, ticket, phase, act, two of zero; then the shim and the status as numbers of four bytes, when the shim was started, until when it may run
    /// and when the command was started as numbers of eight, and the command as one of four.
    pub(super) fn encode(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[8..12].copy_from_slice(&self.ticket.to_ne_bytes());
        let Some(UsedSlot { record, act, phase }) = self.used else { return bytes };
        bytes[..8].copy_from_slice(&record.to_ne_bytes());
        bytes[13] = match act {
            NotedAct::Open => 0,
            NotedAct::Close => 1,
            NotedAct::Hook => 2,
        };
        let (number, status) = match phase {
            NotedPhase::Recorded => (RECORDED, 0),
            NotedPhase::Asked => (ASKED, 0),
            NotedPhase::Running(LeftRunning {
                shim: ProcessIdentity { number, started },
                command,
                until,
            }) => {
                bytes[16..20].copy_from_slice(&number.to_ne_bytes());
                bytes[24..32].copy_from_slice(&started.to_ne_bytes());
                if let Some(ProcessIdentity { number, started }) = command {
                    bytes[48..52].copy_from_slice(&number.to_ne_bytes());
                    bytes[40..48].copy_from_slice(&started.to_ne_bytes());
                }
                bytes[32..40].copy_from_slice(&until.to_ne_bytes());
                (RUNNING, 0)
            }
            NotedPhase::Ended(status) => (ENDED, status),
            NotedPhase::NotStarted(error) => (NOT_STARTED, error),
        };
        bytes[12] = number;
        bytes[20..24].copy_from_slice(&status.to_ne_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SLOT]) -> Self {
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let eight = |at: usize| {
            let ([a, b, c, d], [e, f, g, h]) = (four(at), four(at + 4));
            u64::from_ne_bytes([a, b, c, d, e, f, g, h])
        };
        let status = i32::from_ne_bytes(four(20));
        let phase = match bytes[12] {
            RECORDED => Some(NotedPhase::Recorded),
            ASKED => Some(NotedPhase::Asked),
            RUNNING => {
                let shim = ProcessIdentity { number: u32::from_ne_bytes(four(16)), started: eight(24) };
                let command = ProcessIdentity { number: u32::from_ne_bytes(four(48)), started: eight(40) };
                let command = Some(command).filter(|command| command.number != 0);
                Some(NotedPhase::Running(LeftRunning { shim, command, until: eight(32) }))
            }
            ENDED => Some(NotedPhase::Ended(status)),
            NOT_STARTED => Some(NotedPhase::NotStarted(status)),
            FREE.. => None,
        };
        let act = match bytes[13] {
            0 => NotedAct::Open,
            1 => NotedAct::Close,
            2.. => NotedAct::Hook,
        };
        let used = phase.map(|phase| UsedSlot { record: eight(0), act, phase });
        Self { ticket: u32::from_ne_bytes(four(8)), used }
    }
}
