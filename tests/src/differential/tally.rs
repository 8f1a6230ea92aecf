// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statistics of a run: packets by reason, and forwarded packets by method and scheduler.

use std::{collections::BTreeMap, fmt};

use lb_common::reason::Reason;

use crate::model::{
    Outcome, World,
    world::{Method, Tunnel},
};

/// Number of packets of each kind.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Number of all packets.
    pub packets: u64,
    /// Packets that the programs handled as the daemon loads them, without a trace.
    pub untraced: u64,
    /// Number of packets by reason. As in the programs, a packet for which no ICMP error could be sent counts
    /// twice.
    pub reasons: BTreeMap<Reason, u64>,
    /// Forwarded packets, by the method of their real.
    pub methods: BTreeMap<String, u64>,
    /// Forwarded packets, by the scheduler of their service, and its tracking.
    pub schedulers: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a packet.
    pub fn count(&mut self, outcome: &Outcome, world: &World) {
        self.packets += 1;
        *self.reasons.entry(outcome.reason).or_default() += 1;
        let Some(real) = outcome.real.map(|id| &world.reals[&id]) else { return };
        let Some((vip, service)) = world.services.iter().find(|(_, service)| service.id == real.service)
        else {
            return;
        };
        let version = |v4: bool| if v4 { "IPv4" } else { "IPv6" };
        let inner = version(vip.1.is_ipv4());
        let outer = version(real.address.is_ipv4());
        let method = match (real.method, real.tunnel.0) {
            (Method::Tun, Tunnel::Ipip) => format!("tun ipip {inner} in {outer}"),
            (Method::Tun, Tunnel::Gre) => format!("tun gre {inner} in {outer}"),
            (Method::Tun, Tunnel::Gue) => format!("tun gue {inner} in {outer}"),
            (method, _) => format!("{method:?} {inner}"),
        };
        *self.methods.entry(method).or_default() += 1;
        let scheduler = format!("{:?} {:?}", service.scheduler, service.tracking);
        *self.schedulers.entry(scheduler).or_default() += 1;
    }

    /// Claims that a run has come by everything that the model knows.
    pub fn is_complete(&self) {
        for reason in Reason::ALL {
            // A test run leaves room for any header before a frame, the guard is another program, no real of the
            // scenes has a health check, and one CPU sends fewer flows than the table has places.
            let elsewhere = [
                Reason::NoHeadroom,
                Reason::Guarded,
                Reason::AllDown,
                Reason::FlowTableFull,
                Reason::FlowContended,
            ];
            let elsewhere = elsewhere.contains(reason);
            let reached = self.reasons.get(reason).is_some_and(|count| *count > 0);
            assert!(reached || elsewhere, "no packet ended for {}", reason.as_str());
        }
        // Three methods in two versions; three tunnels of either version in either.
        assert_eq!(self.methods.len(), 3 * 2 + 3 * 2 * 2, "{:?}", self.methods);
        // Three that hash, each with three ways of tracking; ten that do not.
        assert_eq!(self.schedulers.len(), 3 * 3 + 10, "{:?}", self.schedulers);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} packets, {} of them untraced", self.packets, self.untraced)?;
        for reason in Reason::ALL {
            writeln!(f, "  {:<24} {}", reason.as_str(), self.reasons.get(reason).unwrap_or(&0))?;
        }
        for (kind, count) in self.methods.iter().chain(&self.schedulers) {
            writeln!(f, "  {kind:<24} {count}")?;
        }
        Ok(())
    }
}
