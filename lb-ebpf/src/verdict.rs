// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Packets that are not forwarded: the reason, and the XDP action that follows from it.

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    ids::ServiceId,
    packet::{Ip as _, Parsed},
    reason::{Fate, Reason},
    schema::{Method, Real, Tunnel},
    wire::{Be32, Be128},
};

use crate::tables::{self, IpFamily};

/// The reason why a packet is not forwarded, and the facts that an answer needs.
#[derive(Clone, Copy)]
pub struct Verdict {
    pub reason: Reason,
    /// Id of the service that counts the packet; [`ServiceId::NONE`] if there is none.
    pub service: ServiceId,
    /// For [`Reason::TooBig`]: the size of the largest packet that fits the path, in bytes.
    pub mtu: u16,
}

register! {
    Verdict as u64: |verdict: Self| {
        u64::from(verdict.service.0) << 32 | u64::from(verdict.mtu) << 16 | u64::from(verdict.reason.index())
    }, |bits: u64| Self {
        // Only numbers of reasons, which have few bits, are packed.
        reason: Reason::from_number((bits & 0xffff) as u32).unwrap_or(Reason::NotOurs),
        service: ServiceId((bits >> 32) as u32),
        mtu: (bits >> 16) as u16,
    };
}

impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::at(ServiceId::NONE, reason)
    }
}

impl Verdict {
    /// Returns the verdict on a packet of a service.
    #[inline(always)]
    pub fn at(service: ServiceId, reason: Reason) -> Self {
        Self { reason, service, mtu: 0 }
    }

    /// Returns the verdict on a packet for a real, with the MTU that is left after encapsulation.
    #[inline(always)]
    pub fn for_real(real: &Real, reason: Reason) -> Self {
        let growth = if Method::from_number(real.method) == Some(Method::Tun) {
            let outer = if real.is(Real::IPV6) { Be128::HEADER_LEN } else { Be32::HEADER_LEN };
            outer + Tunnel::length(real.tunnel)
        } else {
            0
        };
        Self { reason, service: real.service, mtu: real.mtu.saturating_sub(growth as u16) }
    }
}

/// Returns the XDP action for a packet, and counts the reason if the packet is not forwarded.
#[inline(always)]
pub fn into_action(directed: Result<u32, Verdict>) -> u32 {
    let verdict = match directed {
        Ok(action) => return action,
        Err(verdict) => verdict,
    };
    if verdict.reason == Reason::NotOurs {
        return xdp_action::XDP_PASS;
    }
    tables::count_reason(verdict.service, verdict.reason);
    match verdict.reason.fate() {
        Fate::Sent | Fate::Passed => xdp_action::XDP_PASS,
        // `dispatch` answers the requests of clients. Other packets get no answer here: the kernel handles an expired
        // TTL.
        Fate::Answered if verdict.reason == Reason::TtlExceeded => xdp_action::XDP_PASS,
        Fate::Dropped | Fate::Answered => xdp_action::XDP_DROP,
    }
}

/// Lets the guard pass the packet if it goes to the director's stack. Returns `action`.
#[inline(always)]
pub fn let_through<A: IpFamily>(parsed: &Parsed<A>, action: u32) -> u32 {
    if action == xdp_action::XDP_PASS {
        tables::leave_to_stack(&parsed.flow);
    }
    action
}
