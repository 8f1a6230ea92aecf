// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Persistence: the real on which a client is kept.

use super::{Service, layout};
use crate::{
    ids::{RealId, ServiceId},
    ticks::Tick,
    wire::Be128,
};

/// Key of `CLIENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientKey {
    /// The CIP, masked to the service's [`super::Service::prefix`].
    pub address: Be128,
    /// Id of the service.
    pub service: ServiceId,
    /// Zero.
    pub reserved: u32,
}
layout!(ClientKey, size: 24, align: 8);

impl ClientKey {
    /// Returns the key of a client of a service.
    #[inline(always)]
    #[must_use]
    pub const fn new(service: &Service, client: Be128) -> Self {
        Self { address: client.masked(service.prefix as u32), service: service.id, reserved: 0 }
    }
}

/// Value of `CLIENTS`, a least-recently-used table that the programs write: a template in IPVS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// Id of the real for the client's new connections.
    pub real: RealId,
    /// Tick at which the persistence ends: the service's timeout after the last new connection, and at least
    /// a minute after the last packet of any connection, as in IPVS (`ip_vs_conn_expire` keeps a template
    /// that controls connections).
    pub expires: Tick,
}
layout!(Client, size: 8, align: 4);
