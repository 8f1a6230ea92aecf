// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Updates the entry of a known flow. Most packets change nothing.

use lb_common::{
    packet::{self, Parsed},
    reason::Reason,
    schema::{Flow, Service},
    ticks::{Tick, Ticks},
    track::State,
};

use super::{REFRESH, load, persistence};
use crate::{frame::Frame, out_of_line::Truncated, tables};

/// Returns whether the entry needs an update: a new state, another return path, or an outdated timestamp.
#[inline(always)]
pub fn is_due<A>(frame: &Frame, parsed: &Parsed<A>, flow: &Flow, now: Tick) -> Result<bool, Reason> {
    let state = State::from_number(flow.state).next(parsed.tcp_flags) as u32;
    let to_client = packet::frame_macs(frame)?.swapped();
    let moved = flow.to_client != to_client
        || flow.ifindex != frame.ifindex()
        || flow.tags != tables::vlan_state().tags;
    Ok(state != flow.state || moved || flow.seen.age(now) >= REFRESH)
}

out_of_line! {
    /// Writes the changes to the flow table, and extends the client's persistence.
    pub fn renew [renew, renew6](frame; parsed: &Parsed<A>, service: &Service, flow: &Flow;) -> Result<(), Truncated> {
        let now = tables::now();
        if is_due(frame, parsed, flow, now)? {
            let state = State::from_number(flow.state).next(parsed.tcp_flags) as u32;
            let to_client = packet::frame_macs(frame)?.swapped();
            let new = Flow {
                seen: now,
                ifindex: frame.ifindex(),
                to_client,
                state,
                tags: tables::vlan_state().tags,
                ..*flow
            };
            // A copy, as in `begin`.
            tables::update_flow(&core::hint::black_box(parsed.flow), &new);
            count_state(flow, state);
        }
        if service.persistent != Ticks::ZERO && flow.seen.age(now) >= REFRESH {
            persistence::keep(service, &parsed.flow, flow.real, now);
        }
        Ok(())
    }
}

/// Adjusts the load of the real when the state of a flow changes.
#[inline(always)]
pub fn count_state(flow: &Flow, state: u32) {
    let (old, new) = (load(State::from_number(flow.state)), load(State::from_number(state)));
    if old != new {
        tables::add_load(flow.real, new.wrapping_sub(old));
    }
}
