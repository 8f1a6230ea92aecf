// SPDX-License-Identifier: MIT OR Apache-2.0
//! Privileges: a process that serves others keeps the capabilities that its work needs, and cannot regain the
//! others.
#![forbid(unsafe_code)]

use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use lb_model::failure::Failure;

/// Capabilities of the daemon: addresses, neighbours and interfaces; the doctor's probes; maps and programs.
pub const DAEMON: CapabilitySet = AGENT.union(CapabilitySet::NET_RAW);
/// No capabilities.
pub const NONE: CapabilitySet = CapabilitySet::empty();
/// Capabilities that only the threads of health checks use: [`PROBES`] and [`COMMANDS`].
pub const CHECKS: CapabilitySet = PROBES.union(COMMANDS);
/// Capability for the network namespace of probes by path.
pub const PROBES: CapabilitySet = CapabilitySet::SYS_ADMIN;
/// Capabilities to run and kill commands as another user.
pub const COMMANDS: CapabilitySet =
    CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::KILL);
/// Capabilities of an agent: addresses, devices and sysctls; the XDP decapsulator, which reads packets.
pub const AGENT: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::BPF).union(CapabilitySet::PERFMON);

/// Checks capabilities before the first step, so that a command does not fail half-way.
///
/// # Errors
/// Fails if this thread lacks a capability of `needed`; `command` is the name in the message.
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

/// Drops every capability but `kept` and `spare`, permanently. Those in `spare` have no effect until a thread
/// raises them. Must run before the first thread is started: each thread has its own capabilities.
///
/// # Errors
/// If the kernel refuses.
pub fn keep_only(kept: CapabilitySet, spare: CapabilitySet) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::failed(format!("cannot give up privileges: {error}"));
    let mut sets = capabilities(None).map_err(failed)?;
    for one in CapabilitySet::all().difference(kept | spare).iter() {
        // This fails without `CAP_SETPCAP`, or if the kernel does not know the capability. Then
        // `no_new_privs` still keeps programs that this process starts from gaining it.
        let _kept_out_otherwise = remove_capability_from_bounding_set(one);
    }
    sets.permitted &= kept | spare;
    sets.effective &= kept;
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).map_err(failed)?;
    set_no_new_privs(true).map_err(failed)
}

/// Puts spare capabilities in effect for the calling thread, and for threads that it starts afterwards.
///
/// # Errors
/// If the process lacks one of them; the others are in effect.
pub fn raise(wanted: CapabilitySet) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::failed(format!("cannot raise privileges: {error}"));
    let mut sets = capabilities(None).map_err(failed)?;
    sets.effective |= wanted & sets.permitted;
    set_capabilities(None, sets).map_err(failed)?;
    let missing = wanted.difference(sets.permitted);
    let names: Vec<String> = missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!("the daemon lacks {}", names.join(", "))))
    }
}

/// Gives up the capabilities of health checks on the calling thread, permanently.
///
/// # Errors
/// If the kernel refuses.
pub fn give_up_checks() -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::failed(format!("cannot give up privileges: {error}"));
    let mut sets = capabilities(None).map_err(failed)?;
    sets.permitted -= CHECKS;
    sets.effective -= CHECKS;
    set_capabilities(None, sets).map_err(failed)
}
