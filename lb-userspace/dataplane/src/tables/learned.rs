// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maps that only the programs read and write, and whose sizes depend on the size of the flow tables: a resize
//! copies their entries.
#![forbid(unsafe_code)]

use aya::maps::{HashMap as BpfHashMap, MapData};
use lb_common::{
    schema::{FlowKey, Fragment, FragmentKey, Locality, LocalityKey, MapName, ReturnPath},
    ticks::Tick,
    wire::{Be32, Be128},
};

use super::{TableError, Tables};
use crate::{
    map_source::{MapSource, take},
    versions::{Versions, copy_missing},
};

/// Open maps.
pub(super) struct Learned {
    ways_back: Versions<Be32, ReturnPath, Be128, ReturnPath>,
    bypass: Versions<FlowKey<Be32>, Tick, FlowKey, Tick>,
    fragments: Versions<FragmentKey<Be32>, Fragment<Be32>, FragmentKey<Be128>, Fragment<Be128>>,
    localities: BpfHashMap<MapData, LocalityKey, Locality>,
}

impl Learned {
    /// Takes the maps from the object, or opens their pins.
    pub(super) fn take(maps: &mut impl MapSource) -> Result<Self, TableError> {
        Ok(Self {
            ways_back: Versions::take(maps, [MapName::ReturnPaths, MapName::ReturnPaths6])?,
            bypass: Versions::take(maps, [MapName::Bypass, MapName::Bypass6])?,
            fragments: Versions::take(maps, [MapName::Fragments, MapName::Fragments6])?,
            localities: take(maps, MapName::Localities)?,
        })
    }
}

impl Tables {
    /// Sets the return path to a client, unless the map has another one than `guess`, which was set before: a packet of the
    /// client has shown that one.
    pub fn put_return_path(
        &mut self,
        client: Be128,
        path: &ReturnPath,
        guess: Option<ReturnPath>,
    ) -> Result<(), TableError> {
        if self.learned.ways_back.get(&client).is_some_and(|known| Some(known) != guess) {
            return Ok(());
        }
        self.learned.ways_back.put(&client, path)
    }

    /// Copies return paths, direct contacts of `nat` reals, fragments and localities. Existing entries are newer
    /// and stay.
    pub(crate) fn copy_learned(&mut self, live: &Self) -> Result<(), TableError> {
        let (mine, live) = (&mut self.learned, &live.learned);
        mine.ways_back.copy_missing(&live.ways_back)?;
        mine.bypass.copy_missing(&live.bypass)?;
        mine.fragments.copy_missing(&live.fragments)?;
        copy_missing(&mut mine.localities, &live.localities, MapName::Localities)
    }
}
