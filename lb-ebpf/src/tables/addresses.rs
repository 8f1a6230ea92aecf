// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Uses of addresses: VIPs, reals, forbidden sources, ends of tunnels.

use super::{family::IpFamily, settings::SETTINGS};
use aya_ebpf::{
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use lb_common::{
    packet::Ip,
    schema::{AddressUse, Marks, Settings, TunnelEnd},
    wire::{Be32, Be128},
};

/// What the addresses of services and of nat reals are used for.
#[btf_map]
pub(super) static ADDRESSES: HashMap<Be32, AddressUse, 1> = HashMap::new();

#[btf_map]
pub(super) static ADDRESSES6: HashMap<Be128, AddressUse, 1> = HashMap::new();

/// Addresses that the decapsulator of a real server takes in outer headers; see [`TunnelEnd`].
#[btf_map]
pub(super) static TUNNEL_ENDS: HashMap<Be128, TunnelEnd, { TUNNEL_ENDS_SIZE }> = HashMap::new();

/// Entries of that table: addresses of one host, and directors.
const TUNNEL_ENDS_SIZE: usize = 1024;

/// Which addresses may be in use.
#[btf_map]
pub(super) static MARKS: Array<Marks, 1> = Array::new();

/// Which addresses may be in use in a way that forbids them as sources of clients' packets.
#[btf_map]
pub(super) static SOURCE_MARKS: Array<Marks, 1> = Array::new();

/// The bond or team that a device is a member of, by ifindex.
#[btf_map]
pub(super) static CONTROLLERS: HashMap<u32, u32, 64> = HashMap::new();

/// Returns whether an address of an outer header may be what `end` says.
#[inline(always)]
pub fn is_tunnel_end<A: Ip>(address: A, end: u32) -> bool {
    // SAFETY: copied out before any other map call.
    let known =
        |address: &Be128| unsafe { TUNNEL_ENDS.get(*address) }.is_some_and(|known| known.0 & end != 0);
    known(&address.wide()) || known(&Be128::ZERO)
}

/// Whether an address may be in use: if not, it is in no table of services, reals or addresses.
#[inline(always)]
pub fn may_be_used<A: IpFamily>(address: A) -> bool {
    MARKS.get(0).is_some_and(|marks| marks.has(address))
}

/// Returns whether something speaks against an address as the source of a client's packet: if not, nothing does.
#[inline(always)]
pub fn may_be_forged<A: IpFamily>(source: A) -> bool {
    let element = Marks::element(source, setting!(source_marks_mask) as u32);
    SOURCE_MARKS.get(0).is_some_and(|networks| networks.has(source.network()))
        && SOURCE_MARKS.get(element).is_some_and(|marks| marks.has(source))
}

/// What an address is used for.
#[inline(always)]
pub fn address_use<A: IpFamily>(address: A) -> AddressUse {
    // SAFETY: copied out before any other map call.
    unsafe { A::addresses().get(address) }.copied().unwrap_or_default()
}

/// Returns the device that a frame came in by or, for a member, the bond or team that it belongs to.
#[inline(always)]
pub fn controller(ifindex: u32) -> u32 {
    // SAFETY: copied out before any other map call.
    unsafe { CONTROLLERS.get(ifindex) }.copied().unwrap_or(ifindex)
}
