// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slot tables, moves of slots, and positions of round-robin schedulers.
#![forbid(unsafe_code)]

use lb_common::{
    ids::{RealId, ServiceId},
    schema::{BLOCK, Block, MapName, Move, MoveBlock, Position},
};

use super::{TableError, Tables, failed};

impl Tables {
    /// Returns the first `slots` entries of the slot table that begins with block `first`.
    pub fn table(&self, first: u32, slots: u32) -> Result<Vec<u32>, TableError> {
        let mut table = Vec::with_capacity(slots as usize);
        for block in first..first + slots.div_ceil(BLOCK) {
            table.extend_from_slice(&self.blocks.get(&block, 0).map_err(failed("read", MapName::Tables))?.0);
        }
        table.truncate(slots as usize);
        Ok(table)
    }

    /// Returns the moves of the first `slots` entries of that table. A move is only valid if its entry is marked.
    pub fn moves(&self, first: u32, slots: u32) -> Result<Vec<Move>, TableError> {
        let mut moves = Vec::with_capacity(slots as usize);
        for block in first..first + slots.div_ceil(BLOCK) {
            moves.extend_from_slice(&self.moves.get(&block, 0).map_err(failed("read", MapName::Moves))?.0);
        }
        moves.truncate(slots as usize);
        Ok(moves)
    }

    /// Writes a slot table in place, from block `first` on.
    pub fn put_table(&mut self, first: u32, table: &[u32]) -> Result<(), TableError> {
        for (number, entries) in (first..).zip(table.chunks(BLOCK as usize)) {
            let mut block = Block([RealId::NONE.0; BLOCK as usize]);
            block.0[..entries.len()].copy_from_slice(entries);
            self.blocks.set(number, block, 0).map_err(failed("write", MapName::Tables))?;
        }
        Ok(())
    }

    /// Writes moves in place, from block `first` on.
    pub fn put_moves(&mut self, first: u32, moves: &[Move]) -> Result<(), TableError> {
        for (number, entries) in (first..).zip(moves.chunks(BLOCK as usize)) {
            #[expect(clippy::large_stack_arrays, reason = "32 KiB, once")]
            let mut block = MoveBlock([Move::default(); BLOCK as usize]);
            block.0[..entries.len()].copy_from_slice(entries);
            self.moves.set(number, block, 0).map_err(failed("write", MapName::Moves))?;
        }
        Ok(())
    }

    /// Returns the position of a service's scheduler in its table.
    pub fn position(&self, service: ServiceId) -> Result<Position, TableError> {
        self.positions.get(&service.0, 0).map_err(failed("read", MapName::Positions))
    }

    /// Sets the position of a service's scheduler in its table.
    pub fn put_position(&mut self, service: ServiceId, next: u64) -> Result<(), TableError> {
        let position = Position { next, start: next };
        self.positions.set(service.0, position, 0).map_err(failed("write", MapName::Positions))
    }
}
