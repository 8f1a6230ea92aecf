// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Source addresses and ports of `fnat`.

use super::{
    family::IpFamily,
    scratch::looked_up,
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
    schema::{FlowKey, Real, Settings, SnatBinding, SnatLease, Step},
    wire::{Be16, Be32, Be128},
};

/// A hash map that allocates its entries on demand, since few directors use many of them.
pub type OnDemand<K, V, const N: usize> = HashMap<K, V, N, { BPF_F_NO_PREALLOC as usize }>;

/// The client's 5-tuple of a `fnat` flow, by the 5-tuple of the real's packets to the SNAT address and port; see
/// [`SnatBinding`].
#[btf_map]
pub(super) static TRANSLATIONS: OnDemand<FlowKey<Be32>, FlowKey<Be32>, 1> = OnDemand::new();

#[btf_map]
pub(super) static TRANSLATIONS6: OnDemand<FlowKey<Be128>, FlowKey<Be128>, 1> = OnDemand::new();

/// The SNAT address and port of a `fnat` flow, by the flow's 5-tuple; see [`SnatLease`].
#[btf_map]
pub(super) static BINDINGS: OnDemand<FlowKey<Be32>, SnatLease, 1> = OnDemand::new();

#[btf_map]
pub(super) static BINDINGS6: OnDemand<FlowKey<Be128>, SnatLease, 1> = OnDemand::new();

/// SNAT addresses of the director.
#[btf_map]
pub(super) static SNAT_ADDRESSES: Array<Be32, { SnatBinding::ADDRESSES }> = Array::new();

#[btf_map]
pub(super) static SNAT_ADDRESSES6: Array<Be128, { SnatBinding::ADDRESSES }> = Array::new();

/// Number of ports that each CPU has tried, see [`next_binding`].
#[btf_map]
pub(super) static SNAT_CURSOR: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Returns the client's 5-tuple of the flow to which a real's packet to a SNAT address and port belongs.
#[inline(always)]
pub fn translation<A: IpFamily>(reply: &FlowKey<A>) -> Option<FlowKey<A>> {
    // SAFETY: copied out before any other map call.
    let request = unsafe { A::translations().get(reply) }.copied()?;
    note(Step::Translation, 0, 0);
    Some(request)
}

/// Reserves a SNAT address and port for a flow. Returns false if another flow has the port, or the table is full.
#[inline(always)]
pub fn reserve_binding<A: IpFamily>(reply: &FlowKey<A>, request: &FlowKey<A>) -> bool {
    if note(Step::TakeDip, reply.destination_port.get().into(), 0) {
        return A::translations().insert(reply, request, BPF_NOEXIST.into()).is_ok();
    }
    // SAFETY: the value is not read.
    unsafe { A::translations().get(reply) }.is_none()
}

/// Releases the SNAT address and port of a flow.
#[inline(always)]
pub fn release_binding<A: IpFamily>(reply: &FlowKey<A>) {
    if note(Step::GiveDipBack, reply.destination_port.get().into(), 0) {
        let _ = A::translations().remove(reply);
    }
}

/// Returns the SNAT address and port of a `fnat` flow.
#[inline(always)]
pub fn lease<A: IpFamily>(request: &FlowKey<A>) -> Option<SnatLease> {
    if mode().is_dry() {
        // SAFETY: this CPU's memory, checked for null.
        let lease = unsafe { (*looked_up()?).lease };
        if !lease.real.is_none() {
            return Some(lease);
        }
    }
    // SAFETY: copied out before any other map call.
    unsafe { A::bindings().get(request) }.copied()
}

/// Records the SNAT address and port of a `fnat` flow, and returns whether it succeeded.
#[inline(always)]
pub fn remember_lease<A: IpFamily>(request: &FlowKey<A>, lease: SnatLease) -> bool {
    if !mode().is_dry() {
        return A::bindings().insert(request, lease, 0).is_ok();
    }
    if let Some(looked_up) = looked_up() {
        // SAFETY: this CPU's memory, checked for null.
        unsafe { (*looked_up).lease = lease };
    }
    true
}

/// Returns the address of a [`SnatBinding`] towards a real, if the address exists.
#[inline(always)]
pub fn snat_address<A: IpFamily>(snat: SnatBinding, real: &Real) -> Option<A> {
    let address =
        if snat.address == 0 { A::narrow(real.source) } else { *A::dips().get(snat.address.into())? };
    if address == A::default() { None } else { Some(address) }
}

/// Returns the next number to try in [`snat`]; [`snat`] reduces numbers above `total`. Each CPU cycles through all
/// numbers, so that a port rests as long as possible before it is given out again. The CPUs use different residue
/// classes, so that no two CPUs try the same number while each is in its first round or both are equally fast.
#[inline(always)]
pub fn next_binding(total: u32) -> u32 {
    let Some(tried) = SNAT_CURSOR.get_ptr_mut(0) else { return 0 };
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
    // SAFETY: the helper takes no arguments and always exists.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let cpus = (setting!(cpus) as u32).max(1);
    // No division by zero, which would need a panic: `total` is not 0.
    let round = (total / cpus).max(1);
    (tried % round).wrapping_mul(cpus).wrapping_add(cpu).wrapping_add(tried / round)
}

/// Returns the number of combinations of SNAT address and port towards one real; at least 1.
#[inline(always)]
pub fn dips<A: IpFamily>() -> u32 {
    (setting!(dip_ports) as u32).wrapping_mul(A::last_dip().max(1)).max(1)
}

/// Returns a combination of SNAT address and port by its number, modulo the number of combinations.
#[inline(always)]
pub fn binding<A: IpFamily>(number: u32) -> SnatBinding {
    let (ports, addresses) = ((setting!(dip_ports) as u32).max(1), A::last_dip());
    let (round, port) = (number / ports, number % ports);
    let address = if addresses == 0 { 0 } else { 1 + round % addresses };
    SnatBinding { address: address as u16, port: Be16::new((setting!(first_dip_port) as u32 + port) as u16) }
}
