// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets of probes by path, over the data plane's path.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use lb_common::{ids::RealId, schema::Method};
use lb_dataplane::probe_path::{Place, ProbePath, ProbeProtocol, SnatSource, Target};
use lb_health::path::{PathSockets, PathTarget, PingSocket};
use socket2::Socket;

use lb_model::failure::chain;

/// Source of the probes of a real by path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// The real has a next hop.
    Known {
        /// Address from which probes are sent to the VIP.
        address: IpAddr,
        /// Index in `SNAT_ADDRESSES` and address, for `fnat`.
        snat: (u16, IpAddr),
    },
    /// The real has no next hop, for this reason.
    Unreachable(String),
}

impl Source {
    const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Known { address, .. } => Some(*address),
            Self::Unreachable(_) => None,
        }
    }
}

/// Sources by id of the real, which the director publishes for the thread of the path.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(Arc<RwLock<Published>>);

#[derive(Debug, Default)]
struct Published {
    by_real: Arc<BTreeMap<RealId, Source>>,
    /// Number of the publication.
    number: u64,
}

impl Sources {
    /// Publishes the sources of all reals.
    pub(super) fn publish(&self, by_real: BTreeMap<RealId, Source>) {
        let mut published = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if *published.by_real != by_real {
            *published = Published { by_real: Arc::new(by_real), number: published.number + 1 };
        }
    }

    /// Adds the source of a real that no check has yet.
    pub(super) fn add(&self, real: RealId, source: Source) {
        let mut by_real = (*self.read().0).clone();
        by_real.entry(real).or_insert(source);
        self.publish(by_real);
    }

    /// Returns the addresses from which probes are sent.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.read().0.values().filter_map(Source::address).collect()
    }

    pub(super) fn read(&self) -> (Arc<BTreeMap<RealId, Source>>, u64) {
        let published = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&published.by_real), published.number)
    }
}

/// Sockets by path, on the thread of the path.
pub(super) struct PathProber {
    path: ProbePath,
    sources: Sources,
    by_real: Arc<BTreeMap<RealId, Source>>,
    number: u64,
    /// The place of each id and protocol. Places of removed reals, and those that an id had before, give their ports
    /// back.
    places: BTreeMap<(RealId, ProbeProtocol), Place>,
    /// An address that the path had is gone.
    is_lost: bool,
}

impl PathProber {
    pub(super) fn new(path: ProbePath, sources: Sources) -> Self {
        Self { path, sources, by_real: Arc::default(), number: 0, places: BTreeMap::new(), is_lost: false }
    }

    /// Takes over newly published sources.
    fn refresh(&mut self) {
        let (by_real, number) = self.sources.read();
        if number == self.number {
            return;
        }
        let addresses: BTreeSet<IpAddr> = by_real.values().filter_map(Source::address).collect();
        if let Err(error) = self.path.replace_sources(addresses) {
            tracing::warn!(error = chain(&error), "the addresses of probes by path cannot be changed");
            return;
        }
        self.places.retain(|(real, _), _| by_real.contains_key(real));
        let living: HashSet<&Place> = self.places.values().collect();
        self.path.retain(|place| living.contains(place));
        (self.by_real, self.number) = (by_real, number);
    }

    fn open(&mut self, target: &PathTarget, protocol: ProbeProtocol) -> io::Result<Socket> {
        self.refresh();
        let real_id = RealId(target.real_id);
        let (source, (index, address)) = match self.by_real.get(&real_id) {
            Some(Source::Known { address, snat }) => (*address, *snat),
            Some(Source::Unreachable(why)) => {
                return Err(io::Error::new(io::ErrorKind::HostUnreachable, why.clone()));
            }
            None => {
                let why = format!("the next hop of {} is not known yet", target.real.ip());
                return Err(io::Error::new(io::ErrorKind::NotConnected, why));
            }
        };
        let method = target.forward.method();
        let snat = (method == Method::Fnat).then_some(SnatSource { index, address });
        let place = Place { protocol, vip: target.vip, real: target.real, method, source, snat };
        // The id may have belonged to another real, or this one may have had another source.
        if let Some(before) = self.places.insert((real_id, protocol), place)
            && before != place
            && !self.places.values().any(|other| *other == before)
        {
            self.path.forget(&before);
        }
        let socket = self.path.socket(&Target { place, id: real_id });
        // The path got the address in `refresh`: it was removed from outside, perhaps with the veth pair.
        self.is_lost |= socket.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable);
        socket.map(Socket::from)
    }
}

impl PathSockets for PathProber {
    fn tcp(&mut self, target: &PathTarget) -> io::Result<Socket> {
        self.open(target, ProbeProtocol::Tcp)
    }

    fn udp(&mut self, target: &PathTarget) -> io::Result<Socket> {
        self.open(target, ProbeProtocol::Udp)
    }

    fn ping(&mut self, target: &PathTarget) -> io::Result<PingSocket> {
        Ok(PingSocket { socket: self.open(target, ProbeProtocol::Echo)?, identifier: None })
    }

    fn canary(&mut self) -> Option<io::Result<(Socket, SocketAddr)>> {
        Some(self.path.canary().map(|(socket, address)| (Socket::from(socket), address)))
    }

    fn is_lost(&self) -> bool {
        self.is_lost
    }

    fn release(&mut self, _target: &PathTarget, _local: SocketAddr, _is_ping: bool) {
        // The path uses the two ports of a place in turn.
    }
}
