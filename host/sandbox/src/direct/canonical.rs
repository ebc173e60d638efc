//! Canonical: the contract's values as bytes in a guest's linear memory, after the canonical ABI of the component model
//! (<https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md>).
//!
//! Numbers are little-endian; each field stands at the next multiple of its alignment. The places below follow from
//! `guest-sdk/wit/rule.wit`. Nothing that a guest writes is trusted: every offset is checked against its memory, every case against
//! the contract, and the bytes that one answer may make the host copy are bounded.

use std::cell::Cell;
use std::net::IpAddr;

use postern_core::{Knock, Severity, TcpFlags, TcpHeader, Transport};

use crate::contract::{lower_flags, types};
use crate::limits::MAX_LIFTED;
use crate::store::too_long_answer;

type Result<T> = wasmtime::Result<T>;

/// Bytes, text, or consecutive records.
#[derive(Clone, Copy)]
pub(super) struct GuestList {
    pub(super) place: u32,
    /// Of what the list holds, not of bytes.
    pub(super) length: u32,
}

/// The arguments of `judge`, of which the lists are in the guest's memory already.
pub(super) struct JudgeArguments<'a> {
    pub(super) knock: &'a Knock,
    /// And where its options are.
    pub(super) tcp_header: Option<(&'a TcpHeader, GuestList)>,
    pub(super) payload: GuestList,
    pub(super) memory: Option<GuestList>,
}

impl JudgeArguments<'_> {
    pub(super) const SIZE: usize = 120;
    pub(super) const ALIGNMENT: u32 = 8;

    pub(super) fn to_bytes(&self) -> [u8; JudgeArguments::SIZE] {
        let Self { knock, tcp_header, payload, memory } = self;
        let mut bytes = [0; JudgeArguments::SIZE];
        let mut put = |place: usize, value: &[u8]| bytes[place..place + value.len()].copy_from_slice(value);
        put(0, &knock.time.0.to_le_bytes());
        put(8, &address(knock.source));
        put(28, &knock.link.to_le_bytes());
        put(32, &knock.source_port.to_le_bytes());
        put(36, &address(knock.destination));
        put(56, &knock.destination_port.to_le_bytes());
        let transport = match knock.transport {
            Transport::Tcp => 0,
            Transport::Udp => 1,
            Transport::Icmp => 2,
            Transport::Icmpv6 => 3,
        };
        put(58, &[transport, knock.tcp_flags.0, knock.hop_limit]);
        put(64, &knock.packet_length.to_le_bytes());
        put(68, &knock.interface_index.to_le_bytes());
        if let Some((header, options)) = tcp_header {
            put(72, &[1]);
            put(76, &header.sequence.to_le_bytes());
            put(80, &header.acknowledgment.to_le_bytes());
            put(84, &header.window.to_le_bytes());
            put(86, &header.urgent_pointer.to_le_bytes());
            put(88, &options.to_bytes());
        }
        put(96, &payload.to_bytes());
        if let Some(memory) = memory {
            put(104, &[1]);
            put(108, &memory.to_bytes());
        }
        bytes
    }
}

impl GuestList {
    fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.length) << 32 | u64::from(self.place)).to_le_bytes()
    }
}

/// `address`: which case, and 4 bytes of IPv4 or four words of IPv6, the first one first.
fn address(address: IpAddr) -> [u8; 20] {
    let mut bytes = [0; 20];
    match address {
        IpAddr::V4(address) => bytes[4..8].copy_from_slice(&address.to_bits().to_le_bytes()),
        IpAddr::V6(address) => {
            bytes[0] = 1;
            for (word, octets) in bytes[4..].chunks_exact_mut(4).zip(address.octets().chunks_exact(4)) {
                word.copy_from_slice(octets);
                word.reverse();
            }
        }
    }
    bytes
}

/// Reads answers out of a guest's memory.
pub(super) struct AnswerReader<'a> {
    memory: &'a [u8],
    /// Bytes that may still be copied.
    left: Cell<usize>,
}

impl<'a> AnswerReader<'a> {
    pub(super) const fn new(memory: &'a [u8]) -> Self {
        Self { memory, left: Cell::new(MAX_LIFTED) }
    }

    /// `result<interest, string>`, the answer of `configure`.
    pub(super) fn interest(&self, place: u32) -> Result<std::result::Result<types::Interest, String>> {
        let answer = self.record::<36>(place, 4)?;
        if answer.case(0, 2)? == 1 {
            return Ok(Err(self.text(answer.list(4))?.to_owned()));
        }
        let destination = match answer.case(12, 3)? {
            0 => types::Destination::ThisHost,
            1 => types::Destination::Anywhere,
            _ => {
                types::Destination::Within(self.records(answer.list(16), 4, |_, prefix| read_prefix(prefix))?)
            }
        };
        Ok(Ok(types::Interest {
            watches: self.records(answer.list(4), 2, |_, watch| read_watch(watch))?,
            destination,
            payload_limit: answer.u32(24),
            // The canonical ABI takes any byte but 0 for true.
            tcp_header: answer.0[28] != 0,
            memory_format: answer.u32(32),
        }))
    }

    /// `verdict`, the answer of `judge`.
    pub(super) fn verdict(&self, place: u32) -> Result<types::Verdict> {
        let answer = self.record::<48>(place, 8)?;
        Ok(match answer.case(0, 5)? {
            0 => types::Verdict::Ignore,
            1 => types::Verdict::Remember(self.progress(answer.at(8))?),
            2 => types::Verdict::Forget(self.text(answer.list(8))?.to_owned()),
            3 => types::Verdict::Open(types::OpenVerdict {
                requests: self.records(answer.list(8), 8, Self::open_request)?,
                remember: self.remember(answer.at(16))?,
            }),
            _ => types::Verdict::Close(types::CloseVerdict {
                requests: self.records(answer.list(8), 4, Self::close_request)?,
                remember: self.remember(answer.at(16))?,
            }),
        })
    }

    /// `level`, which is passed as a number.
    pub(super) fn level(&self, case: u32) -> Result<Severity> {
        Ok(match case {
            0 => Severity::Error,
            1 => Severity::Warn,
            2 => Severity::Info,
            3 => Severity::Debug,
            other => wasmtime::bail!("a log line of level {other}"),
        })
    }

    /// `string`.
    pub(super) fn text(&self, list: GuestList) -> Result<&'a str> {
        Ok(std::str::from_utf8(self.bytes(list)?)?)
    }

    fn remember(&self, progress: RecordBytes<'_, 32>) -> Result<Option<types::Progress>> {
        if progress.option(0)? { self.progress(progress.at(8)).map(Some) } else { Ok(None) }
    }

    fn progress(&self, progress: RecordBytes<'_, 24>) -> Result<types::Progress> {
        let memory = self.bytes(progress.list(4))?.to_vec();
        Ok(types::Progress { stage: progress.u32(0), memory, until: progress.u64(16) })
    }

    fn open_request(&self, request: RecordBytes<'_, 64>) -> Result<types::OpenRequest> {
        Ok(types::OpenRequest {
            once: if request.option(0)? { Some(self.once(request.at(8))?) } else { None },
            door: self.door(request.at(40))?,
            seconds: request.option(52)?.then(|| request.u32(56)),
            prefix_length: request.option(60)?.then(|| request.0[61]),
        })
    }

    fn close_request(&self, request: RecordBytes<'_, 16>) -> Result<types::CloseRequest> {
        Ok(types::CloseRequest {
            door: self.door(request.at(0))?,
            prefix_length: request.option(12)?.then(|| request.0[13]),
        })
    }

    fn door(&self, door: RecordBytes<'_, 12>) -> Result<Option<String>> {
        Ok(if door.option(0)? { Some(self.text(door.list(4))?.to_owned()) } else { None })
    }

    fn once(&self, once: RecordBytes<'_, 32>) -> Result<types::Once> {
        let bytes = || Ok::<_, wasmtime::Error>(self.bytes(once.list(8))?.to_vec());
        Ok(match once.case(0, 2)? {
            0 => types::Once::Token(types::Token {
                bytes: bytes()?,
                until: once.option(16)?.then(|| once.u64(24)),
            }),
            _ => types::Once::Counter(types::Counter { key: bytes()?, value: once.u64(16) }),
        })
    }

    /// A list of records of `SIZE` bytes.
    fn records<const SIZE: usize, T>(
        &self,
        list: GuestList,
        alignment: u32,
        read: impl Fn(&Self, RecordBytes<'_, SIZE>) -> Result<T>,
    ) -> Result<Vec<T>> {
        check_alignment(list.place, alignment)?;
        let size = u64::from(list.length) * SIZE as u64;
        let (records, _) = self.slice(list.place, size)?.as_chunks();
        records.iter().map(|record| read(self, RecordBytes(record))).collect()
    }

    fn record<const SIZE: usize>(&self, place: u32, alignment: u32) -> Result<RecordBytes<'a, SIZE>> {
        check_alignment(place, alignment)?;
        let bytes = self.slice(place, SIZE as u64)?;
        Ok(RecordBytes(bytes.try_into()?))
    }

    fn bytes(&self, list: GuestList) -> Result<&'a [u8]> {
        self.slice(list.place, list.length.into())
    }

    fn slice(&self, place: u32, size: u64) -> Result<&'a [u8]> {
        let (start, size) = (usize::try_from(place)?, usize::try_from(size)?);
        let bytes = self.memory.get(start..).and_then(|rest| rest.get(..size));
        let Some(bytes) = bytes else { wasmtime::bail!("pointer out of bounds of memory") };
        let Some(left) = self.left.get().checked_sub(size) else {
            return Err(too_long_answer());
        };
        self.left.set(left);
        Ok(bytes)
    }
}

/// A value of a known size; every place in it is known as well.
#[derive(Clone, Copy)]
struct RecordBytes<'a, const SIZE: usize>(&'a [u8; SIZE]);

impl<'a, const SIZE: usize> RecordBytes<'a, SIZE> {
    fn array<const N: usize>(self, place: usize) -> &'a [u8; N] {
        const { assert!(N <= SIZE) };
        self.0[place..].first_chunk().unwrap_or(&[0; N])
    }

    fn at<const N: usize>(self, place: usize) -> RecordBytes<'a, N> {
        RecordBytes(self.array(place))
    }

    /// Which of so many cases.
    fn case(self, place: usize, cases: u8) -> Result<u8> {
        let case = self.0[place];
        wasmtime::ensure!(case < cases, "unexpected discriminant: {case}");
        Ok(case)
    }

    fn option(self, place: usize) -> Result<bool> {
        Ok(self.case(place, 2)? == 1)
    }

    fn u16(self, place: usize) -> u16 {
        u16::from_le_bytes(*self.array(place))
    }

    fn u32(self, place: usize) -> u32 {
        u32::from_le_bytes(*self.array(place))
    }

    fn u64(self, place: usize) -> u64 {
        u64::from_le_bytes(*self.array(place))
    }

    fn list(self, place: usize) -> GuestList {
        GuestList { place: self.u32(place), length: self.u32(place + 4) }
    }
}

fn check_alignment(place: u32, alignment: u32) -> Result<()> {
    wasmtime::ensure!(place.is_multiple_of(alignment), "pointer not aligned");
    Ok(())
}

fn read_watch(watch: RecordBytes<'_, 8>) -> Result<types::Watch> {
    let transport = match watch.case(0, 4)? {
        0 => types::Transport::Tcp,
        1 => types::Transport::Udp,
        2 => types::Transport::Icmp,
        _ => types::Transport::Icmpv6,
    };
    let flags = |place: usize| lower_flags(TcpFlags(watch.0[place]));
    let (first_port, last_port) = (watch.u16(2), watch.u16(4));
    Ok(types::Watch { transport, first_port, last_port, flags_set: flags(6), flags_clear: flags(7) })
}

fn read_prefix(prefix: RecordBytes<'_, 24>) -> Result<types::Prefix> {
    let address = match prefix.case(0, 2)? {
        0 => types::Address::V4(prefix.u32(4)),
        _ => types::Address::V6((prefix.u32(4), prefix.u32(8), prefix.u32(12), prefix.u32(16))),
    };
    Ok(types::Prefix { address, length: prefix.0[20] })
}
