//! The contract `postern:rule@0.2.0`: generated bindings, and the conversions between them and the core's words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use postern_core::{
    CloseRequest, Destination, Detail, Interest, IpNet, Knock, MAX_PAYLOAD, Once, OpenRequest, Progress,
    Severity, TcpFlags, TcpHeader, Timestamp, Transport, Verdict, Watch,
};
use wasmtime::StoreContextMut;
use wasmtime::component::{HasSelf, Linker, WasmList, WasmStr};

use self::bindings::postern::rule::types::Address;
pub(crate) use self::bindings::postern::rule::{host, types};
pub(crate) use self::bindings::{Rule, RulePre};
use self::host::Level;
use crate::guest::Guest;
use crate::limits::MAX_LIFTED;

/// The interface that a rule imports, the only one there is.
pub(crate) const HOST_INTERFACE: &str = "postern:rule/host@0.2.0";
/// The contract's package and version, for messages.
pub const PACKAGE: &str = "postern:rule@0.2.0";
/// What the WASI without power imports, which no rule may.
const OUTPUT_INTERFACE: &str = "postern:runtime/output@0.1.0";
/// The contract as text.
pub(crate) const WIT: &str = include_str!("../../../guest-sdk/wit/rule.wit");

const MAX_WATCHES: usize = 1024;
/// Each is looked at for every packet to a port that is watched with all of them.
const MAX_FLAGS: usize = 16;
const MAX_PREFIXES: usize = 64;
const MAX_MEMORY: usize = 1024;
const MAX_REMEMBERED_FOR: Duration = Duration::from_secs(3600);
const MAX_REQUESTS: usize = 8;
const MAX_REASON: usize = 200;
const MAX_TOKEN: usize = 64;
const MAX_DOOR_NAME: usize = 64;
const MAX_PREFIX_LENGTH: u8 = 128;
/// The largest integer that every guest language represents exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

mod bindings {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated")]

    wasmtime::component::bindgen!({
        path: "../../guest-sdk/wit",
        world: "rule",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

/// Offers a rule what the contract says, and nothing else.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    // Not by the generated bindings: they would read and copy the text before it could be counted.
    linker.instance(HOST_INTERFACE)?.func_wrap(
        "log",
        |mut store: StoreContextMut<'_, Guest>, (level, text): (Level, WasmStr)| {
            store.data_mut().clock.check()?;
            let log = &store.data().log;
            log.count_line()?;
            // One line is no longer than the store lets the host take at once.
            let text = text.to_str(&store)?;
            log.count_text(text.len())?;
            log.write(lift_level(level), &text);
            Ok(())
        },
    )?;
    linker.instance(OUTPUT_INTERFACE)?.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, Guest>, (is_error, bytes): (bool, WasmList<u8>)| {
            store.data_mut().clock.check()?;
            let bytes = bytes.as_le_slice(&store);
            store.data().log.output(is_error, &bytes[..bytes.len().min(MAX_LIFTED)]);
            Ok(())
        },
    )
}

impl types::Host for Guest {}

const fn lift_level(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warn,
        Level::Info => Severity::Info,
        Level::Debug => Severity::Debug,
    }
}

/// A knock as the guest sees it; `detail` is what the rule asked for.
pub(crate) fn lower(knock: &Knock, detail: Detail) -> types::Knock<'_> {
    types::Knock {
        time: knock.time.0,
        source: lower_address(knock.source),
        source_zone: knock.link,
        source_port: knock.source_port,
        destination: lower_address(knock.destination),
        destination_port: knock.destination_port,
        transport: match knock.transport {
            Transport::Tcp => types::Transport::Tcp,
            Transport::Udp => types::Transport::Udp,
            Transport::Icmp => types::Transport::Icmp,
            Transport::Icmpv6 => types::Transport::Icmpv6,
        },
        tcp_flags: lower_flags(knock.tcp_flags),
        hop_limit: knock.hop_limit,
        packet_length: knock.packet_length,
        interface_index: knock.interface_index,
        tcp_header: detail.tcp_header_of(knock).map(lower_tcp_header),
        payload: detail.payload_of(knock),
    }
}

/// What a rule asks for, if it makes sense.
pub(crate) fn lift_interest(interest: &types::Interest) -> Result<Interest, String> {
    let count = interest.watches.len();
    if !(1..=MAX_WATCHES).contains(&count) {
        return Err(format!("it asks for {count} watches; 1 to {MAX_WATCHES} are allowed"));
    }
    let watches = interest.watches.iter().map(lift_watch).collect::<Result<Vec<_>, _>>()?;
    let mut flags: Vec<_> = watches.iter().map(|watch| (watch.set.0, watch.clear.0)).collect();
    flags.sort_unstable();
    flags.dedup();
    if flags.len() > MAX_FLAGS {
        return Err(format!(
            "it asks for {} combinations of TCP flags; at most {MAX_FLAGS} are allowed",
            flags.len()
        ));
    }
    let destination = match &interest.destination {
        types::Destination::ThisHost => Destination::ThisHost,
        types::Destination::Anywhere => Destination::Anywhere,
        types::Destination::Within(prefixes) if prefixes.len() > MAX_PREFIXES => {
            return Err(format!("it names {} prefixes; at most {MAX_PREFIXES} are allowed", prefixes.len()));
        }
        types::Destination::Within(prefixes) => {
            Destination::Within(prefixes.iter().map(lift_prefix).collect::<Result<_, _>>()?)
        }
    };
    let payload_limit = usize::try_from(interest.payload_limit).unwrap_or(usize::MAX);
    if payload_limit > MAX_PAYLOAD {
        return Err(format!("it asks for {payload_limit} bytes of payload; at most {MAX_PAYLOAD} are kept"));
    }
    let detail = Detail { payload_limit, tcp_header: interest.tcp_header };
    Ok(Interest { watches, destination, detail, memory_format: interest.memory_format })
}

/// What a rule says of a knock that arrived at `now`, if it makes sense.
pub(crate) fn lift_verdict(verdict: types::Verdict, now: Timestamp) -> Result<Verdict, String> {
    match verdict {
        types::Verdict::Ignore => Ok(Verdict::Ignore),
        types::Verdict::Remember(progress) => lift_progress(progress, now).map(Verdict::Remember),
        types::Verdict::Forget(mut reason) => {
            if reason.len() > MAX_REASON {
                reason.truncate(reason.floor_char_boundary(MAX_REASON));
            }
            Ok(Verdict::Forget(reason.into()))
        }
        types::Verdict::Open(types::OpenVerdict { requests, remember }) => {
            check_count(requests.len())?;
            let requests = requests.into_iter().map(|request| lift_open_request(request, now));
            Ok(Verdict::Open {
                requests: requests.collect::<Result<_, _>>()?,
                remember: lift_remember(remember, now)?,
            })
        }
        types::Verdict::Close(types::CloseVerdict { requests, remember }) => {
            check_count(requests.len())?;
            let requests = requests.into_iter().map(lift_close_request);
            Ok(Verdict::Close {
                requests: requests.collect::<Result<_, _>>()?,
                remember: lift_remember(remember, now)?,
            })
        }
    }
}

fn lift_remember(progress: Option<types::Progress>, now: Timestamp) -> Result<Option<Progress>, String> {
    progress.map(|progress| lift_progress(progress, now)).transpose()
}

fn lift_progress(progress: types::Progress, now: Timestamp) -> Result<Progress, String> {
    let types::Progress { stage, memory, until } = progress;
    if memory.len() > MAX_MEMORY {
        return Err(format!("{} bytes to remember; at most {MAX_MEMORY} are kept", memory.len()));
    }
    let until = Timestamp(until).min(now.plus(MAX_REMEMBERED_FOR));
    Ok(Progress { stage, bytes: memory.into(), until })
}

fn lift_close_request(request: types::CloseRequest) -> Result<CloseRequest, String> {
    Ok(CloseRequest {
        door: lift_door(request.door)?,
        prefix_length: lift_prefix_length(request.prefix_length)?,
    })
}

fn lift_watch(watch: &types::Watch) -> Result<Watch, String> {
    let transport = match watch.transport {
        types::Transport::Tcp => Transport::Tcp,
        types::Transport::Udp => Transport::Udp,
        types::Transport::Icmp => Transport::Icmp,
        types::Transport::Icmpv6 => Transport::Icmpv6,
    };
    let (first_port, last_port) = (watch.first_port, watch.last_port);
    if first_port > last_port {
        return Err(format!(
            "it watches {transport} {first_port} to {last_port}; the first must not be above the last"
        ));
    }
    if matches!(transport, Transport::Icmp | Transport::Icmpv6) && last_port > 255 {
        return Err(format!("it watches {transport} type {last_port}; message types end at 255"));
    }
    let (set, clear) = (lift_flags(watch.flags_set), lift_flags(watch.flags_clear));
    if set.0 & clear.0 != 0 {
        return Err("it wants a TCP flag both set and clear; no packet is both".to_owned());
    }
    Ok(Watch { transport, first_port, last_port, set, clear })
}

fn check_count(requests: usize) -> Result<(), String> {
    if (1..=MAX_REQUESTS).contains(&requests) {
        return Ok(());
    }
    Err(format!("{requests} doors in one verdict; 1 to {MAX_REQUESTS} are allowed"))
}

fn lift_open_request(request: types::OpenRequest, now: Timestamp) -> Result<OpenRequest, String> {
    if request.seconds == Some(0) {
        return Err("an opening of 0 seconds; leave the time out for the door's own".to_owned());
    }
    Ok(OpenRequest {
        door: lift_door(request.door)?,
        prefix_length: lift_prefix_length(request.prefix_length)?,
        lasts: request.seconds.map(|seconds| Duration::from_secs(seconds.into())),
        once: request.once.map(|once| lift_once(once, now)).transpose()?,
    })
}

fn lift_door(door: Option<String>) -> Result<Option<Box<str>>, String> {
    match door {
        Some(name) if name.is_empty() || name.len() > MAX_DOOR_NAME || name.chars().any(char::is_control) => {
            Err("a door's name that no door can have".to_owned())
        }
        door => Ok(door.map(Into::into)),
    }
}

/// What is too long for the source's family is refused as any other width that was not granted.
fn lift_prefix_length(length: Option<u8>) -> Result<Option<u8>, String> {
    match length {
        Some(length) if length > MAX_PREFIX_LENGTH => {
            Err(format!("a prefix length of {length}; an address has at most {MAX_PREFIX_LENGTH} bits"))
        }
        length => Ok(length),
    }
}

fn lift_prefix(prefix: &types::Prefix) -> Result<IpNet, String> {
    let address = lift_address(prefix.address);
    let net = IpNet::new(address, prefix.length)
        .map_err(|_| format!("a prefix {address}/{}, which is too long", prefix.length))?;
    if net.network() != address {
        return Err(format!("a prefix {net} with bits behind its length; write {}", net.trunc()));
    }
    Ok(net)
}

fn lift_once(once: types::Once, now: Timestamp) -> Result<Once, String> {
    let check = |bytes: Vec<u8>, what: &str| match bytes.len() {
        1..=MAX_TOKEN => Ok(bytes.into_boxed_slice()),
        length => Err(format!("a {what} of {length} bytes; 1 to {MAX_TOKEN} are allowed")),
    };
    match once {
        types::Once::Token(types::Token { bytes, until }) => Ok(Once::Token {
            bytes: check(bytes, "token")?,
            until: until.map(|until| lift_until(until, now)).transpose()?,
        }),
        types::Once::Counter(counter) if counter.value > MAX_SAFE_INTEGER => {
            Err(format!("a counter of {}; at most {MAX_SAFE_INTEGER} is allowed", counter.value))
        }
        types::Once::Counter(counter) => {
            Ok(Once::Counter { key: check(counter.key, "counter's key")?, value: counter.value })
        }
    }
}

/// Until when a token could be accepted. It was accepted just now, so an earlier moment is a mistake: the token could be used once more.
fn lift_until(until: u64, now: Timestamp) -> Result<Timestamp, String> {
    match until {
        _ if until > MAX_SAFE_INTEGER => Err(format!(
            "a token that could be accepted until {until}; at most {MAX_SAFE_INTEGER} is allowed"
        )),
        _ if until < now.0 => Err(format!(
            "a token that could be accepted until {until}, which is before its knock at {}",
            now.0
        )),
        _ => Ok(Timestamp(until)),
    }
}

fn lower_tcp_header(header: &TcpHeader) -> types::TcpHeader<'_> {
    types::TcpHeader {
        sequence: header.sequence,
        acknowledgment: header.acknowledgment,
        window: header.window,
        urgent_pointer: header.urgent_pointer,
        options: &header.options,
    }
}

fn lower_address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::V4(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let word = |n: u32| u32::try_from(bits >> (96 - 32 * n) & 0xffff_ffff).unwrap_or(0);
            Address::V6((word(0), word(1), word(2), word(3)))
        }
    }
}

fn lift_address(address: Address) -> IpAddr {
    match address {
        Address::V4(bits) => Ipv4Addr::from_bits(bits).into(),
        Address::V6((a, b, c, d)) => {
            let bits = [a, b, c, d].into_iter().fold(0_u128, |bits, word| bits << 32 | u128::from(word));
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

/// Both sides number the flags as the TCP header does.
pub(crate) fn lower_flags(flags: TcpFlags) -> types::TcpFlags {
    let all = [
        (TcpFlags::FIN, types::TcpFlags::FIN),
        (TcpFlags::SYN, types::TcpFlags::SYN),
        (TcpFlags::RST, types::TcpFlags::RST),
        (TcpFlags::PSH, types::TcpFlags::PSH),
        (TcpFlags::ACK, types::TcpFlags::ACK),
        (TcpFlags::URG, types::TcpFlags::URG),
        (TcpFlags::ECE, types::TcpFlags::ECE),
        (TcpFlags::CWR, types::TcpFlags::CWR),
    ];
    let mut lowered = types::TcpFlags::empty();
    for (ours, theirs) in all {
        if flags.0 & ours.0 != 0 {
            lowered |= theirs;
        }
    }
    lowered
}

fn lift_flags(flags: types::TcpFlags) -> TcpFlags {
    let mut lifted = TcpFlags::default();
    for bit in 0..8 {
        let ours = TcpFlags(1 << bit);
        if flags.contains(lower_flags(ours)) {
            lifted.0 |= ours.0;
        }
    }
    lifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_every_bit() {
        for text in ["192.0.2.1", "255.255.255.255", "2001:db8::1", "fe80::ffff:1:2:3", "::ffff:192.0.2.1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(lift_address(lower_address(address)), address);
        }
        assert!(matches!(lower_address([192, 0, 2, 1].into()), Address::V4(0xC000_0201)));
        let Address::V6(words) = lower_address("2001:db8::1".parse().unwrap()) else { panic!("v6") };
        assert_eq!(words, (0x2001_0db8, 0, 0, 1));
    }

    #[test]
    fn flags_keep_every_bit() {
        for bits in 0..=255 {
            assert_eq!(lift_flags(lower_flags(TcpFlags(bits))), TcpFlags(bits));
        }
    }

    #[test]
    fn prefixes_must_be_exact() {
        let prefix = |bits, length| types::Prefix { address: Address::V4(bits), length };
        assert_eq!(lift_prefix(&prefix(0x0a00_0000, 8)), Ok("10.0.0.0/8".parse().unwrap()));
        assert!(lift_prefix(&prefix(0x0a00_0001, 8)).is_err());
        assert!(lift_prefix(&prefix(0x0a00_0000, 33)).is_err());
    }

    fn request() -> types::OpenRequest {
        types::OpenRequest { door: None, prefix_length: None, seconds: None, once: None }
    }

    #[test]
    fn a_token_is_kept_as_long_as_it_could_be_accepted() {
        let lift = |until| {
            let token = types::Once::Token(types::Token { bytes: vec![7], until });
            let request = types::OpenRequest { once: Some(token), ..request() };
            lift_open_request(request, Timestamp(1_000_000)).map(|request| request.once)
        };
        let token = |until| Ok(Some(Once::Token { bytes: [7].into(), until }));
        assert_eq!(lift(None), token(None));
        assert_eq!(lift(Some(1_000_000)), token(Some(Timestamp(1_000_000))));
        assert_eq!(lift(Some(MAX_SAFE_INTEGER)), token(Some(Timestamp(MAX_SAFE_INTEGER))));
        assert_eq!(
            lift(Some(999_999)).unwrap_err(),
            "a token that could be accepted until 999999, which is before its knock at 1000000"
        );
        assert!(lift(Some(MAX_SAFE_INTEGER + 1)).is_err());
    }

    #[test]
    fn a_prefix_length_is_that_of_an_address() {
        let lift = |prefix_length| {
            lift_open_request(types::OpenRequest { prefix_length, ..request() }, Timestamp(0))
                .map(|request| request.prefix_length)
        };
        for length in [None, Some(0), Some(64), Some(128)] {
            assert_eq!(lift(length), Ok(length));
        }
        assert_eq!(lift(Some(129)).unwrap_err(), "a prefix length of 129; an address has at most 128 bits");
    }

    #[test]
    fn nonsense_is_refused_and_time_is_cut() {
        let now = Timestamp(1_000_000);
        let request = |seconds| types::OpenRequest { seconds, ..request() };
        let judge = |verdict| lift_verdict(verdict, now);
        let open = |requests, remember| types::Verdict::Open(types::OpenVerdict { requests, remember });
        assert!(judge(open(vec![], None)).is_err());
        assert!(judge(open((0..9).map(|_| request(None)).collect(), None)).is_err());
        assert!(judge(open(vec![request(Some(0))], None)).is_err());
        let progress = |memory, until| types::Progress { stage: 1, memory, until };
        let in_an_hour = Timestamp(1_000_000 + 3_600_000_000);
        assert!(judge(types::Verdict::Remember(progress(vec![0; 1025], 0))).is_err());
        assert!(judge(open(vec![request(None)], Some(progress(vec![0; 1025], 0)))).is_err());
        match judge(types::Verdict::Remember(progress(vec![1], u64::MAX))) {
            Ok(Verdict::Remember(progress)) => assert_eq!(progress.until, in_an_hour),
            other => panic!("{other:?}"),
        }
        match judge(open(vec![request(None)], Some(progress(vec![1], u64::MAX)))) {
            Ok(Verdict::Open { remember: Some(progress), .. }) => assert_eq!(progress.until, in_an_hour),
            other => panic!("{other:?}"),
        }
        let Ok(Verdict::Forget(reason)) = judge(types::Verdict::Forget("ä".repeat(150))) else {
            panic!("forget")
        };
        assert_eq!(reason.len(), 200);
    }
}
