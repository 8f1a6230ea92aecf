// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The flow table and the half-open table.

use super::{family::IpFamily, settings::mode, trace::note};
use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use lb_common::{
    schema::{Flow, FlowKey, Step},
    track::State,
    wire::{Be32, Be128},
};

/// Which real a flow is on.
#[btf_map]
pub(super) static FLOWS: LruHashMap<FlowKey<Be32>, Flow, 1> = LruHashMap::new();

#[btf_map]
pub(super) static FLOWS6: LruHashMap<FlowKey<Be128>, Flow, 1> = LruHashMap::new();

/// The same of connections whose client has sent a SYN and nothing since. They come and go here: a flood of SYNs evicts others
/// like itself, and no connection that is open.
#[btf_map]
pub(super) static OPENING: LruHashMap<FlowKey<Be32>, Flow, 1> = LruHashMap::new();

#[btf_map]
pub(super) static OPENING6: LruHashMap<FlowKey<Be128>, Flow, 1> = LruHashMap::new();

/// The flow of that key.
#[inline(always)]
pub fn flow<A: IpFamily>(key: &FlowKey<A>) -> Option<Flow> {
    let found = flow_of_reply(key);
    match &found {
        Some(flow) => note(Step::Flow, flow.real, flow.state),
        None => note(Step::NoFlow, 0, 0),
    };
    found
}

/// The same, and nothing is noted: another program may look for the reply's flow again.
#[inline(always)]
pub fn flow_of_reply<A: IpFamily>(key: &FlowKey<A>) -> Option<Flow> {
    // SAFETY: copied out before any other map call. Another CPU may write it meanwhile: packets of one flow
    // are rarely on two CPUs, and any mixture names the same real.
    unsafe { A::flows().get(key).or_else(|| A::opening().get(key)) }.copied()
}

/// Records where a flow goes. A full table evicts the flow that was silent longest; a failed insert costs
/// affinity, not the packet. `was_known` says that there may be a flow of that key, which is over.
#[inline(always)]
pub fn remember_flow<A: IpFamily>(key: &FlowKey<A>, flow: &Flow, was_known: bool) -> bool {
    if !note(Step::RecordFlow, flow.real, flow.state) {
        return true;
    }
    // SAFETY: nothing of it is read. Whoever has an entry in the one table has none in the other that counts.
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

/// Writes a known flow's new state, time and way back in place. If it was evicted meanwhile, nothing happens. A connection
/// that opens no more goes where it is safe from those that do.
#[inline(always)]
pub fn update_flow<A: IpFamily>(key: &FlowKey<A>, new: &Flow) {
    if !note(Step::UpdateFlow, new.real, new.state) {
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
        // SAFETY: a value of its map, checked for null; fields are written, not read, and the entry's real
        // stays.
        unsafe {
            (*flow).seen = new.seen;
            (*flow).state = new.state;
            (*flow).ifindex = new.ifindex;
            (*flow).to_client = new.to_client;
            (*flow).tags = new.tags;
        }
    }
}

/// Writes when a known flow's last packet came, and nothing else: another CPU may be changing its state.
#[inline(always)]
pub fn touch_flow<A: IpFamily>(key: &FlowKey<A>, now: u32) {
    if !mode().is_dry()
        && let Some(flow) = flow_in_place(key)
    {
        // SAFETY: as in `update_flow`.
        unsafe { (*flow).seen = now };
    }
}

/// The same, and the flow's new state, where its real changes that.
#[inline(always)]
pub fn set_flow_state<A: IpFamily>(key: &FlowKey<A>, flow: &Flow, now: u32, state: u32) {
    if note(Step::UpdateFlow, flow.real, state)
        && let Some(flow) = flow_in_place(key)
    {
        // SAFETY: as in `update_flow`.
        unsafe {
            (*flow).seen = now;
            (*flow).state = state;
        }
    }
}

/// A known flow, to be written to.
#[inline(always)]
fn flow_in_place<A: IpFamily>(key: &FlowKey<A>) -> Option<*mut Flow> {
    A::flows().get_ptr_mut(key).or_else(|| A::opening().get_ptr_mut(key))
}
