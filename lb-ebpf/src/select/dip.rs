// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Which address and port of the director a flow by full NAT comes from at its real.
//!
//! What makes a port the flow's own is an insertion that fails if somebody has it, so that no two flows ever share one. The
//! real's address and port are part of the key: each real can have all ports.

use core::ffi::{c_long, c_void};

use aya_ebpf::helpers::bpf_loop;
use lb_common::{
    schema::{Dip, FlowKey, Real},
    wire::Be16,
};

use crate::tables::{self, IpFamily};

/// Ports that are tried one after the other, and as many more at random, before the packet is refused: enough that almost all
/// of them must be taken, few enough that a flood on a director without free ports costs little. At random, because a CPU
/// may follow in the trail of another one.
const IN_A_ROW: u32 = 128;

/// How the packets of a real to a port of the director look.
#[inline(always)]
pub fn reply<A: IpFamily>(request: &FlowKey<A>, dip: Dip, real: &Real) -> Option<FlowKey<A>> {
    let port = if real.port == Be16::ZERO { request.destination_port } else { real.port };
    let address = tables::dip_address(dip, real)?;
    Some(FlowKey::new(A::narrow(real.address), address, port, dip.port, request.protocol as u8))
}

/// A port for a new flow to the real with that id, [`Dip::NONE`] if none is free. `old` is what the same client's flow had
/// before, on the real `old_real`: it stays if the real does, else it is given back.
#[inline(always)]
pub fn lease<A: IpFamily>(request: &FlowKey<A>, id: u32, old: Dip, old_real: u32) -> Dip {
    if !old.is_none()
        && let Some(real) = tables::real(old_real)
        && let Some(reply) = reply(request, old, real)
        && tables::translation(&reply) == Some(*request)
    {
        if id == old_real {
            return old;
        }
        tables::give_dip_back(&reply);
    }
    let mut search = Search { request: *request, id, found: Dip::NONE.packed() };
    // SAFETY: the callback is a function of this program and gets the pointer to `search`, which outlives the loop.
    unsafe { bpf_loop(2 * IN_A_ROW, try_next::<A> as *mut c_void, (&raw mut search).cast(), 0) };
    Dip::unpacked(search.found)
}

/// A search for a port.
#[repr(C)]
struct Search<A> {
    request: FlowKey<A>,
    /// Id of the real.
    id: u32,
    /// The port that the flow got.
    found: u32,
}

/// Takes the next port, unless somebody has it. The verifier looks at one round, however many there are.
unsafe extern "C" fn try_next<A: IpFamily>(round: u32, search: *mut c_void) -> c_long {
    // SAFETY: `lease` gave the pointer, and nobody else has it.
    let search = unsafe { &mut *search.cast::<Search<A>>() };
    let Some(real) = tables::real(search.id) else { return 1 };
    let number = if round < IN_A_ROW { tables::next_dip(tables::dips::<A>()) } else { tables::random() };
    let dip = tables::dip::<A>(number);
    if let Some(reply) = reply(&search.request, dip, real)
        && tables::take_dip(&reply, &search.request)
    {
        search.found = dip.packed();
        return 1;
    }
    0
}
