// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of users and hosts on this system.
//!
//! The C library of a static binary cannot load the modules of `/etc/nsswitch.conf`, or loads those of another
//! version. So users are read from the file that every system has, and everything else is asked from
//! `getent`, which uses all sources of the system.

use std::{
    fs, io,
    net::IpAddr,
    process::{Command, Stdio},
};

/// A user of this system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// Number of the user.
    pub uid: u32,
    /// Number of the user's first group.
    pub gid: u32,
}

/// Looks up a user by name or number. This may block, if the user is not in `/etc/passwd`.
///
/// # Errors
/// If the user is not there, and `getent` cannot be run.
pub fn account(name: &str) -> io::Result<Option<Account>> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let found = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (found == name || name.parse() == Ok(uid)).then(|| Account { name: found.to_owned(), uid, gid })
    };
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if let Some(found) = text.lines().find_map(parse) {
        return Ok(Some(found));
    }
    Ok(getent("passwd", name)?.lines().find_map(parse))
}

/// Looks up the addresses of a host, in the order in which they are to be tried. An address is its own name. This
/// may block for as long as the system's resolver does.
///
/// # Errors
/// If the host has no address, or `getent` cannot be run.
pub fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let mut found = Vec::new();
    for line in getent("ahosts", host)?.lines() {
        let address = line.split_whitespace().next().and_then(|word| word.parse().ok());
        found.extend(address.filter(|address| !found.contains(address)));
    }
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("the name {host} has no address")));
    }
    Ok(found)
}

/// Returns what `getent` prints about a name: nothing, if no source has it.
fn getent(database: &str, name: &str) -> io::Result<String> {
    let output = Command::new("getent").args([database, "--", name]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| {
        io::Error::new(error.kind(), format!("the name {name} cannot be looked up without `getent`: {error}"))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = Account { name: "root".to_owned(), uid: 0, gid: 0 };
        assert_eq!(account("root").unwrap(), Some(root.clone()));
        assert_eq!(account("0").unwrap(), Some(root));
        assert_eq!(account("no-such-user").unwrap(), None);
    }

    #[test]
    fn a_host_is_an_address_or_a_name_with_addresses() {
        assert_eq!(addresses("[2001:db8::1]").unwrap(), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("192.0.2.1").unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(addresses("localhost").unwrap().iter().all(IpAddr::is_loopback));
        let refused = addresses("no.such.host.invalid").unwrap_err().to_string();
        assert!(refused.contains("no.such.host.invalid has no address"), "{refused}");
    }
}
