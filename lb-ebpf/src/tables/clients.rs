// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Persistence, and the destinations of `lblc` and `lblcr`.

use super::trace::note;
use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use lb_common::schema::{Client, ClientKey, Locality, LocalityKey, Step};

/// The real on which persistence keeps a client.
#[btf_map]
pub(super) static CLIENTS: LruHashMap<ClientKey, Client, 1> = LruHashMap::new();

/// The reals for connections to a destination (`lblc`, `lblcr`).
#[btf_map]
pub(super) static LOCALITIES: LruHashMap<LocalityKey, Locality, 1> = LruHashMap::new();

/// Returns the real on which persistence keeps a client.
#[inline(always)]
pub fn client(key: &ClientKey) -> Option<Client> {
    // SAFETY: copied out before any other map call.
    let client = unsafe { CLIENTS.get(key) }.copied()?;
    note(Step::Client, client.real.0, client.expires.0);
    Some(client)
}

/// Keeps a client on a real. A failed insert costs persistence, not the packet.
#[inline(always)]
pub fn remember_client(key: &ClientKey, client: &Client) {
    if note(Step::RecordClient, client.real.0, client.expires.0) {
        let _ = CLIENTS.insert(key, client, 0);
    }
}

/// Reads the reals for connections to a destination into `locality`, if there is an entry. The value is copied in
/// place, because the stack is small.
#[inline(always)]
pub fn read_locality(key: &LocalityKey, locality: &mut Locality) {
    // SAFETY: copied out before any other map call.
    if let Some(known) = unsafe { LOCALITIES.get(key) } {
        *locality = *known;
        note(Step::Locality, locality.reals[0].0, locality.reals[1].0);
    }
}

/// Records the reals for connections to a destination. A failed insert costs locality, not the packet.
#[inline(always)]
pub fn remember_locality(key: &LocalityKey, locality: &Locality) {
    if note(Step::RecordLocality, locality.reals[0].0, locality.reals[1].0) {
        let _ = LOCALITIES.insert(key, locality, 0);
    }
}
