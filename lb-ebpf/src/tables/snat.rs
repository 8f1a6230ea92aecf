// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Source addresses and ports of `fnat`.

use super::{
    family::IpFamily,
    settings::{SETTINGS, mode},
    trace::{TRACE, note},
};
use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{Array, HashMap, PerCpuArray},
    helpers::bpf_get_smp_processor_id,
    macros::btf_map,
};
use lb_common::{
    schema::{Dip, FlowKey, Real, Settings, Step},
    wire::{Be16, Be32, Be128},
};

/// A table whose memory is taken entry by entry, since few directors use much of it.
pub type OnDemand<K, V, const N: usize> = HashMap<K, V, N, { BPF_F_NO_PREALLOC as usize }>;

/// Whose flow by `fnat` a real's packet to a port of the director belongs to, see [`Dip`].
#[btf_map]
pub(super) static TRANSLATIONS: OnDemand<FlowKey<Be32>, FlowKey<Be32>, 1> = OnDemand::new();

#[btf_map]
pub(super) static TRANSLATIONS6: OnDemand<FlowKey<Be128>, FlowKey<Be128>, 1> = OnDemand::new();

/// The director's addresses that flows by `fnat` come from at reals.
#[btf_map]
pub(super) static DIPS: Array<Be32, { Dip::ADDRESSES }> = Array::new();

#[btf_map]
pub(super) static DIPS6: Array<Be128, { Dip::ADDRESSES }> = Array::new();

/// How many ports of the director each CPU has tried, see [`next_dip`].
#[btf_map]
pub(super) static TRIED: PerCpuArray<u32, 1> = PerCpuArray::new();

/// The flow that a real's packet to a port of the director belongs to: its client's key.
#[inline(always)]
pub fn translation<A: IpFamily>(reply: &FlowKey<A>) -> Option<FlowKey<A>> {
    // SAFETY: copied out before any other map call.
    let request = unsafe { A::translations().get(reply) }.copied()?;
    note(Step::Translation, 0, 0);
    Some(request)
}

/// Gives a flow a port of the director, unless it has been given already or the table is full.
#[inline(always)]
pub fn take_dip<A: IpFamily>(reply: &FlowKey<A>, request: &FlowKey<A>) -> bool {
    if note(Step::TakeDip, reply.destination_port.get().into(), 0) {
        return A::translations().insert(reply, request, BPF_NOEXIST.into()).is_ok();
    }
    // SAFETY: nothing of it is read.
    unsafe { A::translations().get(reply) }.is_none()
}

/// A flow needs a port of the director no more.
#[inline(always)]
pub fn give_dip_back<A: IpFamily>(reply: &FlowKey<A>) {
    if note(Step::GiveDipBack, reply.destination_port.get().into(), 0) {
        let _ = A::translations().remove(reply);
    }
}

/// The address of a [`Dip`] towards a real, if it is there.
#[inline(always)]
pub fn dip_address<A: IpFamily>(dip: Dip, real: &Real) -> Option<A> {
    let address =
        if dip.address == 0 { A::narrow(real.source) } else { *A::dips().get(dip.address.into())? };
    if address == A::default() { None } else { Some(address) }
}

/// The next number to try in [`dip`], below `total`. Each CPU goes round all of them, so that a port rests as long as possible
/// before it is given out again. They take turns by residue classes, so that no two try the same one as long as each is in
/// its first round or both are equally fast.
#[inline(always)]
pub fn next_dip(total: u32) -> u32 {
    let Some(tried) = TRIED.get_ptr_mut(0) else { return 0 };
    // SAFETY: as in `count_in`, and in `begin_trace`.
    let tried = unsafe {
        if mode().is_dry() {
            let traced = (&raw const TRACE.tries).read_volatile();
            (&raw mut TRACE.tries).write_volatile(traced.wrapping_add(1));
            (*tried).wrapping_add(1).wrapping_add(traced)
        } else {
            *tried = (*tried).wrapping_add(1);
            *tried
        }
    };
    // SAFETY: the helper takes no arguments and is always there.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let cpus = (setting!(cpus) as u32).max(1);
    // No division by zero, which would need a way to panic: `total` is not 0.
    let round = (total / cpus).max(1);
    (tried % round).wrapping_mul(cpus).wrapping_add(cpu).wrapping_add(tried / round)
}

/// How many addresses and ports together flows by `fnat` can have towards a real; at least 1.
#[inline(always)]
pub fn dips<A: IpFamily>() -> u32 {
    (setting!(dip_ports) as u32).wrapping_mul(A::last_dip().max(1)).max(1)
}

/// One of them, by any number.
#[inline(always)]
pub fn dip<A: IpFamily>(number: u32) -> Dip {
    let (ports, addresses) = ((setting!(dip_ports) as u32).max(1), A::last_dip());
    let (round, port) = (number / ports, number % ports);
    let address = if addresses == 0 { 0 } else { 1 + round % addresses };
    Dip { address: address as u16, port: Be16::new((setting!(first_dip_port) as u32 + port) as u16) }
}
