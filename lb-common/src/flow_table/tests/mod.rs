// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Tests of the flow table: its arithmetic, one CPU against a map, and two threads with a sweeper.

mod arithmetic;
mod controls;
mod growth;
mod model;
mod stress;
mod table;

use super::{Mixing, Narrow};
use crate::wire::{Be16, Be32};

/// A mixing of fixed "random" numbers.
const MIXING: Mixing = Mixing::new([0x0123_4567_89ab_cdef, 0xb492_b66f_be98_f273, 0x9ae1_6a3b_2f90_404f]);

/// Returns the key of a client by number.
fn narrow(number: u32) -> Narrow {
    Narrow::new(&MIXING, Be32(number / 7), Be16((number % 50_021) as u16), (number % 3) as u16)
}
