// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Adds the flow table entry of a new flow.

use aya_log_ebpf::debug;
use lb_common::{
    packet::{self, Parsed, tcp_flags},
    schema::{Flow, SnatBinding},
    track::{self, State},
};

use super::{Picked, load};
use crate::{out_of_line::Truncated, tables};

out_of_line! {
    /// Adds the flow table entry of a packet. `known` is an ended flow with the same 5-tuple, if there was one.
    pub fn begin [begin, begin6](frame; parsed: &Parsed<A>, known: &Flow; picked: Picked, snat: SnatBinding) -> Result<(), Truncated> {
        let protocol = parsed.flow.protocol as u8;
        let state = State::first(protocol, parsed.tcp_flags);
        let flow = Flow {
            real: picked.id,
            seen: tables::now(),
            ifindex: frame.ifindex(),
            to_client: packet::frame_macs(frame)?.swapped(),
            state: state as u32,
            snat,
            tags: tables::vlan_state().tags,
        };
        // Until Linux 6.3 a map key could not be in memory that a global function was given. Hence the copy, which LLVM
        // must not remove.
        if !tables::remember_flow(&core::hint::black_box(parsed.flow), &flow, !known.real.is_none()) {
            debug!(frame.ctx(), "the flow table takes no new flow: affinity is lost");
        }
        // The previous entry, if any, no longer counts as a connection of its real.
        if !known.real.is_none() {
            tables::add_load(known.real, load(State::from_number(known.state)).wrapping_neg());
        }
        if !picked.one_packet {
            tables::add_load(picked.id, load(state));
        }
        // In a slot in transition, an older connection gets its entry at a packet other than a SYN: it is not a new flow.
        if !picked.moved || !track::is_connection(protocol) || parsed.tcp_flags & tcp_flags::SYN != 0 {
            tables::count_flow(picked.id);
        }
        Ok(())
    }
}
