// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's IPVS, by the generic netlink family `IPVS` (`include/uapi/linux/ip_vs.h`): services, destinations,
//! timeouts, and the daemons that synchronize connections.

mod attributes; //  attributes of messages
mod daemon; //      daemons that synchronize connections
mod destination; // destinations
mod message; //     messages with unparsed attributes
mod service; //     services
#[cfg(test)]
mod tests;

use std::io;

use futures_util::StreamExt as _;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_generic::{GenlHeader, GenlMessage};
use nix::libc;
use rtnetlink::{
    proto::{ConnectionHandle, new_connection},
    sys::{SocketAddr as Destined, protocols::NETLINK_GENERIC},
};

use super::NetlinkError;
use attributes::Attributes;
use message::Payload;

pub use attributes::Malformed;
pub use daemon::{Role, SyncDaemon};
pub use destination::{Checksum, Connections, Destination, Encapsulation, Method};
pub use service::{Key, Service};

/// Number of the family that resolves the names of others (`GENL_ID_CTRL`).
const CONTROL: u16 = 16;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME`.
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Commands (`IPVS_CMD_*`).
mod command {
    pub(super) const GET_SERVICE: u8 = 4;
    pub(super) const GET_DESTINATION: u8 = 8;
    pub(super) const NEW_DAEMON: u8 = 9;
    pub(super) const DEL_DAEMON: u8 = 10;
    pub(super) const GET_DAEMON: u8 = 11;
    pub(super) const GET_CONFIG: u8 = 13;
}

/// Attributes of messages (`IPVS_CMD_ATTR_*`).
mod number {
    pub(super) const SERVICE: u16 = 1;
    pub(super) const DESTINATION: u16 = 2;
    pub(super) const DAEMON: u16 = 3;
    pub(super) const TIMEOUT_TCP: u16 = 4;
    pub(super) const TIMEOUT_TCP_FIN: u16 = 5;
    pub(super) const TIMEOUT_UDP: u16 = 6;
}

/// Timeouts of IPVS, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Of established TCP connections.
    pub tcp: u32,
    /// Of closing TCP connections.
    pub tcp_fin: u32,
    /// Of UDP.
    pub udp: u32,
}

/// A service and its destinations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Service.
    pub service: Service,
    /// Destinations, in the kernel's order.
    pub destinations: Vec<Destination>,
}

/// Services and timeouts of IPVS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Services, in the kernel's order.
    pub services: Vec<Rules>,
    /// Timeouts.
    pub timeouts: Timeouts,
}

/// A connection to IPVS in one network namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ipvs {
    handle: ConnectionHandle<GenlMessage<Payload>>,
    /// Number of the family.
    family: u16,
}

impl Ipvs {
    /// Connects to IPVS in the network namespace of the calling thread. The kernel loads its module, if it can. Needs
    /// a tokio runtime.
    ///
    /// # Errors
    /// [`NetlinkError::Unsupported`] if the kernel has no IPVS.
    pub async fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = new_connection(NETLINK_GENERIC).map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        let mut ipvs = Self { handle, family: CONTROL };
        let doing = "find IPVS in this kernel";
        let name = [attributes::text(FAMILY_NAME, "IPVS")];
        let answers = ipvs.ask(doing, GET_FAMILY, NLM_F_ACK, &name).await.map_err(|error| match error {
            NetlinkError::Refused { doing, reason } if reason.raw_os_error() == Some(libc::ENOENT) => {
                NetlinkError::Unsupported { doing }
            }
            other => other,
        })?;
        let answer = answers.first().ok_or_else(|| broken(doing, "no answer"))?;
        let found = Attributes::read("a family", answer).and_then(|family| family.short(FAMILY_ID));
        ipvs.family = found.map_err(|error| broken(doing, error))?;
        Ok(ipvs)
    }

    /// Returns all services, their destinations, and the timeouts.
    ///
    /// # Errors
    /// If the kernel refuses, or an answer is malformed.
    pub async fn table(&self) -> Result<Table, NetlinkError> {
        let mut services = Vec::new();
        for service in self.services().await? {
            let destinations = self.destinations(&service.key).await?;
            services.push(Rules {
                destinations: destinations.into_iter().map(|(one, _)| one).collect(),
                service,
            });
        }
        Ok(Table { services, timeouts: self.timeouts().await? })
    }

    /// Returns all services.
    ///
    /// # Errors
    /// If the kernel refuses, or an answer is malformed.
    pub async fn services(&self) -> Result<Vec<Service>, NetlinkError> {
        let doing = "list the services of IPVS";
        let answers = self.ask(doing, command::GET_SERVICE, NLM_F_DUMP, &[]).await?;
        answers.iter().map(|answer| parse_service(answer).map_err(|error| broken(doing, error))).collect()
    }

    /// Returns the destinations of a service; none if there is no such service.
    ///
    /// # Errors
    /// If the kernel refuses, or an answer is malformed.
    pub async fn destinations(&self, service: &Key) -> Result<Vec<(Destination, Connections)>, NetlinkError> {
        let doing = "list the destinations of IPVS";
        let request = [attributes::nested(number::SERVICE, &service.attributes())];
        let answers = self.ask(doing, command::GET_DESTINATION, NLM_F_DUMP, &request).await?;
        let parse =
            |answer: &Vec<u8>| parse_destination(answer, service).map_err(|error| broken(doing, error));
        answers.iter().map(parse).collect()
    }

    /// Returns the timeouts.
    ///
    /// # Errors
    /// If the kernel refuses, or an answer is malformed.
    pub async fn timeouts(&self) -> Result<Timeouts, NetlinkError> {
        let doing = "read the timeouts of IPVS";
        let answers = self.ask(doing, command::GET_CONFIG, NLM_F_ACK, &[]).await?;
        let answer = answers.first().ok_or_else(|| broken(doing, "no answer"))?;
        parse_timeouts(answer).map_err(|error| broken(doing, error))
    }

    /// Returns the daemons that synchronize connections.
    ///
    /// # Errors
    /// If the kernel refuses, or an answer is malformed.
    pub async fn daemons(&self) -> Result<Vec<SyncDaemon>, NetlinkError> {
        let doing = "list the synchronization daemons of IPVS";
        let answers = self.ask(doing, command::GET_DAEMON, NLM_F_DUMP, &[]).await?;
        answers.iter().map(|answer| parse_daemon(answer).map_err(|error| broken(doing, error))).collect()
    }

    /// Starts a daemon that synchronizes connections.
    ///
    /// # Errors
    /// If the kernel refuses: `EEXIST` if one of this role runs, `ENODEV` without the interface.
    pub async fn start_daemon(&self, daemon: &SyncDaemon) -> Result<(), NetlinkError> {
        let request = [attributes::nested(number::DAEMON, &daemon.attributes())];
        self.ask("start a synchronization daemon of IPVS", command::NEW_DAEMON, NLM_F_ACK, &request)
            .await
            .map(drop)
    }

    /// Stops the daemon of this role.
    ///
    /// # Errors
    /// If the kernel refuses: `ESRCH` if none runs.
    pub async fn stop_daemon(&self, role: Role) -> Result<(), NetlinkError> {
        let request = [attributes::nested(number::DAEMON, &role.attributes())];
        self.ask("stop a synchronization daemon of IPVS", command::DEL_DAEMON, NLM_F_ACK, &request)
            .await
            .map(drop)
    }

    /// Sends a request and returns the attributes of each answer.
    async fn ask(
        &self,
        doing: &str,
        command: u8,
        flags: u16,
        request: &[DefaultNla],
    ) -> Result<Vec<Vec<u8>>, NetlinkError> {
        let payload = Payload { command, version: 1, attributes: attributes::bytes(request) };
        let header = GenlHeader { cmd: command, version: payload.version };
        let message = GenlMessage::new(header, payload, self.family);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let answers = self.handle.request(message, Destined::new(0, 0));
        let mut answers = answers.map_err(|error| broken(doing, error))?;
        let mut found = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => found.push(message.payload.attributes),
                NetlinkPayload::Error(error) => {
                    if let Some(code) = error.code {
                        return Err(refused(doing, code.get().abs()));
                    }
                }
                NetlinkPayload::Overrun(_) => return Err(broken(doing, "the socket's buffer overflowed")),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Classifies an errno of the kernel.
fn refused(doing: &str, errno: i32) -> NetlinkError {
    let doing = doing.to_owned();
    match errno {
        libc::EPERM => NetlinkError::NotPermitted { doing },
        libc::EOPNOTSUPP => NetlinkError::Unsupported { doing },
        errno => NetlinkError::Refused { doing, reason: io::Error::from_raw_os_error(errno) },
    }
}

fn broken(doing: &str, detail: impl std::fmt::Display) -> NetlinkError {
    NetlinkError::Broken { doing: doing.to_owned(), detail: detail.to_string() }
}

/// Name of messages in error messages.
const MESSAGE: &str = "a message of IPVS";

/// Returns the service in a message.
fn parse_service(message: &[u8]) -> Result<Service, Malformed> {
    let service = Attributes::read(MESSAGE, message)?.nested(number::SERVICE, service::SERVICE)?;
    Service::of(&service.ok_or(Malformed::Attribute { of: MESSAGE, number: number::SERVICE })?)
}

/// Returns the destination in a message about a service.
fn parse_destination(message: &[u8], service: &Key) -> Result<(Destination, Connections), Malformed> {
    let found = Attributes::read(MESSAGE, message)?.nested(number::DESTINATION, destination::DESTINATION)?;
    let found = found.ok_or(Malformed::Attribute { of: MESSAGE, number: number::DESTINATION })?;
    Destination::of(&found, service.family())
}

/// Returns the daemon in a message.
fn parse_daemon(message: &[u8]) -> Result<SyncDaemon, Malformed> {
    let found = Attributes::read(MESSAGE, message)?.nested(number::DAEMON, "a daemon of IPVS")?;
    SyncDaemon::of(&found.ok_or(Malformed::Attribute { of: MESSAGE, number: number::DAEMON })?)
}

/// Returns the timeouts in a message.
fn parse_timeouts(message: &[u8]) -> Result<Timeouts, Malformed> {
    let message = Attributes::read(MESSAGE, message)?;
    Ok(Timeouts {
        tcp: message.word(number::TIMEOUT_TCP)?,
        tcp_fin: message.word(number::TIMEOUT_TCP_FIN)?,
        udp: message.word(number::TIMEOUT_UDP)?,
    })
}
