// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The flow table and the half-open table.

use super::{family::IpFamily, settings::mode, trace::note};
use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use lb_common::{
    schema::{Flow, FlowKey, Step},
    ticks::Tick,
    track::State,
    wire::{Be32, Be128},
};

/// Flow table: real, state and return path of a flow.
#[btf_map]
pub(super) static FLOWS: LruHashMap<FlowKey<Be32>, Flow, 1> = LruHashMap::new();

#[btf_map]
pub(super) static FLOWS6: LruHashMap<FlowKey<Be128>, Flow, 1> = LruHashMap::new();

/// Half-open table: flows of connections whose client has sent nothing but a SYN. A SYN flood evicts only entries of
/// this table, and no established connection.
#[btf_map]
pub(super) static HALF_OPEN: LruHashMap<FlowKey<Be32>, Flow, 1> = LruHashMap::new();

#[btf_map]
pub(super) static HALF_OPEN6: LruHashMap<FlowKey<Be128>, Flow, 1> = LruHashMap::new();

/// Returns the flow with this key, and traces the step.
#[inline(always)]
pub fn flow<A: IpFamily>(key: &FlowKey<A>) -> Option<Flow> {
    let found = flow_of_reply(key);
    match &found {
        Some(flow) => note(Step::Flow, flow.real.0, flow.state),
        None => note(Step::NoFlow, 0, 0),
    };
    found
}

/// Returns the flow with this key without a trace of the step, because another program may look up the reply's flow
/// again.
#[inline(always)]
pub fn flow_of_reply<A: IpFamily>(key: &FlowKey<A>) -> Option<Flow> {
    // SAFETY: copied out before any other map call. Another CPU may write the value meanwhile: packets of one flow are
    // rarely on two CPUs, and any mixture names the same real.
    unsafe { A::flows().get(key).or_else(|| A::opening().get(key)) }.copied()
}

/// Adds the entry of a flow, and returns whether it succeeded. A full table evicts the flow that was silent longest; a
/// failed insert costs affinity, not the packet. `was_known` is whether there may be an ended flow with this key.
#[inline(always)]
pub fn remember_flow<A: IpFamily>(key: &FlowKey<A>, flow: &Flow, was_known: bool) -> bool {
    if !note(Step::RecordFlow, flow.real.0, flow.state) {
        return true;
    }
    // SAFETY: the value is not read. A flow that is live has an entry in only one of the two tables.
    let opens =
        flow.state == State::SynReceived as u32 && !(was_known && unsafe { A::flows().get(key) }.is_some());
    if opens {
        return A::opening().insert(key, flow, 0).is_ok();
    }
    if was_known {
        let _ = A::opening().remove(key);
    }
    A::flows().insert(key, flow, 0).is_ok()
}

/// Writes the new state, time and return path of a known flow in place. Does nothing if the entry was evicted
/// meanwhile. Moves a connection that is no longer half-open to the flow table, where a SYN flood cannot evict it.
#[inline(always)]
pub fn update_flow<A: IpFamily>(key: &FlowKey<A>, new: &Flow) {
    if !note(Step::UpdateFlow, new.real.0, new.state) {
        return;
    }
    let mut found = A::flows().get_ptr_mut(key);
    if found.is_none() {
        found = A::opening().get_ptr_mut(key);
        if found.is_some() && new.state != State::SynReceived as u32 && A::flows().insert(key, new, 0).is_ok()
        {
            let _ = A::opening().remove(key);
            return;
        }
    }
    if let Some(flow) = found {
        // SAFETY: a value of its map, checked for null; fields are written, not read, and the real of the entry does
        // not change.
        unsafe {
            (*flow).seen = new.seen;
            (*flow).state = new.state;
            (*flow).ifindex = new.ifindex;
            (*flow).to_client = new.to_client;
            (*flow).tags = new.tags;
        }
    }
}

/// Writes the time of a known flow's last packet, and nothing else: another CPU may be changing the state.
#[inline(always)]
pub fn touch_flow<A: IpFamily>(key: &FlowKey<A>, now: Tick) {
    if !mode().is_dry()
        && let Some(flow) = flow_in_place(key)
    {
        // SAFETY: as in `update_flow`.
        unsafe { (*flow).seen = now };
    }
}

/// Writes the time of a known flow's last packet and the new state, if a packet of the real changes the state.
#[inline(always)]
pub fn set_flow_state<A: IpFamily>(key: &FlowKey<A>, flow: &Flow, now: Tick, state: u32) {
    if note(Step::UpdateFlow, flow.real.0, state)
        && let Some(flow) = flow_in_place(key)
    {
        // SAFETY: as in `update_flow`.
        unsafe {
            (*flow).seen = now;
            (*flow).state = state;
        }
    }
}

/// Returns a pointer to the entry of a known flow.
#[inline(always)]
fn flow_in_place<A: IpFamily>(key: &FlowKey<A>) -> Option<*mut Flow> {
    A::flows().get_ptr_mut(key).or_else(|| A::opening().get_ptr_mut(key))
}
