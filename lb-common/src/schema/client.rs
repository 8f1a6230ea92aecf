// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Persistence: which real a client is kept on.

use super::{Service, layout};
use crate::wire::Be128;

/// Key of `CLIENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientKey {
    /// The CIP, as far as the service's [`super::Service::prefix`] covers it.
    pub address: Be128,
    /// Id of the service.
    pub service: u32,
    /// Zero.
    pub reserved: u32,
}
layout!(ClientKey, size: 24, align: 8);

impl ClientKey {
    /// The key of whoever sends from that address to a service.
    #[inline(always)]
    #[must_use]
    pub const fn new(service: &Service, client: Be128) -> Self {
        Self { address: client.masked(service.prefix), service: service.id, reserved: 0 }
    }
}

/// Value of `CLIENTS`, a least-recently-used table, written by the programs: what IPVS calls a template.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// The real that the client's new connections go to.
    pub real: u32,
    /// The tick at which that ends: the service's time after the last new connection, and a minute after the last
    /// sign of any connection, as in IPVS (`ip_vs_conn_expire` keeps a template that controls connections).
    pub expires: u32,
}
layout!(Client, size: 8, align: 4);
