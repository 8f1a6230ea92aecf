// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maps of maps by service id, whose inner maps hold one large value each.

use std::collections::HashMap;

use aya::{
    Ebpf, Pod,
    maps::{Array, ArrayOfMaps, MapData},
};

use super::tables::{TableError, failed, take};

/// One large value per service.
pub(super) struct PerService<V: Pod> {
    name: &'static str,
    outer: ArrayOfMaps<MapData, Array<MapData, V>>,
    /// Inner maps that are there, opened once.
    open: HashMap<u32, Array<MapData, V>>,
}

impl<V: Pod> PerService<V> {
    pub(super) fn open(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, TableError> {
        Ok(Self { name, outer: take(ebpf, name)?, open: HashMap::new() })
    }

    /// The inner map of a service, if it was ever written.
    fn inner(&mut self, service: u32) -> Option<&mut Array<MapData, V>> {
        if !self.open.contains_key(&service) {
            let inner = self.outer.get(&service, 0).ok()?;
            self.open.insert(service, inner);
        }
        self.open.get_mut(&service)
    }

    /// The value of a service, if it was ever written.
    pub(super) fn read(&mut self, service: u32) -> Result<Option<Box<V>>, TableError> {
        let read = failed("read", self.name);
        self.inner(service).map(|inner| inner.get(&0, 0).map(Box::new).map_err(read)).transpose()
    }

    /// Writes the value of a service, in place if there is one: putting an inner map into the outer one waits for an
    /// RCU grace period.
    pub(super) fn write(&mut self, service: u32, value: &V) -> Result<(), TableError> {
        let name = self.name;
        let write = failed("write", name);
        if let Some(inner) = self.inner(service) {
            return inner.set(0, value, 0).map_err(write);
        }
        let mut inner = Array::create(1, 0).map_err(failed("create", name))?;
        inner.set(0, value, 0).map_err(&write)?;
        self.outer.set(service, &inner, 0).map_err(write)?;
        self.open.insert(service, inner);
        Ok(())
    }
}
