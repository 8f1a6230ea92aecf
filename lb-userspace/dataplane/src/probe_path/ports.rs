// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allotment of the probers' ports. Each place has two ports, which its probes use in turn, so that a late
//! packet of a probe does not meet the next one.
#![forbid(unsafe_code)]

use std::{collections::HashSet, ops::RangeInclusive};

use lb_common::schema::FlowKey;

use super::target::Place;

/// Ports of a place.
pub(super) const PER_PLACE: usize = 2;

/// The ports of the probers, and the keys in use: two places may share a port if neither their probes nor
/// their replies have the same 5-tuple.
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    next: u16,
    probes: HashSet<FlowKey>,
    replies: HashSet<FlowKey>,
}

impl Ports {
    /// Returns the ports of a range, all free.
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        let next = *range.start();
        Self { range, next, probes: HashSet::new(), replies: HashSet::new() }
    }

    /// Allots the ports of a place; `None` if too few are free for it.
    pub(super) fn allot(&mut self, place: &Place) -> Option<[u16; PER_PLACE]> {
        let first = self.allot_one(place)?;
        let Some(second) = self.allot_one(place) else {
            self.release(place, first);
            return None;
        };
        Some([first, second])
    }

    /// Frees a port of a place.
    pub(super) fn release(&mut self, place: &Place, port: u16) {
        self.probes.remove(&place.probe_key(port));
        self.replies.remove(&place.reply_key(port));
    }

    fn allot_one(&mut self, place: &Place) -> Option<u16> {
        for _ in self.range.clone() {
            let port = self.next;
            self.next = if port >= *self.range.end() { *self.range.start() } else { port + 1 };
            let (probe, reply) = (place.probe_key(port), place.reply_key(port));
            if !self.probes.contains(&probe) && !self.replies.contains(&reply) {
                self.probes.insert(probe);
                self.replies.insert(reply);
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use lb_common::schema::Method;

    use super::{super::target::ProbeProtocol, *};

    fn place(vip: &str, real: &str, method: Method) -> Place {
        Place {
            protocol: ProbeProtocol::Tcp,
            vip: vip.parse().unwrap(),
            real: real.parse().unwrap(),
            method,
            source: "10.0.0.1".parse().unwrap(),
            snat: None,
        }
    }

    #[test]
    fn reals_of_one_service_have_ports_of_their_own() {
        let mut ports = Ports::new(61_000..=61_003);
        let a = place("192.0.2.100:80", "10.0.0.11:80", Method::Dr);
        let b = place("192.0.2.100:80", "10.0.0.12:80", Method::Dr);
        let c = place("192.0.2.100:80", "10.0.0.13:80", Method::Dr);
        assert_eq!(ports.allot(&a), Some([61_000, 61_001]));
        assert_eq!(ports.allot(&b), Some([61_002, 61_003]));
        assert_eq!(ports.allot(&c), None);
        ports.release(&b, 61_003);
        assert_eq!(ports.allot(&c), None, "one port is too few, and stays free");
        ports.release(&b, 61_002);
        assert_eq!(ports.allot(&c), Some([61_002, 61_003]));
    }

    #[test]
    fn services_share_ports_unless_their_replies_look_the_same() {
        let mut ports = Ports::new(61_000..=61_001);
        assert!(ports.allot(&place("192.0.2.100:80", "10.0.0.11:80", Method::Dr)).is_some());
        assert!(ports.allot(&place("192.0.2.100:81", "10.0.0.11:80", Method::Dr)).is_some());
        assert!(ports.allot(&place("192.0.2.100:82", "10.0.0.11:80", Method::Nat)).is_some());
        assert!(ports.allot(&place("192.0.2.100:83", "10.0.0.11:80", Method::Nat)).is_none());
        assert!(ports.allot(&place("192.0.2.100:83", "10.0.0.12:80", Method::Nat)).is_some());
    }

    #[test]
    fn the_last_port_there_is_can_be_allotted() {
        let mut ports = Ports::new(65_534..=65_535);
        let a = place("192.0.2.100:80", "10.0.0.11:80", Method::Tun);
        assert_eq!(ports.allot(&a), Some([65_534, 65_535]));
        for port in [65_534, 65_535] {
            ports.release(&a, port);
        }
        assert_eq!(ports.allot(&a), Some([65_534, 65_535]));
    }
}
