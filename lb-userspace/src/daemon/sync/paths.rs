// SPDX-License-Identifier: MIT OR Apache-2.0
//! Return paths to clients of announced flows whose reals reply through the director. A director learns them from the
//! clients' packets; before the first packet of an announced flow, the route to the client is the best guess.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lb_common::{
    ids::IfIndex,
    schema::ReturnPath,
    wire::{Be128, MacPair, Tags},
};
use lb_control::neighbours::{Neighbours, NextHop, Unresolved};
use tokio::time::sleep;

use super::super::Shared;

/// Clients whose paths are looked up at a time.
const AT_ONCE: usize = 256;
/// Clients that wait for a look-up or were looked up lately, at most.
const MOST: usize = 1 << 16;
/// Time for which a path that was looked up counts.
const VALID: Duration = Duration::from_mins(5);
/// Time for an answer of a neighbour that was not known.
const ANSWER: Duration = Duration::from_millis(300);

/// The clients whose paths are needed.
#[derive(Clone, Default)]
pub(super) struct Paths(Arc<Mutex<Needed>>);

#[derive(Default)]
struct Needed {
    clients: BTreeSet<IpAddr>,
    /// Time of the look-up of each client, and the path that was found.
    known: HashMap<IpAddr, (Instant, Option<ReturnPath>)>,
    is_running: bool,
}

impl Paths {
    /// Looks up the paths to clients, unless that was done lately. Clients beyond a bound are left to their own packets.
    pub(super) fn need(&self, shared: &Shared, clients: HashSet<Be128>) {
        if clients.is_empty() {
            return;
        }
        let mut needed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for client in clients.into_iter().map(IpAddr::from) {
            if needed.clients.len() + needed.known.len() >= MOST {
                needed.known.retain(|_, (at, _)| at.elapsed() < VALID);
                if needed.clients.len() + needed.known.len() >= MOST {
                    break;
                }
            }
            if needed.known.get(&client).is_none_or(|(at, _)| at.elapsed() >= VALID) {
                needed.clients.insert(client);
            }
        }
        if !needed.clients.is_empty() && !std::mem::replace(&mut needed.is_running, true) {
            tokio::spawn(look_up(shared.clone(), self.clone()));
        }
    }

    /// Returns the next clients; none ends the task.
    fn next(&self) -> BTreeSet<IpAddr> {
        let mut needed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next: BTreeSet<IpAddr> = needed.clients.iter().take(AT_ONCE).copied().collect();
        for client in &next {
            needed.clients.remove(client);
            let before = needed.known.get(client).and_then(|(_, path)| *path);
            needed.known.insert(*client, (now, before));
        }
        needed.is_running = !next.is_empty();
        next
    }

    /// Notes the path to a client, and returns the path that was found before.
    fn note(&self, client: IpAddr, path: ReturnPath) -> Option<ReturnPath> {
        let mut needed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        needed.known.get_mut(&client).and_then(|(_, known)| known.replace(path))
    }
}

/// Looks up the paths to all clients that need one.
async fn look_up(shared: Shared, paths: Paths) {
    let mut neighbours = Neighbours::new(shared.lock().await.netlink().clone());
    loop {
        let clients = paths.next();
        if clients.is_empty() {
            return;
        }
        let mut found = neighbours.look(&clients).await;
        let is_asking = |hop: &Result<NextHop, Unresolved>| matches!(hop, Err(Unresolved::Asking { .. }));
        let asking: BTreeSet<IpAddr> =
            found.iter().filter(|(_, hop)| is_asking(hop)).map(|(client, _)| *client).collect();
        if !asking.is_empty() {
            sleep(ANSWER).await;
            found.extend(neighbours.look(&asking).await);
        }
        // The neighbour entries are not kept alive: the first packet of a client shows its path.
        neighbours.release_all().await;
        let known = found.iter().filter_map(|(client, hop)| {
            let path = path(hop.as_ref().ok()?);
            Some(((*client).into(), path, paths.note(*client, path)))
        });
        let known: Vec<(Be128, ReturnPath, Option<ReturnPath>)> = known.collect();
        if let Err(failure) = shared.lock().await.put_return_paths(&known) {
            tracing::warn!("return paths of announced connections: {}", failure.message);
        }
    }
}

fn path(hop: &NextHop) -> ReturnPath {
    ReturnPath {
        ifindex: IfIndex(hop.ifindex),
        to_client: MacPair::new(hop.next_hop_mac, hop.source_mac),
        tags: Tags(hop.tags),
    }
}
