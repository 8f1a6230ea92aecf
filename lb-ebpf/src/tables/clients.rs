// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Persistence, and the destinations of `lblc` and `lblcr`.

use super::trace::note;
use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use lb_common::schema::{Client, ClientKey, Locality, LocalityKey, Step};

/// Which real a client is kept on by persistence.
#[btf_map]
pub(super) static CLIENTS: LruHashMap<ClientKey, Client, 1> = LruHashMap::new();

/// Which reals the connections to a destination go to (`lblc`, `lblcr`).
#[btf_map]
pub(super) static LOCALITIES: LruHashMap<LocalityKey, Locality, 1> = LruHashMap::new();

/// The real that a client is kept on.
#[inline(always)]
pub fn client(key: &ClientKey) -> Option<Client> {
    // SAFETY: copied out before any other map call.
    let client = unsafe { CLIENTS.get(key) }.copied()?;
    note(Step::Client, client.real, client.expires);
    Some(client)
}

/// Keeps a client on a real. A failed insert costs persistence, not the packet.
#[inline(always)]
pub fn remember_client(key: &ClientKey, client: &Client) {
    if note(Step::RecordClient, client.real, client.expires) {
        let _ = CLIENTS.insert(key, client, 0);
    }
}

/// Reads where the connections to a destination go, if that is known. In place: the stack is small.
#[inline(always)]
pub fn read_locality(key: &LocalityKey, locality: &mut Locality) {
    // SAFETY: copied out before any other map call.
    if let Some(known) = unsafe { LOCALITIES.get(key) } {
        *locality = *known;
        note(Step::Locality, locality.reals[0], locality.reals[1]);
    }
}

/// Records where the connections to a destination go. A failed insert costs locality, not the packet.
#[inline(always)]
pub fn remember_locality(key: &LocalityKey, locality: &Locality) {
    if note(Step::RecordLocality, locality.reals[0], locality.reals[1]) {
        let _ = LOCALITIES.insert(key, locality, 0);
    }
}
