//! Packets built by hand, for what sockets do not send: odd TCP flags, other people's addresses, VLAN tags,
//! options and fragments.
//!
//! They owe nothing to the decoder under test: every byte is written here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Hardware address of the lab's server.
pub const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Hardware address of the lab's client.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// TCP flag bits, RFC 9293 section 3.1.
pub const FIN: u8 = 0x01;
/// Synchronize.
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;
/// Acknowledge.
pub const ACK: u8 = 0x10;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// Lengths of the headers that are made here.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;

/// An Ethernet frame from the lab's client to its server with a UDP datagram.
///
/// # Panics
/// If one address is IPv4 and the other IPv6, or the payload is longer than a packet.
#[must_use]
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(8 + payload.len());
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    segment.extend(length(8 + payload.len()));
    segment.extend([0, 0]);
    segment.extend(payload);
    ethernet(source.ip(), destination.ip(), UDP, segment, 6)
}

/// An Ethernet frame from the lab's client to its server with a TCP segment that carries nothing but these flags.
///
/// # Panics
/// If one address is IPv4 and the other IPv6.
#[must_use]
pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20);
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    segment.extend(1000_u32.to_be_bytes()); // sequence number
    segment.extend(if flags & ACK == 0 { [0; 4] } else { 2000_u32.to_be_bytes() });
    segment.extend([5 << 4, flags]); // 20 bytes of header
    segment.extend(64240_u16.to_be_bytes()); // window
    segment.extend([0; 4]);
    ethernet(source.ip(), destination.ip(), TCP, segment, 16)
}

/// The same frame with an IEEE 802.1Q tag.
#[must_use]
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0x00], &vlan.to_be_bytes(), rest].concat()
}

/// The same IPv4 frame with an option in its IP header.
#[must_use]
pub fn with_options(frame: &[u8]) -> Vec<u8> {
    let (before, carried) = frame.split_at(ETHERNET + IPV4);
    let mut frame = [before, &[0x94, 4, 0, 0], carried].concat(); // Router Alert, RFC 2113
    frame[ETHERNET] += 1; // one word of header more
    let whole = length(frame.len() - ETHERNET);
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&whole);
    sum_up(&mut frame[ETHERNET..ETHERNET + IPV4 + 4]);
    frame
}

/// The same IPv4 frame as a fragment that begins at byte `offset` of a datagram, with or without more of them behind it.
///
/// # Panics
/// If `offset` is no multiple of eight, or more is to follow and the length of what it carries is none.
#[must_use]
pub fn fragment(frame: &[u8], offset: u16, more: bool) -> Vec<u8> {
    let carried = frame.len() - ETHERNET - IPV4;
    assert!(offset.is_multiple_of(8) && (!more || carried.is_multiple_of(8)), "{offset} and {carried}");
    let mut frame = frame.to_vec();
    let field = (offset / 8) | if more { 0x2000 } else { 0 };
    frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&field.to_be_bytes());
    sum_up(&mut frame[ETHERNET..ETHERNET + IPV4]);
    frame
}

/// The same IPv6 frame with destination options between the IP header and what it carries.
#[must_use]
pub fn with_extension_header(frame: &[u8]) -> Vec<u8> {
    let (before, carried) = frame.split_at(ETHERNET + IPV6);
    let next = before[ETHERNET + 6];
    let mut frame = [before, &[next, 0, 1, 4, 0, 0, 0, 0], carried].concat(); // padding only, RFC 8200 section 4.2
    frame[ETHERNET + 6] = 60;
    let payload = length(frame.len() - ETHERNET - IPV6);
    frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&payload);
    frame
}

/// The same IPv4 frame with another total length in its header, whatever the packet is.
#[must_use]
pub fn with_total_length(frame: &[u8], total: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
    sum_up(&mut frame[ETHERNET..ETHERNET + IPV4]);
    frame
}

/// The same IPv6 frame with another payload length in its header, whatever the packet is.
#[must_use]
pub fn with_payload_length(frame: &[u8], payload: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&payload.to_be_bytes());
    frame
}

/// The same frame of UDP over IPv4 with another length in the UDP header.
#[must_use]
pub fn with_udp_length(frame: &[u8], datagram: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[ETHERNET + IPV4 + 4..ETHERNET + IPV4 + 6].copy_from_slice(&datagram.to_be_bytes());
    frame
}

/// The same frame of TCP over IPv4 with a header of so many words, at most 15, as it says itself.
#[must_use]
pub fn with_tcp_header_length(frame: &[u8], words: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[ETHERNET + IPV4 + 12] = words << 4;
    frame
}

/// The beginning of the frame of a packet over IPv4, so many bytes of what IP carries.
#[must_use]
pub fn cut(frame: &[u8], carried: usize) -> Vec<u8> {
    frame[..ETHERNET + IPV4 + carried].to_vec()
}

/// The same frame to another hardware address.
#[must_use]
pub fn to_mac(frame: &[u8], mac: [u8; 6]) -> Vec<u8> {
    [&mac, &frame[mac.len()..]].concat()
}

/// Puts the right checksum into a frame of TCP or UDP whose sender left that to its network card. A frame of anything else stays as it
/// is.
pub(crate) fn complete_checksum(frame: &mut [u8]) {
    let (addresses, protocol_at, carried_at) = match frame.get(12..=ETHERNET) {
        Some([0x08, 0x00, first]) => (26..34, 23, ETHERNET + usize::from(first & 0xf) * 4),
        Some([0x86, 0xdd, _]) => (22..54, 20, ETHERNET + IPV6),
        _ => return,
    };
    let Some((before, carried)) = frame.split_at_mut_checked(carried_at) else { return };
    let at = match before[protocol_at] {
        UDP if carried.len() >= 8 => 6,
        TCP if carried.len() >= 20 => 16,
        _ => return,
    };
    carried[at..at + 2].fill(0);
    let sum = checksum(&[&before[addresses], &[0, before[protocol_at]], &length(carried.len()), carried]);
    carried[at..at + 2].copy_from_slice(&sum);
}

fn ethernet(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    mut segment: Vec<u8>,
    checksum_at: usize,
) -> Vec<u8> {
    let segment_length = length(segment.len());
    let (kind, header, addresses) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let addresses = [source.octets(), destination.octets()].concat();
            ([0x08, 0x00], ipv4(source, destination, protocol, segment.len()), addresses)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let addresses = [source.octets(), destination.octets()].concat();
            ([0x86, 0xdd], ipv6(source, destination, protocol, segment.len()), addresses)
        }
        _ => panic!("{source} and {destination} are of two kinds"),
    };
    // Both pseudo-headers (RFC 768, RFC 8200 section 8.1) sum up to the same parts.
    let sum = checksum(&[&addresses, &[0, protocol], &segment_length, &segment]);
    segment[checksum_at..checksum_at + 2].copy_from_slice(&sum);
    [&SERVER_MAC[..], &CLIENT_MAC, &kind, &header, &segment].concat()
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, carried: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(length(IPV4 + carried));
    header.extend([0, 0, 0x40, 0]); // no identification, do not fragment
    header.extend([64, protocol, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    sum_up(&mut header);
    header
}

/// Puts the right checksum into an IPv4 header.
fn sum_up(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum);
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, carried: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length(carried));
    header.extend([protocol, 64]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("shorter than the longest packet").to_be_bytes()
}

/// The Internet checksum, RFC 1071; all parts but the last are of even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |b| u32::from(*b))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    // A UDP checksum of zero would mean that there is none (RFC 768).
    if [high, low] == [0, 0] { [0xff, 0xff] } else { [high, low] }
}

/// The bytes that hexadecimal digits stand for, two for each; blanks are for the eye.
///
/// # Panics
/// If there is anything else, or half a byte.
#[must_use]
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let digit = |digit: char| {
        let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
        value.unwrap_or_else(|| panic!("`{digit}` is no hexadecimal digit: {text}"))
    };
    let (pairs, []) = digits.as_chunks() else { panic!("half a byte: {text}") };
    pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums to zero with its own checksum in place: the receiver's test of RFC 1071.
    fn is_intact(parts: &[&[u8]]) -> bool {
        checksum(parts) == [0xff, 0xff]
    }

    #[test]
    fn a_udp_frame_over_ipv4() {
        let frame = udp("10.77.0.2:4000".parse().unwrap(), "10.77.0.1:7000".parse().unwrap(), b"hey");
        assert_eq!(frame.len(), 14 + 20 + 8 + 3);
        assert_eq!(frame[12..14], [8, 0]);
        assert!(is_intact(&[&frame[14..34]]));
        assert_eq!(frame[34..42], [0x0f, 0xa0, 0x1b, 0x58, 0, 11, frame[40], frame[41]]);
        assert!(is_intact(&[&frame[26..34], &[0, 17, 0, 11], &frame[34..]]));
    }

    #[test]
    fn a_tcp_frame_over_ipv6() {
        let frame = tcp("[fd77::2]:4000".parse().unwrap(), "[fd77::1]:22".parse().unwrap(), SYN | ACK);
        assert_eq!(frame.len(), 14 + 40 + 20);
        assert_eq!(frame[54 + 12..54 + 14], [0x50, 0x12]);
        assert!(is_intact(&[&frame[22..54], &[0, 6, 0, 20], &frame[54..]]));
        assert_eq!(tagged(&frame, 7)[10..18], [0, 2, 0x81, 0, 0, 7, 0x86, 0xdd]);
    }

    #[test]
    fn a_checksum_that_was_left_out() {
        let (source, destination) = ("10.77.0.2:4000".parse().unwrap(), "10.77.0.1:7000".parse().unwrap());
        let (source6, destination6) = ("[fd77::2]:4000".parse().unwrap(), "[fd77::1]:22".parse().unwrap());
        let frames = [
            (udp(source, destination, b"hey"), 14 + 20 + 6),
            (with_options(&udp(source, destination, b"")), 14 + 24 + 6),
            (tcp(source6, destination6, SYN), 14 + 40 + 16),
        ];
        for (right, at) in frames {
            let mut frame = right.clone();
            frame[at..at + 2].copy_from_slice(&[1, 2]);
            complete_checksum(&mut frame);
            assert_eq!(frame, right);
        }
        let short = cut(&udp(source, destination, b""), 4);
        for other in [&short[..], &short[..20], &short[..13], &[]] {
            let mut frame = other.to_vec();
            complete_checksum(&mut frame);
            assert_eq!(frame, other);
        }
    }

    #[test]
    fn ip_options() {
        let plain = udp("10.77.0.2:4000".parse().unwrap(), "10.77.0.1:7000".parse().unwrap(), b"hey");
        let frame = with_options(&plain);
        assert_eq!(frame[14..18], [0x46, 0, 0, 24 + 11]);
        assert!(is_intact(&[&frame[14..38]]));
        assert_eq!((&frame[..14], &frame[38..]), (&plain[..14], &plain[34..]));
    }

    #[test]
    fn fragments() {
        let plain = udp("10.77.0.2:4000".parse().unwrap(), "10.77.0.1:7000".parse().unwrap(), b"");
        for (offset, more, field) in [(0, true, [0x20, 0]), (2048, true, [0x21, 0]), (8, false, [0, 1])] {
            let frame = fragment(&plain, offset, more);
            assert_eq!(frame[20..22], field);
            assert!(is_intact(&[&frame[14..34]]));
            assert_eq!(frame[34..], plain[34..]);
        }
    }

    #[test]
    fn an_extension_header() {
        let plain = tcp("[fd77::2]:4000".parse().unwrap(), "[fd77::1]:22".parse().unwrap(), SYN);
        let frame = with_extension_header(&plain);
        assert_eq!(frame[18..21], [0, 28, 60]);
        assert_eq!(frame[54..62], [6, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!((&frame[22..54], &frame[62..]), (&plain[22..54], &plain[54..]));
    }

    #[test]
    fn lengths_that_lie() {
        let plain = udp("10.77.0.2:4000".parse().unwrap(), "10.77.0.1:7000".parse().unwrap(), b"hey");
        let longer = with_total_length(&plain, 1000);
        assert_eq!(longer[16..18], [3, 232]);
        assert!(is_intact(&[&longer[14..34]]));
        assert_eq!(with_udp_length(&plain, 7)[38..40], [0, 7]);
        assert_eq!(cut(&plain, 4), plain[..38]);
        let plain = tcp("[fd77::2]:4000".parse().unwrap(), "[fd77::1]:22".parse().unwrap(), SYN);
        assert_eq!(with_payload_length(&plain, 3)[18..20], [0, 3]);
        let plain = tcp("10.77.0.2:4000".parse().unwrap(), "10.77.0.1:22".parse().unwrap(), SYN);
        assert_eq!((plain[46], with_tcp_header_length(&plain, 4)[46]), (0x50, 0x40));
    }

    #[test]
    fn another_hardware_address() {
        let plain = udp("10.77.0.2:4000".parse().unwrap(), "10.77.0.1:7000".parse().unwrap(), b"");
        let frame = to_mac(&plain, [9; 6]);
        assert_eq!(frame[..12], [9, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 2]);
        assert_eq!(frame[12..], plain[12..]);
    }
}
