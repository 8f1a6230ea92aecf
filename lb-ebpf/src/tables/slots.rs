// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Slot tables of the schedulers.

use super::{
    atomic::fetch_add,
    settings::{SETTINGS, mode},
    trace::{TRACE, note},
};
use aya_ebpf::{btf_maps::Array, helpers::bpf_get_prandom_u32, macros::btf_map};
use lb_common::{
    ids::ServiceId,
    packet::Ip,
    schema::{BLOCK, Block, FlowKey, Move, MoveBlock, Position, Service, Settings, Step},
};

/// Slot tables of the schedulers, in blocks: real ids.
#[btf_map]
pub(super) static TABLES: Array<Block, 2> = Array::new();

/// Moves of slots in transition, see [`lb_common::slot`], in the same blocks as `TABLES`.
#[btf_map]
pub(super) static MOVES: Array<MoveBlock, 2> = Array::new();

/// Positions of rotating schedulers, by service id.
#[btf_map]
pub(super) static POSITIONS: Array<Position, 2> = Array::new();

/// Returns the real id at an index of the table that begins with block `first`; 0 if the
/// entry is empty.
#[inline(always)]
pub fn table_entry(first: u32, index: u32) -> Option<u32> {
    let block = TABLES.get(first.wrapping_add(index / BLOCK))?;
    block.0.get((index % BLOCK) as usize).copied()
}

/// Returns the move of a slot in transition.
#[inline(always)]
pub fn slot_move(first: u32, index: u32) -> Option<Move> {
    let block = MOVES.get(first.wrapping_add(index / BLOCK))?;
    let moved = block.0.get((index % BLOCK) as usize).copied()?;
    note(Step::Move, moved.base.0, moved.since.0);
    Some(moved)
}

/// Takes the next position of a rotating scheduler.
#[inline(always)]
pub fn next_position(service: ServiceId) -> Option<u64> {
    let position = POSITIONS.get_ptr_mut(service.0)?;
    // SAFETY: a value of this map, checked for null; only its address is taken.
    let next = unsafe { &raw mut (*position).next };
    if mode().is_dry() {
        // A walk takes consecutive positions: a dry run counts in the trace those that it would have taken.
        // SAFETY: the same; and as in `begin_trace`.
        let position = unsafe {
            let turns = (&raw const TRACE.turns).read_volatile();
            (&raw mut TRACE.turns).write_volatile(turns.wrapping_add(1));
            next.read().wrapping_add(turns.into())
        };
        note(Step::Turn, position as u32, 0);
        return Some(position);
    }
    let position = fetch_add(next, 1);
    note(Step::Turn, position as u32, 0);
    Some(position)
}

/// Returns a random number.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: the helper takes no arguments and always exists.
    let random = unsafe { bpf_get_prandom_u32() };
    note(Step::Random, random, 0);
    random
}

/// Returns the slot of a flow in the table of a hashing service.
#[inline(always)]
pub fn slot_of<A: Ip>(service: &Service, key: &FlowKey<A>) -> u32 {
    lb_common::hash::slot(service, key, setting!(seed))
}
