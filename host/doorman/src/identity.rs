//! Identity: which configuration the table belongs to. Only that configuration's daemon releases its ports.

use netlink_packet_netfilter::nftables::{SetAttribute, SetFlags};
use postern_core::ConfigIdentity;
use postern_text::piece;

use crate::attributes::text;
use crate::batch::Batch;
use crate::table::add_set;

/// The prefix of the name of the set that carries the identity; no other name in the table has it.
pub(crate) const PREFIX: &str = "config.";

/// The type `mark` as nft numbers it. The set stays empty, but must have a key type.
const MARK: u32 = 19;
/// The kind of a comment among what nft keeps with a set (`NFTNL_UDATA_SET_COMMENT` of libnftnl/udata.h), and how long nft lets it be,
/// the final zero included.
const COMMENT: u8 = 7;
const MAX_COMMENT: usize = 128;

/// The identity that was read: the name of a set and what nft keeps with it.
pub(crate) fn read(set: &str, user_data: &[u8]) -> Option<ConfigIdentity> {
    let digest = set.strip_prefix(PREFIX)?;
    Some(ConfigIdentity::new(digest, &comment(user_data).unwrap_or_default()))
}

/// The command by which the operator releases the ports of a configuration.
pub(crate) fn remedy(identity: &ConfigIdentity) -> String {
    match identity.path() {
        // Not written by us, or the comment was removed: the file is not known.
        "" => "`nft delete table inet postern`".to_owned(),
        path => format!("`posternd reset --config {path}`"),
    }
}

/// Writes it into the table. Of a path that is too long for a comment only the end is kept.
pub(crate) fn write(identity: &ConfigIdentity, batch: &mut Batch, id: u32) {
    let path = identity.path();
    let mut start = path.len().saturating_sub(MAX_COMMENT - 1);
    while !path.is_char_boundary(start) {
        start += 1;
    }
    let text = &path[start..];
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let user_data = [&[COMMENT, length][..], text.as_bytes(), &[0]].concat();
    let attributes = vec![
        SetAttribute::Flags(SetFlags::empty()),
        SetAttribute::KeyType(MARK),
        SetAttribute::KeyLen(4),
        SetAttribute::UserData(user_data),
    ];
    add_set(batch, &format!("{PREFIX}{}", identity.digest()), id, attributes);
}

/// The comment among what nft keeps with a set: kinds, lengths and values in a row.
fn comment(mut user_data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = user_data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            // Another program may have written it, so it may hold any characters.
            return Some(piece(text(value)).to_string());
        }
        user_data = &rest[value.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_among_other_things() {
        assert_eq!(comment(b"\0\x04\x01\0\0\0\x07\x05/etc\0"), Some("/etc".to_owned()));
        assert_eq!(comment(b"\x07\x03a\nb"), Some("a\\nb".to_owned()));
        for nonsense in [&b""[..], b"\x07", b"\x07\x09abc", b"\0\x01x"] {
            assert_eq!(comment(nonsense), None);
        }
    }

    #[test]
    fn it_is_read_from_the_sets_name() {
        let identity = read("config.12ab", b"\x07\x03/a\0").unwrap();
        assert!(identity.is(&ConfigIdentity::new("12ab", "/elsewhere")));
        assert_eq!(identity.to_string(), "/a");
        assert_eq!(read("config.12ab", b"").unwrap().to_string(), "12ab");
        assert_eq!(read("door.12ab", b""), None);
    }
}
