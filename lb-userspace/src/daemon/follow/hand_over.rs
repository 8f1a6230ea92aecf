// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows of xvs, handed to the kernel: a backup daemon of IPVS takes announced connections, and this host announces its
//! own ones to itself.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use super::connections;
use lb_common::sync::{Connection, Identity, Line, MESSAGE, Writer, snapshot};
use lb_control::{
    image::{Image, endpoint},
    ipvs::{Known, Pending, connection, template},
};
use lb_dataplane::{TableError, Tables, clock};
use lb_model::{ServiceId, failure::Failure};
use lb_netlink::ipvs::{Ipvs, Role, SyncDaemon};
use socket2::{Domain, Protocol, Socket, Type};

/// Interface of the backup daemon that xvs starts: no other host hears it.
const INTERFACE: &str = "lo";
/// Whether IPVS directs nothing while a backup daemon runs.
const BACKUP_ONLY: &str = "/proc/sys/net/ipv4/vs/backup_only";
/// Messages that are sent without a pause: their memory fits the socket's receive buffer.
const BURST: usize = 32;
/// The pause after a burst, in which the kernel takes the messages.
const PAUSE: Duration = Duration::from_millis(2);
/// Time after the last message in which the kernel takes it.
const SETTLE: Duration = Duration::from_millis(20);
/// Longest time that a message may wait for the interface.
const WRITE: Duration = Duration::from_millis(200);

/// Numbers of connections and templates, by what became of them in a handover.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HandedOver {
    /// Connections and templates that the kernel has now.
    pub taken: usize,
    /// Connections and templates that the kernel did not take, or for whose announcement there was no time.
    pub missing: usize,
    /// Connections and templates that were announced, without time to look whether the kernel has them.
    pub unconfirmed: usize,
}

/// A way to announce connections to the kernel of this host.
pub struct HandOver {
    ipvs: Ipvs,
    socket: Socket,
    group: SocketAddr,
    sync_id: u8,
    /// The backup daemon is ours.
    is_ours: bool,
    /// The connections that the kernel has.
    done: HashMap<Identity, Connection>,
    /// Those that were announced, without a look whether the kernel has them.
    unsure: HashMap<Identity, Connection>,
}

impl HandOver {
    /// Starts a backup daemon of IPVS, unless one runs.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn begin(ipvs: &Ipvs) -> Result<Self, Failure> {
        let running = ipvs.daemons().await?.into_iter().find(|daemon| daemon.role == Role::Backup);
        let is_ours = running.is_none();
        let daemon = running.unwrap_or_else(|| SyncDaemon {
            role: Role::Backup,
            interface: INTERFACE.to_owned(),
            sync_id: 0,
            group: SyncDaemon::GROUP,
            port: SyncDaemon::PORT,
        });
        if is_ours {
            let backup_only = tokio::fs::read_to_string(BACKUP_ONLY).await.unwrap_or_default();
            if !matches!(backup_only.trim(), "" | "0") {
                return Err(Failure::failed(
                    "connections cannot be handed to the kernel: net.ipv4.vs.backup_only is set, with which IPVS \
                     forwards nothing meanwhile",
                )
                .hint("`sysctl -w net.ipv4.vs.backup_only=0`"));
            }
            ipvs.start_daemon(&daemon).await?;
        }
        let socket = match open(&daemon) {
            Ok(socket) => socket,
            Err(error) => {
                if is_ours {
                    ipvs.stop_daemon(Role::Backup).await?;
                }
                return Err(Failure::failed(format!(
                    "cannot announce connections to the kernel by {}: {error}",
                    daemon.interface
                )));
            }
        };
        let group = SocketAddr::new(daemon.group, daemon.port);
        Ok(Self {
            ipvs: ipvs.clone(),
            socket,
            group,
            sync_id: daemon.sync_id,
            is_ours,
            done: HashMap::new(),
            unsure: HashMap::new(),
        })
    }

    /// Announces those of the connections that the kernel does not have yet, until it has them or refuses them, for at
    /// most about the time `within`. Returns what was handed over in all.
    ///
    /// # Errors
    /// If a message cannot be sent.
    pub async fn hand_over(
        &mut self,
        mut connections: Vec<Connection>,
        within: Duration,
    ) -> Result<HandedOver, Failure> {
        let until = Instant::now() + within;
        let is_new = |announced: &HashMap<Identity, Connection>, one: &Connection| {
            announced.get(&one.identity()).is_none_or(|announced| differs(announced, one))
        };
        connections.retain(|one| is_new(&self.done, one));
        connections.sort_by_cached_key(|one| !is_new(&self.unsure, one));
        for connection in &connections {
            self.done.remove(&connection.identity());
        }
        let mut pending = Pending::new(connections);
        while !pending.is_over() && Instant::now() < until {
            let announced = self.send(pending.rest(), until).await.map_err(|error| {
                Failure::failed(format!("cannot announce connections to the kernel: {error}"))
            })?;
            pending.note_announced(announced);
            tokio::time::sleep(SETTLE).await;
            let Some(known) = known(until).await? else { break };
            for connection in pending.compare(&known) {
                self.done.insert(connection.identity(), connection);
            }
        }
        let unconfirmed = pending.unconfirmed();
        self.unsure = pending.rest()[..unconfirmed].iter().map(|one| (one.identity(), *one)).collect();
        let missing = pending.rest().len() - unconfirmed;
        Ok(HandedOver { taken: self.done.len(), missing, unconfirmed })
    }

    /// Ends the backup daemon, if it is ours.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn end(self) -> Result<(), Failure> {
        if self.is_ours {
            self.ipvs.stop_daemon(Role::Backup).await?;
        }
        Ok(())
    }

    /// Announces connections in their order until all are announced or the time is over. Returns how many were.
    async fn send(&self, connections: &[Connection], until: Instant) -> io::Result<usize> {
        let mut rest = connections;
        let mut sent = 0;
        while !rest.is_empty() && Instant::now() < until {
            let mut buffer = [0; MESSAGE];
            let Some(mut writer) = Writer::new(&mut buffer, self.sync_id, false) else { break };
            let taken = rest.iter().take_while(|connection| writer.push(connection, &[])).count();
            // A connection that fits no message cannot exist: skip it rather than send for ever.
            rest = &rest[taken.max(1)..];
            if let Some(message) = writer.finish() {
                self.socket.send_to(message, &self.group.into())?;
                sent += 1;
            }
            if sent % BURST == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(connections.len() - rest.len())
    }
}

/// Returns whether a connection has changed so much since it was announced that the kernel must know.
fn differs(before: &Connection, now: &Connection) -> bool {
    before.real != now.real || before.state != now.state
}

/// Opens a socket to the group of a daemon.
fn open(daemon: &SyncDaemon) -> io::Result<Socket> {
    let domain = if daemon.group.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(daemon.interface.as_bytes()))?;
    socket.set_write_timeout(Some(WRITE))?;
    match daemon.group {
        IpAddr::V4(_) => {
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(1)?;
            if daemon.interface == INTERFACE {
                socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
            }
        }
        IpAddr::V6(_) => {
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(1)?;
        }
    }
    Ok(socket)
}

/// Returns the connections that IPVS has; `None` if the time is over before all are read.
async fn known(until: Instant) -> Result<Option<HashMap<Identity, Known>>, Failure> {
    let (known, is_whole) = connections::read(until, HashMap::new(), |known, line| {
        if let Ok(Line::Connection { connection, .. }) = snapshot::line(line) {
            known.insert(connection.identity(), Known { real: connection.real, left: connection.timeout });
        }
    })
    .await?;
    Ok(is_whole.then_some(known))
}

/// Returns all flows and persistence entries as connections and templates of IPVS.
///
/// # Errors
/// If a map cannot be read.
pub fn collect(tables: &Tables) -> Result<Vec<Connection>, TableError> {
    let (image, timeouts, now) = (Image::read(tables)?, tables.timeouts()?, clock::now());
    let mut services = HashMap::new();
    for (key, service) in &image.services {
        if let Some(endpoint) = endpoint(key) {
            services.insert(service.id, ServiceId::Endpoint(endpoint));
        }
    }
    let mut connections = Vec::new();
    tables.for_each_flow(|key, flow| {
        let real = image.reals.get(&flow.real());
        connections.extend(real.and_then(|real| connection(key, flow, real, &timeouts, now)));
    })?;
    tables.for_each_client(|key, client| {
        if let (Some(id), Some(real)) = (services.get(&key.service), image.reals.get(&client.real)) {
            connections.extend(template(id, key, client, real, now));
        }
    })?;
    Ok(connections)
}
