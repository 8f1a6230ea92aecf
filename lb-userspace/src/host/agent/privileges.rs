// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent listens to another machine: it keeps the rights that set-up needs, and cannot get others back.

use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::failure::Failure;

/// Addresses, devices and settings of the network; loading the XDP program, which reads packets.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::BPF).union(CapabilitySet::PERFMON);

/// Gives up every other capability, for good. Must run before the first thread is started.
pub(super) fn drop_others() -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::failed(format!("cannot give up privileges: {error}"));
    let mut sets = capabilities(None).map_err(failed)?;
    for one in CapabilitySet::all().difference(KEPT).iter() {
        // Without the right to do this, or unknown to this kernel: then no program is started that could have it.
        let _kept_out_otherwise = remove_capability_from_bounding_set(one);
    }
    sets.permitted &= KEPT;
    sets.effective &= KEPT;
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).map_err(failed)?;
    set_no_new_privs(true).map_err(failed)
}
