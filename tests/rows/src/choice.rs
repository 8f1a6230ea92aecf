// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choice of the rows to measure: those of the goals, or all.

use crate::row::{Choice, Path, Row, Traffic, Version};

/// A thousand.
pub const K: u32 = 1000;
/// A million.
pub const M: u32 = 1_000_000;

/// From where the others differ in one or two things.
pub const BASE: Row = Row {
    path: Path::Dr,
    version: Version::V4,
    choice: Choice::MhAuto,
    traffic: Traffic::Established,
    flows: K,
    services: 1,
    reals: 100,
    redirect: false,
};

/// More reals than the tables are ever made for are not tried.
const MOST_REALS: u32 = 65_536;

/// Returns the rows of the goals, and those that optimisation needs: a few minutes.
#[must_use]
pub fn usual() -> Vec<Row> {
    let mut rows = Vec::new();
    for &version in Version::ALL {
        let base = BASE.version(version);
        for path in [Path::Dr, Path::Tun, Path::Nat, Path::NatReply] {
            for choice in [Choice::MhAuto, Choice::MhFull, Choice::Wrr] {
                let row = base.path(path).choice(choice);
                rows.extend([K, 100 * K, M].map(|flows| row.flows(flows)));
                if !path.is_reply() {
                    rows.push(row.traffic(Traffic::SynFlood));
                }
            }
        }
        rows.push(base.flows(1));
        rows.extend(
            [Traffic::NotIp, Traffic::NotOurs, Traffic::NoReal, Traffic::IcmpError].map(|t| base.traffic(t)),
        );
        rows.push(base.traffic(Traffic::NotOurs).flows(M));
    }
    for (services, reals) in [(1, 16), (100, 16), (4096, 16), (1, 3), (1, 1024)] {
        rows.extend([K, 100 * K].map(|flows| BASE.pool(services, reals).flows(flows)));
    }
    rows.extend([K, 100 * K].map(|flows| BASE.pool(4096, 16).flows(flows).traffic(Traffic::OneService)));
    rows.extend([Path::Dr, Path::Tun, Path::Nat].map(|path| BASE.path(path).redirected()));
    rows.push(BASE.flows(10 * M));
    rows.extend([10 * K, 10 * M].map(|flows| BASE.choice(Choice::Wrr).flows(flows)));
    rows.push(BASE.choice(Choice::Wlc));
    rows.extend([Choice::MhAuto, Choice::Wrr].map(|choice| BASE.choice(choice).traffic(Traffic::NewFlow)));
    rows.extend([Path::Fnat, Path::FnatReply].map(|path| BASE.path(path).choice(Choice::Wrr)));
    rows
}

/// Returns all combinations except with [`Row::redirect`], without impossible ones: more reals than the
/// maximum, and return paths without a request.
#[must_use]
pub fn full() -> Vec<Row> {
    let mut rows = Vec::new();
    for &path in Path::ALL {
        for &version in Version::ALL {
            for &choice in Choice::ALL {
                for (services, reals) in pools() {
                    let row = BASE.path(path).version(version).choice(choice).pool(services, reals);
                    rows.extend([1, K, 100 * K, M, 10 * M].map(|flows| row.flows(flows)));
                    if path.is_reply() {
                        continue;
                    }
                    let once = [Traffic::NewFlow, Traffic::SynFlood].map(|traffic| row.traffic(traffic));
                    let others =
                        [Traffic::NotOurs, Traffic::NotIp, Traffic::IcmpError].map(|t| row.traffic(t));
                    rows.extend(once.into_iter().chain(others));
                }
            }
        }
    }
    rows
}

fn pools() -> impl Iterator<Item = (u32, u32)> {
    let services = [1, 100, 4096];
    let all = services.into_iter().flat_map(|services| [3, 100, 1024].map(|reals| (services, reals)));
    all.filter(|(services, reals)| services * reals <= MOST_REALS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_row_is_measured_twice() {
        for rows in [usual(), full()] {
            let different: HashSet<Row> = rows.iter().copied().collect();
            assert_eq!(different.len(), rows.len());
        }
    }
}
