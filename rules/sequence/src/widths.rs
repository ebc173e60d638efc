//! Widths: for how much around the source of a knock a door opens.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use postern_sdk::serde_json::Value;

use crate::family::ClientFamily;

const IPV4: RangeInclusive<u8> = 8..=31;
const IPV6: RangeInclusive<u8> = 16..=127;
const REMEDY: &str = r#"write one such as "ipv6/64", or one of each family such as ["ipv4/24", "ipv6/64"]; 8 to 31 for IPv4, 16 to 127 for IPv6"#;

/// The length of the prefix of each family; none: the source's address alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Widths {
    ipv4: Option<u8>,
    ipv6: Option<u8>,
}

impl Widths {
    /// Checks the setting `prefix`: one width, or one of each family.
    pub(crate) fn check(written: Option<&Value>, mistakes: &mut Vec<String>) -> Self {
        let mut widths = Self::default();
        let list = match written {
            None => return widths,
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        if list.is_empty() {
            mistakes.push(format!("prefix: has no width; {REMEDY}"));
        }
        for item in list {
            let Some((family, length)) = item.as_str().and_then(parse) else {
                mistakes.push(format!("prefix: {item} is not a width; {REMEDY}"));
                continue;
            };
            let place = if family == ClientFamily::Ipv4 { &mut widths.ipv4 } else { &mut widths.ipv6 };
            if place.replace(length).is_some() {
                mistakes.push(format!("prefix: {item} is the second width of its family; keep one of them"));
            }
        }
        widths
    }

    /// The length of the prefix around a source. None, which means the source alone, if its family has no width, and if its first bits say
    /// nothing of its neighbours: those of a link-local address are the same on every link, and an IPv4-mapped one is no IPv6 address.
    pub(crate) fn around(self, source: IpAddr) -> Option<u8> {
        match source {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(address) if address.is_unicast_link_local() || address.to_ipv4_mapped().is_some() => {
                None
            }
            IpAddr::V6(_) => self.ipv6,
        }
    }
}

fn parse(text: &str) -> Option<(ClientFamily, u8)> {
    let (family, digits) = text.split_once('/')?;
    let (family, lengths) = match family {
        "ipv4" => (ClientFamily::Ipv4, IPV4),
        "ipv6" => (ClientFamily::Ipv6, IPV6),
        _ => return None,
    };
    let is_plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    let length = digits.parse().ok().filter(|length| is_plain && lengths.contains(length))?;
    Some((family, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> (Widths, Vec<String>) {
        let mut mistakes = Vec::new();
        let written = postern_sdk::serde_json::from_str(json).unwrap();
        (Widths::check(Some(&written), &mut mistakes), mistakes)
    }

    #[test]
    fn one_width_or_one_of_each_family() {
        let right = |json: &str| {
            let (widths, mistakes) = check(json);
            assert_eq!(mistakes, [""; 0], "{json}");
            widths
        };
        assert_eq!(right(r#""ipv6/64""#), Widths { ipv4: None, ipv6: Some(64) });
        assert_eq!(right(r#"["ipv6/127", "ipv4/8"]"#), Widths { ipv4: Some(8), ipv6: Some(127) });
        assert_eq!(Widths::check(None, &mut Vec::new()), Widths::default());
    }

    #[test]
    fn each_mistake_is_said_with_its_remedy() {
        for wrong in [
            r#""ipv4/7""#,
            r#""ipv4/32""#,
            r#""ipv6/15""#,
            r#""ipv6/128""#,
            r#""ipv6/064""#,
            r#""ipv6/+64""#,
            r#""ipv6""#,
            r#""64""#,
            r#""2001:db8::/64""#,
            "64",
        ] {
            assert_eq!(check(wrong).1, [format!("prefix: {wrong} is not a width; {REMEDY}")]);
        }
        assert_eq!(check("[]").1, [format!("prefix: has no width; {REMEDY}")]);
        assert_eq!(
            check(r#"["ipv6/64", "ipv6/56"]"#).1,
            [r#"prefix: "ipv6/56" is the second width of its family; keep one of them"#]
        );
    }
}
