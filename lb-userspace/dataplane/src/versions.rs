// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table of two maps, one for IPv4 and one for IPv6. Elsewhere, addresses have 128 bits.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Pod,
    maps::{HashMap as BpfHashMap, IterableMap as _, MapData, MapError},
};
use lb_common::{
    schema::{AddressUse, FlowKey, MapName, ReturnPath, Service, ServiceKey, SnatLease, Source, SourceKey},
    wire::{Be32, Be128},
};

use super::{
    batch,
    map_source::{MapSource, take},
    tables::{TableError, batch_failed, failed, gone},
};

/// Flag of an insertion that must not replace an entry (include/uapi/linux/bpf.h).
const BPF_NOEXIST: u64 = 1;

/// A key or value with addresses of 128 bits, and its form in the IPv4 map.
pub(super) trait Narrow<N>: Sized {
    /// Converts to the form with addresses of 32 bits; `None` for IPv6 addresses.
    fn narrow(&self) -> Option<N>;
    /// Converts to the form with addresses of 128 bits.
    fn widen(narrow: &N) -> Self;
}

/// Both maps, with keys `K4` and `K6` and values `V4` and `V6`.
pub(super) struct Versions<K4, V4, K6, V6> {
    names: [MapName; 2],
    v4: BpfHashMap<MapData, K4, V4>,
    v6: BpfHashMap<MapData, K6, V6>,
}

impl<K4: Pod, V4: Pod, K6: Pod, V6: Pod> Versions<K4, V4, K6, V6> {
    /// Takes both maps from the object, or from their pins.
    pub(super) fn take(ebpf: &mut impl MapSource, names: [MapName; 2]) -> Result<Self, TableError> {
        Ok(Self { names, v4: take(ebpf, names[0])?, v6: take(ebpf, names[1])? })
    }

    /// Copies the entries of `live` whose keys are missing here. Entries that exceed the size of a map are lost.
    pub(super) fn copy_missing(&mut self, live: &Self) -> Result<(), TableError> {
        copy_missing(&mut self.v4, &live.v4, self.names[0])?;
        copy_missing(&mut self.v6, &live.v6, self.names[1])
    }
}

/// Copies the entries of `live` whose keys are missing in `map`. Entries that exceed its size are lost.
pub(super) fn copy_missing<K: Pod, V: Pod>(
    map: &mut BpfHashMap<MapData, K, V>,
    live: &BpfHashMap<MapData, K, V>,
    name: MapName,
) -> Result<(), TableError> {
    let mut entries: Vec<(K, V)> = Vec::new();
    batch::for_each(live.map().fd().as_fd(), |key, value| entries.push((*key, *value)))
        .map_err(batch_failed("read", name))?;
    for (key, value) in &entries {
        match map.insert(key, value, BPF_NOEXIST) {
            Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed("write", name))?,
        }
    }
    Ok(())
}

impl<K4: Pod, V4: Pod, K6: Pod + Narrow<K4>, V6: Pod + Narrow<V4>> Versions<K4, V4, K6, V6> {
    /// Returns descriptors of both maps.
    pub(super) fn descriptors(&self) -> io::Result<[OwnedFd; 2]> {
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        Ok([own(self.v4.map().fd().as_fd())?, own(self.v6.map().fd().as_fd())?])
    }

    /// Returns every entry.
    pub(super) fn all(&self) -> Result<Vec<(K6, V6)>, TableError> {
        let [name, name6] = self.names;
        let mut entries = Vec::new();
        for entry in &self.v4 {
            let (key, value) = entry.map_err(failed("read", name))?;
            entries.push((K6::widen(&key), V6::widen(&value)));
        }
        for entry in &self.v6 {
            entries.push(entry.map_err(failed("read", name6))?);
        }
        Ok(entries)
    }

    /// Adds or replaces an entry.
    pub(super) fn put(&mut self, key: &K6, value: &V6) -> Result<(), TableError> {
        let [name, name6] = self.names;
        match (key.narrow(), value.narrow()) {
            (Some(key), Some(value)) => self.v4.insert(key, value, 0).map_err(failed("write", name)),
            _ => self.v6.insert(key, value, 0).map_err(failed("write", name6)),
        }
    }

    /// Adds or replaces many entries.
    pub(super) fn put_all(&mut self, entries: &[(K6, V6)]) -> Result<(), TableError> {
        let [name, name6] = self.names;
        let (mut narrow, mut wide) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for (key, value) in entries {
            if let (Some(key), Some(value)) = (key.narrow(), value.narrow()) {
                narrow.0.push(key);
                narrow.1.push(value);
            } else {
                wide.0.push(*key);
                wide.1.push(*value);
            }
        }
        batch::update(self.v4.map().fd().as_fd(), &narrow.0, &narrow.1)
            .map_err(batch_failed("write", name))?;
        batch::update(self.v6.map().fd().as_fd(), &wide.0, &wide.1).map_err(batch_failed("write", name6))
    }

    /// Removes an entry, if it exists.
    pub(super) fn remove(&mut self, key: &K6) -> Result<(), TableError> {
        let [name, name6] = self.names;
        match key.narrow() {
            Some(key) => gone(self.v4.remove(&key)).map_err(failed("delete from", name)),
            None => gone(self.v6.remove(key)).map_err(failed("delete from", name6)),
        }
    }

    /// Returns an entry, if it exists.
    pub(super) fn get(&self, key: &K6) -> Option<V6> {
        match key.narrow() {
            Some(key) => self.v4.get(&key, 0).ok().map(|value| V6::widen(&value)),
            None => self.v6.get(key, 0).ok(),
        }
    }

    /// Calls `each` with every entry, in batches.
    pub(super) fn for_each(&self, mut each: impl FnMut(&K6, &V6)) -> Result<(), TableError> {
        let [name, name6] = self.names;
        let wide = |key: &K4, value: &V4| each(&K6::widen(key), &V6::widen(value));
        batch::for_each(self.v4.map().fd().as_fd(), wide).map_err(batch_failed("read", name))?;
        batch::for_each(self.v6.map().fd().as_fd(), each).map_err(batch_failed("read", name6))
    }
}

/// Implements [`Narrow`] for types without addresses.
macro_rules! alike {
    ($($type:ty),*) => {
        $(impl Narrow<Self> for $type {
            fn narrow(&self) -> Option<Self> {
                Some(*self)
            }

            fn widen(narrow: &Self) -> Self {
                *narrow
            }
        })*
    };
}
alike!(SnatLease, Service, AddressUse, ReturnPath);

impl Narrow<Be32> for Be128 {
    fn narrow(&self) -> Option<Be32> {
        self.as_v4()
    }

    fn widen(narrow: &Be32) -> Self {
        Self::mapped(*narrow)
    }
}

impl Narrow<FlowKey<Be32>> for FlowKey {
    fn narrow(&self) -> Option<FlowKey<Be32>> {
        self.narrowed()
    }

    fn widen(narrow: &FlowKey<Be32>) -> Self {
        narrow.widened()
    }
}

impl Narrow<ServiceKey<Be32>> for ServiceKey {
    fn narrow(&self) -> Option<ServiceKey<Be32>> {
        let Self { address, port, protocol, .. } = *self;
        Some(ServiceKey::new(address.as_v4()?, port, protocol as u8))
    }

    fn widen(narrow: &ServiceKey<Be32>) -> Self {
        let ServiceKey { address, port, protocol, .. } = *narrow;
        Self::new(Be128::mapped(address), port, protocol as u8)
    }
}

impl Narrow<SourceKey<Be32>> for SourceKey {
    fn narrow(&self) -> Option<SourceKey<Be32>> {
        let Self { address, port, protocol, .. } = *self;
        Some(SourceKey::new(address.as_v4()?, port, protocol as u8))
    }

    fn widen(narrow: &SourceKey<Be32>) -> Self {
        let SourceKey { address, port, protocol, .. } = *narrow;
        Self::new(Be128::mapped(address), port, protocol as u8)
    }
}

impl Narrow<Source<Be32>> for Source {
    fn narrow(&self) -> Option<Source<Be32>> {
        let Self { vip, port, flags, real, service, .. } = *self;
        Some(Source::new(vip.as_v4()?, port, flags, real, service))
    }

    fn widen(narrow: &Source<Be32>) -> Self {
        let Source { vip, port, flags, real, service, .. } = *narrow;
        Self::new(Be128::mapped(vip), port, flags, real, service)
    }
}
