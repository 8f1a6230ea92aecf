// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tail calls and redirects.

use super::trace::note;
use aya_ebpf::{
    btf_maps::{DevMapHash, ProgramArray},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    reason::Reason,
    schema::{Program, Step},
};

/// Devices that frames may be redirected to, by ifindex.
#[btf_map]
pub(super) static DEVICES: DevMapHash<64> = DevMapHash::new();

/// The director's programs besides the one that is attached, see [`Program`].
#[btf_map]
pub(super) static PROGRAMS: ProgramArray<{ Program::ALL.len() }> = ProgramArray::new();

/// Sends the frame out of another device.
#[inline(always)]
pub fn redirect(ifindex: u32) -> Result<u32, Reason> {
    note(Step::Redirect, ifindex, 0);
    DEVICES.redirect(ifindex, 0).map_err(|_| Reason::RedirectFailed)
}

/// Goes on in another of the director's programs. Returns if that is not there.
#[inline(always)]
pub fn tail_call(ctx: &XdpContext, program: Program) {
    note(Step::Program, program as u32, 0);
    // SAFETY: the context is the one that the kernel gave.
    unsafe { PROGRAMS.tail_call(ctx, program as u32) };
}
