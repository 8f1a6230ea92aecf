// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The reals of a destination, for `lblc` and `lblcr`.

use super::layout;
use crate::{
    ids::{RealId, ServiceId},
    schedule::lblcr::LARGEST_SET,
    ticks::Tick,
    wire::Be128,
};

/// Key of `LOCALITIES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LocalityKey {
    /// The address to which the client sends.
    pub destination: Be128,
    /// Id of the service.
    pub service: ServiceId,
    /// Zero.
    pub reserved: u32,
}
layout!(LocalityKey, size: 24, align: 8);

/// Value of `LOCALITIES`, a least-recently-used table, written by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Locality {
    /// Ids of the reals: the used entries first, then [`RealId::NONE`]. `lblc` uses one entry.
    pub reals: [RealId; LARGEST_SET],
    /// Tick of the last change of the set.
    pub changed: Tick,
}
layout!(Locality, size: 36, align: 4);
