// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health probes on the forwarding path of clients.
//!
//! A thread of the daemon moves into a network namespace of its own, and makes ordinary sockets there. The
//! namespace has the director's addresses, but no VIP, so that `connect(VIP)` leaves it, and its only way out
//! is a veth pair. At the director's end of the pair, the program `director_probe` takes the real of a probe
//! from `PROBES`, by the probe's 5-tuple, and forwards the probe as it would forward a client's packet. The
//! director's programs return replies by `PROBE_REPLIES`.
//!
//! ```text
//!  prober's namespace │ director's namespace
//!   socket ── xvsp ───┼── xvsp0 ── director_probe ──▶ eth0 ──▶ real
//!          ◀──────────┼─────────── director ◀──────── eth0 ◀── real
//! ```
//!
//! ```text
//! std::thread::spawn(move || {
//!     let program = ProbeProgram::load(&options)?;               // as the daemon loads its own programs
//!     let mut path = ProbePath::create(program, path_options)?;  // needs CAP_SYS_ADMIN
//!     privileges::keep_only(privileges::DAEMON)?;                // each thread has capabilities of its own
//!     runtime.block_on(async { TcpStream::from(path.socket(&target)?) … })
//! });
//! ```
//!
//! What the daemon writes to `REALS` holds for probes too: a new next hop, MTU or weight needs no call here. A real
//! with another id is another [`Target`] of the same [`Place`]; another method, port or SNAT address is another place.
//!
//! The namespace has no name: it ends with the thread, the sockets and [`ProbePath`], and the veth pair ends with it.

mod canary; //    the probe of the prober to itself
mod namespace; // the network namespace, and the veth pair
mod offload; //   offloads of the prober's interface
mod ports; //     allotment of ports
mod program; //   the program and its maps
mod socket; //    sockets
mod target; //    places of reals, and keys of packets

use std::{
    collections::{BTreeSet, HashMap},
    io,
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    os::fd::OwnedFd,
    panic::resume_unwind,
    thread,
};

use aya::programs::ProgramError;
use lb_common::{
    ids::{IfIndex, RealId},
    wire::MacPair,
};
use lb_model::failure::{Failure, chain};
use lb_netlink::{Interface, NetlinkError};
use thiserror::Error;

use super::TableError;
use canary::Canary;
use ports::{PER_PLACE, Ports};
pub use program::ProbeProgram;
pub use target::{Place, ProbeProtocol, SnatSource, Target};

/// Default ports of probers: outside the ports of the kernel's own connections (`ip_local_port_range`) and
/// of `fnat`.
pub const DEFAULT_PORTS: RangeInclusive<u16> = 61_000..=65_535;

/// Options of a path.
#[derive(Clone, Debug)]
pub struct PathOptions {
    /// Ports of the probers. No flow of `fnat` and no connection of the host may have one of them.
    pub ports: RangeInclusive<u16>,
    /// MTU of the interface of clients, in bytes.
    pub mtu: u32,
    /// Addresses of the director from which probes are sent.
    pub sources: BTreeSet<IpAddr>,
}

/// Reason why there is no path for probes.
#[derive(Debug, Error)]
pub enum PathError {
    /// The network namespace cannot be made or entered.
    #[error("cannot {doing}")]
    Namespace {
        /// Operation, as an infinitive.
        doing: &'static str,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The runtime for the set-up cannot be started.
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
    /// The veth pair cannot be set up.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Every name for the director's end of the veth pair is taken.
    #[error("the names xvsp0 to xvsp255 are taken")]
    NoName,
    /// The director's end of the veth pair has no Ethernet address.
    #[error("the kernel gave the veth pair no Ethernet address")]
    NoMac,
    /// The program cannot be attached.
    #[error("cannot attach the program director_probe to a veth device")]
    Attach(#[from] ProgramError),
    /// A map cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl PathError {
    /// Returns the remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Namespace { .. } => {
                "start the daemon as root, or with CAP_SYS_ADMIN: it gives the capability up after its start"
            }
            Self::Netlink(_) => "the kernel needs CONFIG_VETH and CONFIG_NET_NS",
            Self::NoName => {
                "`ip link show type veth` lists them; delete those of no daemon with `ip link delete`"
            }
            Self::Runtime(_) | Self::NoMac | Self::Attach(_) | Self::Table(_) => {
                "the kernel's log (dmesg) may say more"
            }
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::failed(chain(&error)).hint(error.hint())
    }
}

/// The path of the probes: the namespace of the thread that created it, to which it belongs.
pub struct ProbePath {
    program: ProbeProgram,
    outer: Interface,
    inner: Interface,
    to_prober: MacPair,
    sources: BTreeSet<IpAddr>,
    ports: Ports,
    places: HashMap<Place, Open>,
    canary: Canary,
    /// Sockets belong to the namespace of the thread that opens them.
    _on_this_thread: PhantomData<*const ()>,
}

/// The ports of a place, and the entries in the maps.
struct Open {
    ports: [u16; PER_PLACE],
    /// Index of the port of the next socket.
    next: usize,
    /// Id of the real in `PROBES`.
    id: RealId,
}

impl ProbePath {
    /// Moves the calling thread into a new network namespace, and connects it with the director. The thread
    /// must be a fresh one, outside any runtime, and stays in the namespace for its life: a runtime that it
    /// starts afterwards makes its sockets there.
    ///
    /// Needs `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and `CAP_BPF`. The thread may then give up `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    /// [`PathError`]; then the thread must end, and nothing is left.
    pub fn create(mut program: ProbeProgram, options: PathOptions) -> Result<Self, PathError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(PathError::Runtime)?;
        let PathOptions { ports, mtu, sources } = options;
        let pair = runtime.block_on(async {
            let pair = namespace::create(mtu, |outer| program.attach(outer)).await?;
            namespace::readdress(&pair.inner, &BTreeSet::new(), &sources).await?;
            Ok::<_, PathError>(pair)
        })?;
        let namespace::Pair { outer, inner } = pair;
        let (Some(from), Some(to)) = (outer.mac, inner.mac) else { return Err(PathError::NoMac) };
        let (canary, to_prober) = (Canary::new(*ports.start()), MacPair::new(to, from));
        canary.write(&mut program, IfIndex(outer.index), to_prober)?;
        Ok(Self {
            program,
            outer,
            inner,
            to_prober,
            sources,
            ports: Ports::new(ports),
            places: HashMap::new(),
            canary,
            _on_this_thread: PhantomData,
        })
    }

    /// Returns the director's end of the veth pair, as it was at the start.
    #[must_use]
    pub fn outer(&self) -> &Interface {
        &self.outer
    }

    /// Replaces the addresses from which probes are sent. Sockets of removed addresses get no more packets.
    /// Must run on the thread of the path.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses; then the call can be repeated.
    pub async fn set_sources(&mut self, sources: BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
        namespace::readdress(&self.inner, &self.sources, &sources).await?;
        self.sources = sources;
        Ok(())
    }

    /// Replaces the addresses from which probes are sent, as [`Self::set_sources`], and waits for that. May run
    /// within a runtime.
    ///
    /// # Errors
    /// As [`Self::set_sources`], or if no thread can be made.
    pub fn replace_sources(&mut self, sources: BTreeSet<IpAddr>) -> Result<(), PathError> {
        if sources == self.sources {
            return Ok(());
        }
        let (inner, old, new) = (&self.inner, &self.sources, &sources);
        // A new thread is in the namespace of the thread that makes it.
        thread::scope(|scope| {
            let readdress = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                let runtime = runtime.map_err(PathError::Runtime)?;
                Ok::<_, PathError>(runtime.block_on(namespace::readdress(inner, old, new))?)
            };
            let thread = thread::Builder::new().spawn_scoped(scope, readdress).map_err(PathError::Runtime)?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        self.sources = sources;
        Ok(())
    }

    /// Opens a nonblocking socket whose packets to the VIP of the target go to the target's real. It is bound,
    /// and not connected. Each place has two ports, which its sockets use in turn.
    ///
    /// # Errors
    /// - [`io::ErrorKind::InvalidInput`] if no probe can reach the place;
    /// - [`io::ErrorKind::QuotaExceeded`] if too few ports are free for it;
    /// - [`io::ErrorKind::AddrInUse`] if both ports of the place have open sockets;
    /// - [`io::ErrorKind::AddrNotAvailable`] if the path lacks the source address;
    /// - another error if the kernel refuses.
    pub fn socket(&mut self, target: &Target) -> io::Result<OwnedFd> {
        let port = self.next_port(target)?;
        match socket::open(&target.place, port) {
            // Another check of the real, or an operator's probe, has the port: the other one may be free.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let port = self.next_port(target)?;
                socket::open(&target.place, port)
            }
            result => result,
        }
    }

    /// Opens a nonblocking UDP socket, and returns an address to connect it to: the director's end of the path returns
    /// each datagram. If none comes back, no result of a probe means anything. One such socket can be open at a time.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn canary(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        self.canary.socket()
    }

    /// Returns the port of the target's next probe, after writing the entries that it needs.
    fn next_port(&mut self, target: &Target) -> io::Result<u16> {
        let Target { place, id } = target;
        if !self.places.contains_key(place) {
            self.allot(place, *id)?;
        }
        let Some(open) = self.places.get_mut(place) else { return Err(io::ErrorKind::NotFound.into()) };
        if open.id != *id {
            for port in open.ports {
                self.program
                    .put_probe(&place.probe_key(port), place.probe(*id, port))
                    .map_err(program::as_io)?;
            }
            open.id = *id;
        }
        open.next = (open.next + 1) % PER_PLACE;
        Ok(open.ports[open.next])
    }

    /// Gives a place its ports, and writes its entries.
    fn allot(&mut self, place: &Place, id: RealId) -> io::Result<()> {
        if let Some(fault) = place.fault() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, fault));
        }
        let ports = self.ports.allot(place).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("no two ports for probes of {} are free", place.vip),
            )
        })?;
        if let Err(error) = self.write(place, id, ports) {
            self.delete(place, ports);
            return Err(program::as_io(error));
        }
        self.places.insert(*place, Open { ports, next: 0, id });
        Ok(())
    }

    fn write(&mut self, place: &Place, id: RealId, ports: [u16; PER_PLACE]) -> Result<(), TableError> {
        for port in ports {
            let reply = place.reply(port, IfIndex(self.outer.index), self.to_prober);
            self.program.put_reply(&place.reply_key(port), reply)?;
            self.program.put_probe(&place.probe_key(port), place.probe(id, port))?;
        }
        Ok(())
    }

    /// Removes the entries of a place, and frees its ports. Its open sockets get no more packets.
    pub fn forget(&mut self, place: &Place) {
        if let Some(open) = self.places.remove(place) {
            self.delete(place, open.ports);
        }
    }

    /// Forgets every place but those for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Place) -> bool) {
        let gone: Vec<Place> = self.places.keys().filter(|place| !keep(place)).copied().collect();
        for place in gone {
            self.forget(&place);
        }
    }

    fn delete(&mut self, place: &Place, ports: [u16; PER_PLACE]) {
        for port in ports {
            if let Err(error) = self.program.remove(&place.probe_key(port), &place.reply_key(port)) {
                tracing::warn!(error = chain(&error), vip = %place.vip, "cannot remove the entries of a probe");
            }
            self.ports.release(place, port);
        }
    }
}

impl Drop for ProbePath {
    fn drop(&mut self) {
        self.retain(|_| false);
        if let Err(error) = self.canary.remove(&mut self.program) {
            tracing::warn!(error = chain(&error), "cannot remove the entries of the canary");
        }
    }
}
