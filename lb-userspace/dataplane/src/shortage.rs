// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hints for a lack of resources: the limit that was reached, and the value that is needed.
#![forbid(unsafe_code)]

use std::{error::Error, fs, io, path::Path};

use crate::descriptors;

/// Number of open files that a start needs, with reserves for probes and clients.
const FILES: usize = 1024;
/// Memory of the tables of the default sizes, in MB.
const TABLES: u64 = 352;

/// Returns a hint for an error that a lack of memory or of descriptors has caused.
#[must_use]
pub fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let mut source = Some(error);
    while let Some(error) = source {
        let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        match number {
            Some(libc::ENOMEM) => return Some(memory(cgroup_limit())),
            Some(libc::EMFILE) => return Some(files(descriptors::limit())),
            Some(libc::ENFILE) => {
                return Some("the host has no descriptors left: raise fs.file-max (sysctl)".to_owned());
            }
            _ => source = error.source(),
        }
    }
    None
}

fn files(limit: usize) -> String {
    format!(
        "this process may have {limit} open files, and xvs takes {FILES}: `ulimit -n {FILES}`, or LimitNOFILE={FILES} in its unit"
    )
}

/// Returns the hint for a lack of memory. `limit` is in bytes.
fn memory(limit: Option<u64>) -> String {
    let has = limit.map_or_else(
        || "the host has no memory left".to_owned(),
        |limit| format!("the memory cgroup of this process allows {} MB", limit / 1_000_000),
    );
    format!(
        "{has}, and tables of the default sizes take {TABLES} MB: raise MemoryMax= of its unit, or set max-flows and max-flows6 in [director] lower"
    )
}

/// Returns the lowest limit of the memory cgroups of this process (version 2), in bytes.
fn cgroup_limit() -> Option<u64> {
    let mine = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = mine.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new("/sys/fs/cgroup").join(path);
    let limits = folder.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    limits.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot create a map")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_is_short_is_named_with_its_number() {
        let of = |number| hint(&Outer(io::Error::from_raw_os_error(number)));
        assert!(of(libc::EMFILE).unwrap().contains(&format!("{} open files", descriptors::limit())));
        assert!(of(libc::ENOMEM).unwrap().contains("352 MB"));
        assert!(memory(Some(64_000_000)).contains("allows 64 MB"));
        assert!(of(libc::ENFILE).unwrap().contains("fs.file-max"));
        assert_eq!(of(libc::EPERM), None);
        assert_eq!(hint(&io::Error::other("nothing")), None);
    }
}
