// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Health probes, and the replies to them.

use super::snat::OnDemand;
use aya_ebpf::macros::btf_map;
use lb_common::schema::{FlowKey, Probe, ProbeReply};

/// The real of each health probe, by the probe's 5-tuple.
#[btf_map]
pub(super) static PROBES: OnDemand<FlowKey, Probe, { PROBES_SIZE }> = OnDemand::new();

/// The prober of each reply to a health probe, by the reply's 5-tuple.
#[btf_map]
pub(super) static PROBE_REPLIES: OnDemand<FlowKey, ProbeReply, { PROBES_SIZE }> = OnDemand::new();

/// Capacity of both maps: two ports for each of 65,536 checks.
const PROBES_SIZE: usize = 131_072;

/// Returns the real of a health probe, if the packet is one.
#[inline(always)]
pub fn probe(key: &FlowKey) -> Option<Probe> {
    // SAFETY: copied out before any other map call.
    unsafe { PROBES.get(key) }.copied()
}

/// Returns the prober of a reply, if the packet is a reply to a health probe. The daemon replaces entries as a whole.
#[inline(always)]
pub fn probe_reply(key: &FlowKey) -> Option<&'static ProbeReply> {
    // SAFETY: the map frees entries only after all programs that run now.
    unsafe { PROBE_REPLIES.get(key) }
}
