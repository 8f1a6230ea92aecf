// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tail calls and redirects.

use super::trace::note;
use aya_ebpf::{
    btf_maps::{DevMapHash, ProgramArray},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    ids::IfIndex,
    reason::Reason,
    schema::{Program, Step},
};

/// Interfaces that frames may be redirected to, by ifindex.
#[btf_map]
pub(super) static DEVICES: DevMapHash<64> = DevMapHash::new();

/// Programs of the director besides the attached one, see [`Program`].
#[btf_map]
pub(super) static PROGRAMS: ProgramArray<{ Program::ALL.len() }> = ProgramArray::new();

/// Sends the frame out of another interface.
#[inline(always)]
pub fn redirect(ifindex: IfIndex) -> Result<u32, Reason> {
    note(Step::Redirect, ifindex.0, 0);
    DEVICES.redirect(ifindex.0, 0).map_err(|_| Reason::RedirectFailed)
}

/// Continues in another program of the director. Returns only if the program is missing.
#[inline(always)]
pub fn tail_call(ctx: &XdpContext, program: Program) {
    note(Step::Program, program as u32, 0);
    // SAFETY: the context is the one that the kernel gave.
    unsafe { PROGRAMS.tail_call(ctx, program as u32) };
}
