//! Reads one rule as nf_tables lists it: which port it compares, and where it leads. A rule that it does not understand counts as no redirection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use postern_core::{Family, GuardProtocol};

use super::Redirection;
use crate::attributes::{all, find, find_u32, text};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_L4PROTO: u32 = 16;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_LTE: u32 = 3;
const NFT_CMP_GTE: u32 = 5;
const NFTA_RANGE_SREG: u16 = 1;
const NFTA_RANGE_OP: u16 = 2;
const NFTA_RANGE_FROM: u16 = 3;
const NFTA_RANGE_TO: u16 = 4;
const NFT_RANGE_EQ: u32 = 0;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFT_NAT_DNAT: u32 = 1;
const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;

// include/uapi/linux/netfilter/nf_tables_compat.h
const NFTA_XT_NAME: u16 = 1;
const NFTA_XT_INFO: u16 = 3;

/// Where `struct xt_tcp` and `struct xt_udp` have the destination ports, in the order of this machine.
const XT_PORTS: usize = 4;
/// The length from which on a target's data is a `struct nf_nat_range`, with room for IPv6; before, one for IPv4 alone.
const NAT_RANGE: usize = 40;
/// NF_NAT_RANGE_MAP_IPS and NF_NAT_RANGE_PROTO_SPECIFIED.
const MAPS_ADDRESS: u32 = 1;
const MAPS_PORT: u32 = 2;

/// What a register holds.
#[derive(Clone)]
enum RegisterValue {
    Protocol,
    Port,
    Bytes(Vec<u8>),
    Other,
}

/// What is known of a rule after the expressions read so far.
#[derive(Default)]
struct RuleReader {
    registers: HashMap<u32, RegisterValue>,
    protocol: Option<GuardProtocol>,
    from: Option<u16>,
    to: Option<u16>,
    target: Option<RedirectTarget>,
}

struct RedirectTarget {
    port: u16,
    address: Option<IpAddr>,
}

/// Where a rule leads, if it is to another port.
pub(super) fn read(family: Family, attributes: &[u8]) -> Option<Redirection> {
    let mut reading = RuleReader::default();
    for (_, expression) in all(find(attributes, NFTA_RULE_EXPRESSIONS)?) {
        let name = text(find(expression, NFTA_EXPR_NAME)?);
        let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
        // An expression that is not understood is skipped: it may narrow what the rule applies to, and a false warning does no harm.
        let _ = reading.follow(&name, data);
    }
    let RedirectTarget { port, address } = reading.target?;
    let (from, to) = (reading.from?, reading.to?);
    let leads_elsewhere = from != port || to != port;
    leads_elsewhere.then_some(())?;
    let (table, chain) = (find(attributes, NFTA_RULE_TABLE)?, find(attributes, NFTA_RULE_CHAIN)?);
    Some(Redirection {
        protocol: reading.protocol?,
        dialled: RangeInclusive::new(from, to),
        port,
        address,
        chain: format!("{family} {} {}", text(table), text(chain)),
    })
}

impl RuleReader {
    fn follow(&mut self, name: &str, data: &[u8]) -> Option<()> {
        match name {
            "meta" => {
                let is_protocol = find_u32(data, NFTA_META_KEY)? == NFT_META_L4PROTO;
                self.load(find_u32(data, NFTA_META_DREG)?, is_protocol.then_some(RegisterValue::Protocol));
            }
            "payload" => {
                let place = [NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN]
                    .map(|kind| find_u32(data, kind));
                let value = match place.map(Option::unwrap_or_default) {
                    [NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2] => Some(RegisterValue::Port),
                    // The protocol of IPv4, the next header of IPv6.
                    [NFT_PAYLOAD_NETWORK_HEADER, 9 | 6, 1] => Some(RegisterValue::Protocol),
                    _ => None,
                };
                self.load(find_u32(data, NFTA_PAYLOAD_DREG)?, value);
            }
            "immediate" => {
                let bytes = find(find(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VALUE)?.to_vec();
                self.load(find_u32(data, NFTA_IMMEDIATE_DREG)?, Some(RegisterValue::Bytes(bytes)));
            }
            "cmp" => self.compare(data)?,
            "range" => {
                let is_port = matches!(self.held(find_u32(data, NFTA_RANGE_SREG)?), RegisterValue::Port);
                if is_port && find_u32(data, NFTA_RANGE_OP)? == NFT_RANGE_EQ {
                    let port = |kind| port(find(find(data, kind)?, NFTA_DATA_VALUE)?);
                    (self.from, self.to) = (port(NFTA_RANGE_FROM), port(NFTA_RANGE_TO));
                }
            }
            "nat" if find_u32(data, NFTA_NAT_TYPE)? == NFT_NAT_DNAT => {
                let address =
                    find_u32(data, NFTA_NAT_REG_ADDR_MIN).and_then(|register| self.address(register));
                let port = self.port(find_u32(data, NFTA_NAT_REG_PROTO_MIN)?)?;
                self.target = Some(RedirectTarget { port, address });
            }
            "redir" => {
                let port = self.port(find_u32(data, NFTA_REDIR_REG_PROTO_MIN)?)?;
                self.target = Some(RedirectTarget { port, address: None });
            }
            "match" => {
                self.protocol = Some(protocol_named(&text(find(data, NFTA_XT_NAME)?))?);
                let ports = find(data, NFTA_XT_INFO)?.get(XT_PORTS..XT_PORTS + 4)?;
                let half = |at: usize| Some(u16::from_ne_bytes([*ports.get(at)?, *ports.get(at + 1)?]));
                (self.from, self.to) = (half(0), half(2));
            }
            "target" => {
                let name = text(find(data, NFTA_XT_NAME)?);
                if matches!(name.as_str(), "DNAT" | "REDIRECT") {
                    self.target = translation(find(data, NFTA_XT_INFO)?);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn compare(&mut self, data: &[u8]) -> Option<()> {
        let value = find(find(data, NFTA_CMP_DATA)?, NFTA_DATA_VALUE)?;
        let operation = find_u32(data, NFTA_CMP_OP)?;
        match self.held(find_u32(data, NFTA_CMP_SREG)?) {
            RegisterValue::Protocol if operation == NFT_CMP_EQ => {
                self.protocol = GuardProtocol::from_number(*value.first()?);
            }
            RegisterValue::Port => match operation {
                NFT_CMP_EQ => (self.from, self.to) = (port(value), port(value)),
                NFT_CMP_GTE => self.from = port(value),
                NFT_CMP_LTE => self.to = port(value),
                _ => {}
            },
            RegisterValue::Protocol | RegisterValue::Bytes(_) | RegisterValue::Other => {}
        }
        Some(())
    }

    fn load(&mut self, register: u32, value: Option<RegisterValue>) {
        self.registers.insert(place(register), value.unwrap_or(RegisterValue::Other));
    }

    fn held(&self, register: u32) -> RegisterValue {
        self.registers.get(&place(register)).cloned().unwrap_or(RegisterValue::Other)
    }

    fn port(&self, register: u32) -> Option<u16> {
        match self.held(register) {
            RegisterValue::Bytes(bytes) => port(&bytes),
            RegisterValue::Protocol | RegisterValue::Port | RegisterValue::Other => None,
        }
    }

    fn address(&self, register: u32) -> Option<IpAddr> {
        match self.held(register) {
            RegisterValue::Bytes(bytes) => address(&bytes),
            RegisterValue::Protocol | RegisterValue::Port | RegisterValue::Other => None,
        }
    }
}

/// The four registers of 16 bytes (1 to 4) are the same memory as the sixteen of 4 bytes (8 to 23).
fn place(register: u32) -> u32 {
    match register {
        1..=4 => 8 + 4 * (register - 1),
        _ => register,
    }
}

/// What a target of iptables does: `struct nf_nat_range`, or the older one after a count.
fn translation(info: &[u8]) -> Option<RedirectTarget> {
    let (flags, address_at, port_at) = if info.len() >= NAT_RANGE { (0, 4..20, 36) } else { (4, 8..12, 16) };
    let flags = u32::from_ne_bytes(*info.get(flags..)?.first_chunk()?);
    if flags & MAPS_PORT == 0 {
        return None;
    }
    let port = port(info.get(port_at..)?)?;
    let bytes = info.get(address_at)?;
    // An IPv4 address is in the first 4 bytes of the field for an IPv6 address, and the other bytes are zero.
    let bytes =
        if bytes.len() == 16 && bytes[4..].iter().all(|byte| *byte == 0) { &bytes[..4] } else { bytes };
    let address = if flags & MAPS_ADDRESS == 0 { None } else { address(bytes) };
    Some(RedirectTarget { port, address })
}

fn protocol_named(name: &str) -> Option<GuardProtocol> {
    match name {
        "tcp" => Some(GuardProtocol::Tcp),
        "udp" => Some(GuardProtocol::Udp),
        _ => None,
    }
}

fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.first_chunk()?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}
