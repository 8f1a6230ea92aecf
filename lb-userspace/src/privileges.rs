// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that listens to others keeps the rights that its work needs, and cannot get others back.
#![forbid(unsafe_code)]

use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::failure::Failure;

/// What the daemon needs while it runs: addresses, neighbours and interfaces; the doctor's probes; maps and programs.
pub const DAEMON: CapabilitySet = AGENT.union(CapabilitySet::NET_RAW);
/// What an agent needs: addresses, devices and settings of the network; the XDP decapsulator, which reads packets.
pub const AGENT: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::BPF).union(CapabilitySet::PERFMON);

/// Refuses early what would be refused half-way.
///
/// # Errors
/// If this thread lacks a capability of `needed`; `command` is what needs it.
pub fn require(needed: CapabilitySet, command: &str) -> Result<(), Failure> {
    let Ok(sets) = capabilities(None) else { return Ok(()) };
    let names: Vec<String> =
        needed.difference(sets.effective).iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("`{command}` lacks {}", names.join(", ")))
        .hint("run it as root, or with these capabilities"))
}

/// Gives up every capability but `kept`, for good. Must run before the first thread is started: each has its own.
///
/// # Errors
/// If the kernel refuses.
pub fn keep_only(kept: CapabilitySet) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::failed(format!("cannot give up privileges: {error}"));
    let mut sets = capabilities(None).map_err(failed)?;
    for one in CapabilitySet::all().difference(kept).iter() {
        // Without the right to do this, or unknown to this kernel: then no program is started that could have it.
        let _kept_out_otherwise = remove_capability_from_bounding_set(one);
    }
    sets.permitted &= kept;
    sets.effective &= kept;
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).map_err(failed)?;
    set_no_new_privs(true).map_err(failed)
}
