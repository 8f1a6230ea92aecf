// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of the network that the director has not handled yet.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr};

use lb_netlink::Change;

/// Number of neighbours that are noted individually; more count as a change of everything.
const MANY: usize = 4096;

/// Parts of the network to refresh.
#[derive(Debug, Eq, PartialEq)]
pub enum Dirty {
    /// These neighbours, by interface and address.
    Neighbours(BTreeSet<(u32, IpAddr)>),
    /// Everything: a link, a route or an address changed, or changes were missed.
    All,
}

impl Default for Dirty {
    fn default() -> Self {
        Self::Neighbours(BTreeSet::new())
    }
}

impl Dirty {
    /// Notes a change.
    pub fn note(&mut self, change: &Change) {
        match (&mut *self, change) {
            (Self::Neighbours(some), Change::Neighbour { ifindex, ip }) if some.len() < MANY => {
                some.insert((*ifindex, *ip));
            }
            _ => *self = Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_forgotten() {
        let ip: IpAddr = "10.0.0.11".parse().unwrap();
        let mut dirty = Dirty::default();
        for ifindex in [2, 2, 3] {
            dirty.note(&Change::Neighbour { ifindex, ip });
        }
        assert_eq!(dirty, Dirty::Neighbours([(2, ip), (3, ip)].into()));
        for change in
            [Change::Route, Change::Missed, Change::Link { ifindex: 2 }, Change::Address { ip, ifindex: 2 }]
        {
            let mut dirty = Dirty::Neighbours([(2, ip)].into());
            dirty.note(&change);
            dirty.note(&Change::Neighbour { ifindex: 2, ip });
            assert_eq!(dirty, Dirty::All, "{change:?}");
        }
        let mut dirty = Dirty::default();
        for ifindex in 0..=MANY as u32 {
            dirty.note(&Change::Neighbour { ifindex, ip });
        }
        assert_eq!(dirty, Dirty::All);
    }
}
