// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams of clients over TCP, by client: none of them can take the places of all others, nor those of processes on
//! this host.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::STREAMS;
use lb_model::failure::Failure;

/// Maximum number of streams of one client.
const OF_ONE: usize = 16;
/// Maximum number of streams of all clients; the others are for processes on this host.
const OF_ALL: usize = 24;
const _: () = assert!(OF_ONE < OF_ALL && OF_ALL < STREAMS);

/// Numbers of streams by client.
#[derive(Clone, Default)]
pub(super) struct Clients(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// The place of a stream; it becomes free when it is dropped.
pub(super) struct ClientPlace {
    clients: Clients,
    client: IpAddr,
}

impl Clients {
    /// Returns a place for a stream of the client at this address.
    ///
    /// # Errors
    /// If the client, or all clients together, have as many as they may.
    pub(super) fn enter(&self, address: IpAddr) -> Result<ClientPlace, Failure> {
        let client = host(address);
        let mut streams = self.streams();
        let all: usize = streams.values().sum();
        let own = streams.entry(client).or_default();
        if *own >= OF_ONE {
            return Err(Failure::failed(format!(
                "{OF_ONE} live views are open from {client}, and more are refused"
            ))
            .hint("close a page, and try again; clients behind a proxy or NAT count as one"));
        }
        if all >= OF_ALL {
            return Err(Failure::failed(format!(
                "{OF_ALL} live views are open over TCP, and more are refused"
            ))
            .hint("close a page, or use `xvs top` on the director"));
        }
        *own += 1;
        Ok(ClientPlace { clients: self.clone(), client })
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut streams = self.clients.streams();
        let Some(own) = streams.get_mut(&self.client) else { return };
        *own -= 1;
        if *own == 0 {
            streams.remove(&self.client);
        }
    }
}

/// Returns what stands for a client: its IPv4 address, or its IPv6 network, within which it may choose its address.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(clients: &Clients, address: &str) -> Result<ClientPlace, String> {
        clients.enter(address.parse().unwrap()).map_err(|failure| failure.message)
    }

    #[test]
    fn one_client_leaves_places_for_others_and_all_leave_some_for_the_host() {
        let clients = Clients::default();
        let mut places: Vec<_> =
            (0..OF_ONE).map(|last| enter(&clients, &format!("fd00::{last:x}")).unwrap()).collect();
        let refused = enter(&clients, "fd00::ffff").err().unwrap();
        assert!(refused.starts_with("16 live views are open from fd00::,"), "{refused}");
        places.extend((OF_ONE..OF_ALL).map(|_| enter(&clients, "::ffff:192.0.2.1").unwrap()));
        let refused = enter(&clients, "192.0.2.2").err().unwrap();
        assert!(refused.starts_with("24 live views are open over TCP"), "{refused}");
        places.pop();
        places.push(enter(&clients, "192.0.2.2").unwrap());
        drop(places);
        assert!(clients.streams().values().all(|own| *own == 0));
    }
}
