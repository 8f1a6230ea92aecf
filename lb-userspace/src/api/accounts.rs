// SPDX-License-Identifier: MIT OR Apache-2.0
//! Users and groups of this host, from its files: a static binary has no name service.
#![forbid(unsafe_code)]

use std::fs;

/// Returns the name of a user.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    name_of(&fs::read_to_string("/etc/passwd").ok()?, uid)
}

/// Returns the id of a group.
#[must_use]
pub fn group_id(name: &str) -> Option<u32> {
    id_of(&fs::read_to_string("/etc/group").ok()?, name)
}

/// Returns the name that belongs to an id in the third field of a line.
fn name_of(file: &str, id: u32) -> Option<String> {
    let mut entries = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|entry| entry.get(2).and_then(|field| field.parse().ok()) == Some(id))?;
    entry.first().filter(|name| !name.is_empty()).map(|name| (*name).to_owned())
}

/// Returns the id that belongs to a name.
fn id_of(file: &str, name: &str) -> Option<u32> {
    let mut entries = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    entries.find(|entry| entry.first() == Some(&name))?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_found_in_the_files() {
        let file = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\nxvs:x:990:\n";
        assert_eq!(name_of(file, 0).as_deref(), Some("root"));
        assert_eq!(name_of(file, 5), None);
        assert_eq!(id_of(file, "xvs"), Some(990));
        assert_eq!((id_of(file, "broken"), id_of(file, "xv")), (None, None));
        assert_eq!(user_name(0).as_deref(), Some("root"));
    }
}
