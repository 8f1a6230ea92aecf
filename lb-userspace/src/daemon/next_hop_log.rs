// SPDX-License-Identifier: MIT OR Apache-2.0
//! Log of next-hop changes: each change once.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::IpAddr};

use lb_control::neighbours::{Resolution, Unresolved};

/// Maximum number of log lines per refresh: with tens of thousands of reals, the first ones suffice.
const LINES: usize = 100;

/// Last logged reason for each real without a next hop.
#[derive(Debug, Default)]
pub(super) struct NextHopLog(BTreeMap<IpAddr, Unresolved>);

/// A change to log.
#[derive(Debug, Eq, PartialEq)]
enum Entry {
    /// The real has a next hop, or another one than before.
    Found { rip: IpAddr, ifindex: u32 },
    /// The real has no next hop, for another reason than before.
    Lost { rip: IpAddr, why: String },
}

impl NextHopLog {
    /// Logs the changes from `before` to `now`.
    pub(super) fn log(&mut self, before: &BTreeMap<IpAddr, Resolution>, now: &BTreeMap<IpAddr, Resolution>) {
        let entries = self.entries(before, now);
        for one in entries.iter().take(LINES) {
            match one {
                Entry::Found { rip, ifindex } => tracing::info!(%rip, ifindex, "next hop found"),
                Entry::Lost { rip, why } => tracing::warn!(%rip, "{why}"),
            }
        }
        if let more @ 1.. = entries.len().saturating_sub(LINES) {
            tracing::warn!("and {more} more next hops have changed");
        }
    }

    /// Returns the changes to log. The kernel keeps asking for a neighbour that does not answer: a pending
    /// question is not logged, and a missing answer is logged once.
    fn entries(
        &mut self,
        before: &BTreeMap<IpAddr, Resolution>,
        now: &BTreeMap<IpAddr, Resolution>,
    ) -> Vec<Entry> {
        self.0.retain(|rip, _| now.contains_key(rip));
        let mut entries = Vec::new();
        for (rip, resolution) in now {
            match resolution {
                Ok(hop) => {
                    let was_logged = self.0.remove(rip).is_some();
                    if was_logged || before.get(rip) != Some(resolution) {
                        entries.push(Entry::Found { rip: *rip, ifindex: hop.ifindex });
                    }
                }
                Err(Unresolved::Asking { .. }) => {}
                Err(why) if self.0.get(rip) == Some(why) => {}
                Err(why) => {
                    self.0.insert(*rip, why.clone());
                    entries.push(Entry::Lost { rip: *rip, why: why.to_string() });
                }
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_control::neighbours::NextHop;

    #[test]
    fn a_silent_real_is_logged_once_and_again_after_it_answered() {
        let rip: IpAddr = "10.0.0.11".parse().unwrap();
        let interface = "eth0".to_owned();
        let asking = Err(Unresolved::Asking { neighbour: rip, interface: interface.clone() });
        let silent = Err(Unresolved::NoAnswer { neighbour: rip, interface });
        let hop = |mac| NextHop {
            ifindex: 2,
            source_mac: [0; 6],
            next_hop_mac: [mac; 6],
            source_ip: rip,
            mtu: 1500,
            tags: 0,
            trunk: false,
            on_link: true,
        };
        let (mut log, mut before) = (NextHopLog::default(), BTreeMap::new());
        for (now, expected) in [
            (asking.clone(), ""),
            (silent.clone(), "lost"),
            (asking.clone(), ""),
            (silent.clone(), ""),
            (asking.clone(), ""),
            (silent.clone(), ""),
            (Ok(hop(1)), "found"),
            (Ok(hop(1)), ""),
            (Ok(hop(2)), "found"),
            (asking, ""),
            (silent, "lost"),
            (Err(Unresolved::NoRoute { rip }), "lost"),
        ] {
            let now: BTreeMap<IpAddr, Resolution> = [(rip, now)].into();
            let entries = log.entries(&before, &now);
            let found = match entries.as_slice() {
                [] => "",
                [Entry::Found { .. }] => "found",
                [Entry::Lost { .. }] => "lost",
                more => panic!("{more:?}"),
            };
            assert_eq!(found, expected, "{now:?}");
            before = now;
        }
        log.entries(&before, &BTreeMap::new());
        assert!(log.0.is_empty(), "a removed real is forgotten");
    }
}
