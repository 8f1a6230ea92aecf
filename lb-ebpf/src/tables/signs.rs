// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Passive signs: packets which show that a real does not serve, for the health checks.

use super::{clock::now, settings::mode};
use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use lb_common::{ids::RealId, schema::Signs};

/// Ticks of the last signs. The daemon reads them in its own memory, so that no packet has to wake it.
#[btf_map]
pub(super) static SIGNS: Array<Signs, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Notes a sign that a real does not serve.
#[inline(always)]
pub fn note_sign(real: RealId) {
    if !mode().is_dry()
        && let Some(signs) = SIGNS.get_ptr_mut(0)
    {
        // SAFETY: a value of this map, checked for null, and a place within it. CPUs that write at the same time write
        // nearly the same tick.
        unsafe {
            let place = signs.cast::<u32>().add(Signs::place(real) as usize);
            place.write_volatile(now().0);
        }
    }
}
