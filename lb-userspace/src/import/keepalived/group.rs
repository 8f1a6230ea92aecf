// SPDX-License-Identifier: MIT OR Apache-2.0
//! `virtual_server_group`: addresses, address ranges, and firewall marks.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    super::{Block, Imported, Kind, Left, Place},
    lines::Said,
    number::{socket, unsigned},
};

/// Maximum number of addresses of one entry.
const MOST: u128 = 65_536;

/// An entry of a group.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Addresses with a port.
    Addresses(Vec<IpAddr>, u16),
    /// A firewall mark; `Some(true)` if it is for IPv6.
    Mark(u32, Option<bool>),
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Block of the group.
    pub block: Block,
    /// Name.
    pub name: String,
    /// Entries with their lines: addresses first, then marks, in the order in which keepalived processes
    /// them.
    pub entries: Vec<(Said, Entry)>,
}

impl Group {
    /// Creates a group without entries.
    #[must_use]
    pub fn new(block: &Block, name: &str) -> Self {
        Self { block: block.clone(), name: name.to_owned(), entries: Vec::new() }
    }

    /// Parses an entry.
    ///
    /// # Errors
    /// If the line lacks a value, which prevents the start of keepalived. The inner error is the reason why
    /// the entry is invalid.
    pub fn entry(&mut self, place: &Place, text: &str, words: &[&str]) -> Result<Result<(), String>, Left> {
        let entry = match words {
            ["fwmark"] => {
                let why = "keepalived does not start with this line: a value is missing";
                return Err(Left::new(place, text, why, Kind::Service, Some(&self.block)));
            }
            ["fwmark", mark, rest @ ..] => self::mark(mark, rest.first().copied()),
            [address, rest @ ..] => {
                let port = socket(address, rest.first().copied()).map(|socket| socket.port());
                match port {
                    Some(port) => addresses(address).map(|addresses| Entry::Addresses(addresses, port)),
                    None => Err(format!("{} is no address with a port", words.join(" "))),
                }
            }
            [] => return Ok(Ok(())),
        };
        Ok(entry.map(|entry| {
            let marks = |(_, entry): &(Said, Entry)| matches!(entry, Entry::Mark(..));
            let at = match &entry {
                Entry::Mark(..) => self.entries.len(),
                Entry::Addresses(..) => self.entries.iter().position(marks).unwrap_or(self.entries.len()),
            };
            self.entries.insert(at, ((place.clone(), text.to_owned()), entry));
        }))
    }

    /// Returns whether the group has addresses or marks of an IP version.
    #[must_use]
    pub fn has(&self, ipv6: bool) -> bool {
        self.entries.iter().any(|(_, entry)| match entry {
            Entry::Addresses(addresses, _) => addresses.iter().any(|address| address.is_ipv6() == ipv6),
            Entry::Mark(_, version) => *version == Some(ipv6),
        })
    }

    /// Returns the reason why keepalived refuses the group, if it does.
    #[must_use]
    pub fn wrong(&self) -> Option<&'static str> {
        let any_mark = self.entries.iter().any(|(_, entry)| matches!(entry, Entry::Mark(_, None)));
        if self.entries.is_empty() {
            return Some("the group has no entries");
        }
        let mixed = self.has(false) && self.has(true) && any_mark;
        mixed.then_some("keepalived takes no group of both versions of IP and a mark without one")
    }

    /// Lists the whole group as not carried over.
    pub fn leave(&self, imported: &mut Imported, why: &str) {
        imported.leave(&self.block.place, &self.block.text, why, Kind::Service, Some(&self.block));
        for ((place, text), _) in &self.entries {
            imported.leave(place, text, why, Kind::Service, Some(&self.block));
        }
    }
}

fn mark(mark: &str, version: Option<&str>) -> Result<Entry, String> {
    let number = unsigned(mark, 0, u32::MAX, true).filter(|mark| *mark > 0);
    let number = number.ok_or_else(|| format!("{mark} is no firewall mark"))?;
    let version = match version {
        None => None,
        Some("inet") => Some(false),
        Some("inet6") => Some(true),
        Some(other) => return Err(format!("{other} is none of inet, inet6")),
    };
    Ok(Entry::Mark(number, version))
}

/// Parses one address, `FIRST-LAST`, where the last one may be its last number only, or `NETWORK/PREFIX`.
///
/// # Errors
/// If the text is invalid; the message has the reason.
pub fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let wrong = || format!("{text} is no address or range");
    let end = text.find(['-', '/']).unwrap_or(text.len());
    let first: IpAddr = text[..end].parse().map_err(|_| wrong())?;
    // If only the last number of the end is given, the range must have at least two addresses.
    let mut nearest = number(first);
    let last = if let Some((_, prefix)) = text.split_once('/') {
        let bits: u32 = prefix.parse().map_err(|_| wrong())?;
        let all = if first.is_ipv4() { 32 } else { 128 };
        if !(1..=all).contains(&bits) {
            return Err(wrong());
        }
        let host = u128::MAX.checked_shr(128 - all + bits).unwrap_or(0);
        if number(first) & host != 0 {
            return Err(format!("{text} is no network: bits behind the prefix are set"));
        }
        number(first) | host
    } else if let Some((_, last)) = text.split_once('-') {
        match (first, last.parse::<IpAddr>()) {
            (_, Ok(last)) if last.is_ipv4() == first.is_ipv4() => number(last),
            (IpAddr::V4(first), _) => {
                nearest += 1;
                let last = unsigned(last, 0, 255, true).ok_or_else(wrong)?;
                u128::from(first.to_bits() & !0xff | last)
            }
            (IpAddr::V6(first), _) => {
                nearest += 1;
                let end = last.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(last.len());
                let last = u16::from_str_radix(&last[..end], 16).map_err(|_| wrong())?;
                first.to_bits() & !0xffff | u128::from(last)
            }
        }
    } else {
        return Ok(vec![first]);
    };
    if last < nearest {
        return Err(format!("{text} ends before it begins"));
    }
    if last - number(first) >= MOST {
        return Err(format!("{text} has more than {MOST} addresses"));
    }
    let address = |number: u128| match first {
        IpAddr::V4(_) => Ipv4Addr::from_bits(number as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    };
    Ok((number(first)..=last).map(address).collect())
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1", Ok((1, "10.0.0.1")))]
    #[case("10.0.0.8/29", Ok((8, "10.0.0.15")))]
    #[case("10.0.0.8/32", Ok((1, "10.0.0.8")))]
    #[case("10.0.0.0/23", Ok((512, "10.0.1.255")))]
    #[case("2001:db8::10/126", Ok((4, "2001:db8::13")))]
    #[case("10.0.0.1-9", Ok((9, "10.0.0.9")))]
    #[case("10.0.0.254-10.0.1.2", Ok((5, "10.0.1.2")))]
    #[case("2001:db8::fe-100", Ok((3, "2001:db8::100")))]
    #[case("2001:db8::1-2001:db8::5", Ok((5, "2001:db8::5")))]
    #[case("10.0.0.9/29", Err("behind the prefix"))]
    #[case("10.0.0.9-9", Err("before it begins"))]
    #[case("10.0.0.9-10.0.0.9", Ok((1, "10.0.0.9")))]
    #[case("10.0.0.9-3", Err("before it begins"))]
    #[case("10.0.0.0/8", Err("more than"))]
    #[case("10.0.0.0/33", Err("no address or range"))]
    #[case("10.0.0.1-x:", Err("before it begins"))]
    #[case("10.0.0.1-300", Err("no address or range"))]
    #[case("www", Err("no address or range"))]
    fn ranges(#[case] text: &str, #[case] expected: Result<(usize, &str), &str>) {
        match (addresses(text), expected) {
            (Ok(found), Ok((count, last))) => {
                assert_eq!((found.len(), found.last().unwrap().to_string().as_str()), (count, last));
            }
            (Err(why), Err(words)) => assert!(why.contains(words), "{why}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }
}
