// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Packets that are not forwarded: why, and what the driver is told.

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    packet::Ip as _,
    reason::{Fate, Reason},
    schema::{Method, Real, Tunnel, UNSET},
    wire::{Be32, Be128},
};

use crate::tables;

/// Why a packet is not forwarded.
#[derive(Clone, Copy)]
pub struct Stop {
    pub reason: Reason,
    /// The service that counts it; [`UNSET`] if none in particular.
    pub service: u32,
    /// For [`Reason::TooBig`]: the largest packet that would have gone through, in bytes.
    pub mtu: u16,
}

impl From<Reason> for Stop {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::at(UNSET, reason)
    }
}

impl Stop {
    /// A packet of a service is stopped.
    #[inline(always)]
    pub fn at(service: u32, reason: Reason) -> Self {
        Self { reason, service, mtu: 0 }
    }

    /// A packet for a real is stopped.
    #[inline(always)]
    pub fn on_the_way_to(real: &Real, reason: Reason) -> Self {
        let growth = if Method::from_number(real.method) == Some(Method::Tun) {
            let outer = if real.is(Real::IPV6) { Be128::HEADER_LEN } else { Be32::HEADER_LEN };
            outer + Tunnel::length(real.tunnel)
        } else {
            0
        };
        Self { reason, service: real.service, mtu: real.mtu.saturating_sub(growth as u16) }
    }
}

/// What the driver is told about a packet. It is counted if it is stopped.
#[inline(always)]
pub fn settle(directed: Result<u32, Stop>) -> u32 {
    let stop = match directed {
        Ok(action) => return action,
        Err(stop) => stop,
    };
    if stop.reason == Reason::NotOurs {
        return xdp_action::XDP_PASS;
    }
    tables::count_reason(stop.service, stop.reason);
    match stop.reason.fate() {
        Fate::Sent | Fate::Passed => xdp_action::XDP_PASS,
        // What is not a client's request is not answered here: the kernel knows what to do.
        Fate::Answered if stop.reason == Reason::TtlExceeded => xdp_action::XDP_PASS,
        Fate::Dropped | Fate::Answered => xdp_action::XDP_DROP,
    }
}
