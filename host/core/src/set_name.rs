//! SetName: where a set of the user's is, as nft writes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes of a table's or a set's name that a kernel takes (`NFT_NAME_MAXLEN` less the final zero).
const MAX_NAME: usize = 255;

/// A set by family, table and name; written and read as `inet filter web_allowed`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SetName {
    /// The family of its table.
    pub family: Family,
    /// The name of its table.
    pub table: String,
    /// Its own name.
    pub name: String,
}

/// A family of tables that can let in or keep out by IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

/// Why a text is not the name of a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetNameError {
    /// Not three words.
    #[error("`{0}` does not name a set; write family, table and set, such as `inet filter web_allowed`")]
    Words(String),
    /// A family whose rules Postern's sets are not for.
    #[error("sets of the family {0} cannot be used; declare the set in a table of family inet, ip or ip6")]
    UnfitFamily(String),
    /// Not a family.
    #[error("`{0}` is not a family of tables; use inet, ip or ip6")]
    UnknownFamily(String),
    /// A name that nft would not take.
    #[error(
        "`{0}` is not a name: 1 to 255 letters, digits and any of `_ . / \\ -`, beginning with a letter or `_`"
    )]
    Name(String),
}

impl From<SetName> for String {
    fn from(value: SetName) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for SetName {
    type Error = SetNameError;

    fn try_from(text: String) -> Result<Self, SetNameError> {
        text.parse()
    }
}

impl FromStr for SetName {
    type Err = SetNameError;

    fn from_str(text: &str) -> Result<Self, SetNameError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [family, table, name] = words[..] else { return Err(SetNameError::Words(text.to_owned())) };
        let family = match family {
            "ip" => Family::Ip,
            "ip6" => Family::Ip6,
            "inet" => Family::Inet,
            "arp" | "bridge" | "netdev" => return Err(SetNameError::UnfitFamily(family.to_owned())),
            _ => return Err(SetNameError::UnknownFamily(family.to_owned())),
        };
        for word in [table, name] {
            if !is_name(word) {
                return Err(SetNameError::Name(word.to_owned()));
            }
        }
        Ok(Self { family, table: table.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        })
    }
}

fn is_name(word: &str) -> bool {
    let starts_well = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let goes_on_well = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./\\-".contains(&byte));
    starts_well && goes_on_well && word.len() <= MAX_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["inet filter web_allowed", "ip mangle a", "ip6 _t b.c/d"] {
            assert_eq!(text.parse::<SetName>().unwrap().to_string(), text);
        }
        assert_eq!("  inet\tfilter  a ".parse::<SetName>().unwrap().to_string(), "inet filter a");
    }

    #[test]
    fn refuses_the_rest() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<SetName>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("", "does not name a set");
        check("filter web", "does not name a set");
        check("inet filter web allowed", "does not name a set");
        check("netdev filter web", "netdev cannot be used");
        check("bridge filter web", "bridge cannot be used");
        check("arp filter web", "arp cannot be used");
        check("ipv4 filter web", "`ipv4` is not a family");
        check("INET filter web", "`INET` is not a family");
        check("inet filter 9web", "`9web` is not a name");
        check("inet filter {", "`{` is not a name");
        check("inet fil\0ter a", "is not a name");
        check(&format!("inet filter {}", "a".repeat(256)), "is not a name");
    }
}
