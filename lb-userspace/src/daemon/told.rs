// SPDX-License-Identifier: MIT OR Apache-2.0
//! Log of next-hop changes: each change once.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::IpAddr};

use lb_control::neighbours::{Resolution, Unresolved};

/// Maximum number of log lines per refresh: with tens of thousands of reals, the first ones suffice.
const LINES: usize = 100;

/// Last logged reason for each real without a next hop.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<IpAddr, Unresolved>);

/// A change to log.
#[derive(Debug, Eq, PartialEq)]
enum News {
    /// The real has a next hop, or another one than before.
    Found { rip: IpAddr, ifindex: u32 },
    /// The real has no next hop, for another reason than before.
    Lost { rip: IpAddr, why: String },
}

impl Told {
    /// Logs the changes from `before` to `now`.
    pub(super) fn log(&mut self, before: &BTreeMap<IpAddr, Resolution>, now: &BTreeMap<IpAddr, Resolution>) {
        let news = self.news(before, now);
        for one in news.iter().take(LINES) {
            match one {
                News::Found { rip, ifindex } => tracing::info!(%rip, ifindex, "next hop found"),
                News::Lost { rip, why } => tracing::warn!(%rip, "{why}"),
            }
        }
        if let more @ 1.. = news.len().saturating_sub(LINES) {
            tracing::warn!("and {more} more next hops have changed");
        }
    }

    /// Returns the changes to log. The kernel keeps asking for a neighbour that does not answer: a pending
    /// question is not logged, and a missing answer is logged once.
    fn news(
        &mut self,
        before: &BTreeMap<IpAddr, Resolution>,
        now: &BTreeMap<IpAddr, Resolution>,
    ) -> Vec<News> {
        self.0.retain(|rip, _| now.contains_key(rip));
        let mut news = Vec::new();
        for (rip, resolution) in now {
            match resolution {
                Ok(hop) => {
                    let was_told = self.0.remove(rip).is_some();
                    if was_told || before.get(rip) != Some(resolution) {
                        news.push(News::Found { rip: *rip, ifindex: hop.ifindex });
                    }
                }
                Err(Unresolved::Asking { .. }) => {}
                Err(why) if self.0.get(rip) == Some(why) => {}
                Err(why) => {
                    self.0.insert(*rip, why.clone());
                    news.push(News::Lost { rip: *rip, why: why.to_string() });
                }
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_control::neighbours::NextHop;

    #[test]
    fn a_dead_real_is_told_once_and_again_after_it_lived() {
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
        let (mut told, mut before) = (Told::default(), BTreeMap::new());
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
            let news = told.news(&before, &now);
            let found = match news.as_slice() {
                [] => "",
                [News::Found { .. }] => "found",
                [News::Lost { .. }] => "lost",
                more => panic!("{more:?}"),
            };
            assert_eq!(found, expected, "{now:?}");
            before = now;
        }
        told.news(&before, &BTreeMap::new());
        assert!(told.0.is_empty(), "what is gone is forgotten");
    }
}
