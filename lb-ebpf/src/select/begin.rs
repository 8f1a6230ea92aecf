// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! A flow begins on the real that was picked for it: it is written down.

use aya_log_ebpf::debug;
use lb_common::{
    packet::{self, Parsed},
    reason::Reason,
    schema::{Dip, Flow, UNSET},
    track::{self, State, flags},
};

use super::{Picked, load};
use crate::{
    frame::Frame,
    tables::{self, IpFamily},
};

/// Writes the flow of a packet down. `known` is a flow that had the same 5-tuple and is over, if there was one.
#[inline(always)]
pub fn begin<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    known: &Flow,
    picked: Picked,
    dip: Dip,
) -> Result<(), Reason> {
    let protocol = parsed.flow.protocol as u8;
    let state = State::first(protocol, parsed.tcp_flags);
    let flow = Flow {
        real: picked.id,
        seen: tables::now(),
        ifindex: frame.ifindex(),
        to_client: packet::frame_macs(frame)?.swapped(),
        state: state as u32,
        dip,
        tags: tables::taken().tags,
    };
    // Until Linux 6.3 the key of a map could not be in memory that a function was given: hence a copy, which LLVM must not
    // leave out.
    if !tables::remember_flow(&core::hint::black_box(parsed.flow), &flow, known.real != UNSET) {
        debug!(frame.ctx(), "the flow table takes no new flow: affinity is lost");
    }
    // What the entry counted for before, if there was one, it does not any more.
    if known.real != UNSET {
        tables::add_load(known.real, load(State::from_number(known.state)).wrapping_neg());
    }
    if !picked.alone {
        tables::add_load(picked.id, load(state));
    }
    // In a moved slot an old flow is written down when it speaks: it did not begin now.
    if !picked.moved || !track::is_connection(protocol) || parsed.tcp_flags & flags::SYN != 0 {
        tables::count_flow(picked.id);
    }
    Ok(())
}
