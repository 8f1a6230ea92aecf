// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Where the connections to a destination go, for lblc and lblcr.

use super::layout;
use crate::{schedule::lblcr::LARGEST_SET, wire::Be128};

/// Key of `LOCALITIES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LocalityKey {
    /// The address that the client sends to.
    pub destination: Be128,
    /// Id of the service.
    pub service: u32,
    /// Zero.
    pub reserved: u32,
}
layout!(LocalityKey, size: 24, align: 8);

/// Value of `LOCALITIES`, a least-recently-used table, written by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Locality {
    /// Ids of the reals, the first ones in use, then [`super::UNSET`]. lblc has one.
    pub reals: [u32; LARGEST_SET],
    /// The tick of the last change of the set.
    pub changed: u32,
}
layout!(Locality, size: 36, align: 4);
