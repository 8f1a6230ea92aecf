// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Uses of addresses: VIPs, reals, forbidden sources, ends of tunnels.

use super::{family::IpFamily, settings::SETTINGS};
use aya_ebpf::{
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use lb_common::{
    ids::IfIndex,
    packet::Ip,
    schema::{AddressFilter, AddressUse, Settings, TunnelEnd},
    wire::{Be32, Be128},
};

/// Uses of the addresses of services and of nat reals.
#[btf_map]
pub(super) static ADDRESSES: HashMap<Be32, AddressUse, 1> = HashMap::new();

#[btf_map]
pub(super) static ADDRESSES6: HashMap<Be128, AddressUse, 1> = HashMap::new();

/// Addresses that the decapsulator of a real server accepts in outer headers; see [`TunnelEnd`].
#[btf_map]
pub(super) static TUNNEL_ENDS: HashMap<Be128, TunnelEnd, { TUNNEL_ENDS_SIZE }> = HashMap::new();

/// Capacity of `TUNNEL_ENDS`: the addresses of one host, and its directors.
const TUNNEL_ENDS_SIZE: usize = 1024;

/// Bloom filter of the addresses that are in use.
#[btf_map]
pub(super) static ADDRESS_FILTER: Array<AddressFilter, 1> = Array::new();

/// Bloom filter of the addresses that are forbidden as sources of clients' packets.
#[btf_map]
pub(super) static SOURCE_FILTER: Array<AddressFilter, 1> = Array::new();

/// Bond or team by ifindex of its member; the value is an ifindex.
#[btf_map]
pub(super) static CONTROLLERS: HashMap<IfIndex, IfIndex, 64> = HashMap::new();

/// Returns whether an address of an outer header may be a tunnel end of the kind `end`.
#[inline(always)]
pub fn is_tunnel_end<A: Ip>(address: A, end: u32) -> bool {
    // SAFETY: copied out before any other map call.
    let known =
        |address: &Be128| unsafe { TUNNEL_ENDS.get(*address) }.is_some_and(|known| known.0 & end != 0);
    known(&address.wide()) || known(&Be128::ZERO)
}

/// Returns whether an address may be in use. If not, the address is in no table of services, reals or addresses.
#[inline(always)]
pub fn may_be_used<A: IpFamily>(address: A) -> bool {
    ADDRESS_FILTER.get(0).is_some_and(|marks| marks.has(address))
}

/// Returns whether an address may be forbidden as the source of a client's packet. If not, the address is allowed.
#[inline(always)]
pub fn may_be_forged<A: IpFamily>(source: A) -> bool {
    let element = AddressFilter::element(source, setting!(source_marks_mask) as u32);
    SOURCE_FILTER.get(0).is_some_and(|networks| networks.has(source.network()))
        && SOURCE_FILTER.get(element).is_some_and(|marks| marks.has(source))
}

/// Returns the uses of an address.
#[inline(always)]
pub fn address_use<A: IpFamily>(address: A) -> AddressUse {
    // SAFETY: copied out before any other map call.
    unsafe { A::addresses().get(address) }.copied().unwrap_or_default()
}

/// Returns the ifindex of the bond or team that an interface belongs to, else the ifindex of the interface itself.
#[inline(always)]
pub fn controller(ifindex: IfIndex) -> IfIndex {
    // SAFETY: copied out before any other map call.
    unsafe { CONTROLLERS.get(ifindex) }.copied().unwrap_or(ifindex)
}
