// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Allocation of the SNAT address and port from which a `fnat` flow reaches its real.
//!
//! An insertion that fails if the port is in use reserves the port, so that no two flows ever share one. The real's
//! address and port are part of the key: each real can have all ports.
#![expect(unsafe_code, reason = "a callback of bpf_loop gets its state as a pointer")]

use core::ffi::{c_long, c_void};

use aya_ebpf::helpers::bpf_loop;
use lb_common::{
    ids::RealId,
    schema::{FlowKey, Real, SnatBinding, SnatLease},
    wire::Be16,
};

use crate::tables::{self, IpFamily};

/// Number of consecutive ports that are tried, and of random ones after them, before the packet is refused. The number
/// is high enough that almost all ports must be in use, and low enough that a flood on a director without free ports
/// costs little. The random ports help a CPU that follows in the trail of another one.
const IN_A_ROW: u32 = 128;

/// Returns the 5-tuple of the real's packets to a port of the director.
#[inline(always)]
pub fn reply<A: IpFamily>(request: &FlowKey<A>, snat: SnatBinding, real: &Real) -> Option<FlowKey<A>> {
    let port = if real.port == Be16::ZERO { request.destination_port } else { real.port };
    let address = tables::snat_address(snat, real)?;
    Some(FlowKey::new(A::narrow(real.address), address, port, snat.port, request.protocol as u8))
}

/// Returns the SNAT address and port of a flow to the `fnat` real with this id.
#[inline(always)]
pub fn of<A: IpFamily>(request: &FlowKey<A>, id: RealId) -> Option<SnatBinding> {
    let lease = tables::lease(request)?;
    (lease.real == id).then_some(lease.snat)
}

out_of_line! {
    /// Returns a port for a new flow to the real with this id, [`SnatBinding::NONE`] if none is free. A flow keeps the port
    /// of the previous flow with this 5-tuple if the real is the same; otherwise that port is released.
    pub fn allocate [allocate, allocate6](; request: &FlowKey<A>; id: RealId) -> SnatBinding {
        let mut search = Search { request: *request, id, found: SnatBinding::NONE.packed() };
        if let Some(old) = tables::lease(&search.request)
            && let Some(real) = tables::real(old.real)
            && let Some(reply) = reply(&search.request, old.snat, real)
            && tables::translation(&reply) == Some(search.request)
        {
            if id == old.real {
                return old.snat;
            }
            tables::release_binding(&reply);
        }
        // SAFETY: the callback is a function of this program and gets the pointer to `search`, which outlives the loop.
        unsafe { bpf_loop(2 * IN_A_ROW, try_next::<A> as *mut c_void, (&raw mut search).cast(), 0) };
        let snat = SnatBinding::unpacked(search.found);
        if snat.is_none() || tables::remember_lease(&search.request, SnatLease { real: id, snat }) {
            return snat;
        }
        // No memory for the lease.
        if let Some(real) = tables::real(id)
            && let Some(reply) = reply(&search.request, snat, real)
        {
            tables::release_binding(&reply);
        }
        SnatBinding::NONE
    }
}

/// A search for a free port.
#[repr(C)]
struct Search<A> {
    request: FlowKey<A>,
    /// Id of the real.
    id: RealId,
    /// The port that was reserved, packed; [`SnatBinding::NONE`] if none.
    found: u32,
}

/// Reserves the next port, unless another flow has it. The verifier checks one round, regardless of their number.
unsafe extern "C" fn try_next<A: IpFamily>(round: u32, search: *mut c_void) -> c_long {
    // SAFETY: `lease` passes the pointer, and holds the only other reference, which it does not use meanwhile.
    let search = unsafe { &mut *search.cast::<Search<A>>() };
    let Some(real) = tables::real(search.id) else { return 1 };
    let number = if round < IN_A_ROW { tables::next_binding(tables::dips::<A>()) } else { tables::random() };
    let snat = tables::binding::<A>(number);
    if let Some(reply) = reply(&search.request, snat, real)
        && tables::reserve_binding(&reply, &search.request)
    {
        search.found = snat.packed();
        return 1;
    }
    0
}
