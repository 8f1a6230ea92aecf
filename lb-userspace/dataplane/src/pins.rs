// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pins: names in a bpffs that keep maps, programs and links alive without the daemon.
//!
//! ```text
//! /sys/fs/bpf/xvs/director        the main program
//! /sys/fs/bpf/xvs/decap           the decapsulator
//! /sys/fs/bpf/xvs/maps/NAME       every map
//! /sys/fs/bpf/xvs/links/IFINDEX   an attachment; by index: names of devices may have dots, which a bpffs refuses
//! /sys/fs/bpf/xvs/guard/IFINDEX   an attachment of the guard
//! /sys/fs/bpf/xvs/aside/NAME      the previous maps, during a resize
//! /sys/fs/bpf/xvs/new/NAME        the maps of a new flow table, until it is in force
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    maps::{Array, Map, MapData, MapError, MapInfo},
    programs::{
        ProgramInfo,
        links::{FdLink, PinnedLink},
    },
};
use lb_common::{
    flow_table,
    schema::{MapName, SCHEMA_VERSION},
};
use thiserror::Error;

use super::{
    Limits, guard, limits,
    map_source::PinnedMaps,
    private,
    tables::{TableError, Tables},
};
use lb_model::failure::chain;

/// The maps that are new together with a flow table, in the order in which their pins change. Programs with another flow
/// table must not be continued by tail calls.
pub(crate) const FLOW_MAPS: [MapName; 3] = [MapName::Flows, MapName::FlowShape, MapName::Programs];

/// A directory in a bpffs.
#[derive(Clone, Debug)]
pub struct PinDir(PathBuf);

/// Reason why pins cannot be used.
#[derive(Debug, Error)]
pub enum PinError {
    /// The directory or an entry of it cannot be created or read.
    #[error("cannot use {path}")]
    Io {
        /// Path.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The pinned maps are of another version of xvs.
    #[error("the maps pinned under {dir} have schema {found}, this xvs has schema {SCHEMA_VERSION}")]
    Schema {
        /// Pin directory.
        dir: PathBuf,
        /// Schema version of the pinned maps.
        found: u32,
    },
    /// A property of a pinned map differs from the required one.
    #[error("the map pinned at {path} has {what} {found}, this xvs needs {wanted}")]
    Shape {
        /// Pin.
        path: PathBuf,
        /// Name of the property.
        what: &'static str,
        /// Present value.
        found: String,
        /// Required value.
        wanted: String,
    },
    /// A pin cannot be opened as a map.
    #[error("cannot open the map pinned at {path}")]
    Map {
        /// Pin.
        path: PathBuf,
        /// Error of the kernel.
        source: MapError,
    },
}

/// Properties that a map must have to be adopted.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub map: MapName,
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
}

impl PinDir {
    /// Returns the pin directory at `path`, and creates it if necessary, see `prepare_dir`.
    ///
    /// # Errors
    /// [`PinError::Io`] if it cannot be created.
    pub fn prepare(path: &Path) -> Result<Self, PinError> {
        for dir in [path.to_owned(), path.join("maps"), path.join("links"), path.join("guard")] {
            prepare_dir(&dir)?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Returns the pin directory at `path`, which need not exist.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the pin of a map.
    #[must_use]
    pub fn map(&self, map: MapName) -> PathBuf {
        self.0.join("maps").join(map.as_str())
    }

    /// Returns the pin of a program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the pin of the attachment to a device.
    #[must_use]
    pub fn link(&self, ifindex: u32) -> PathBuf {
        self.0.join("links").join(ifindex.to_string())
    }

    /// Returns the pin of the guard's attachment to a device.
    #[must_use]
    pub fn guard(&self, ifindex: u32) -> PathBuf {
        self.0.join("guard").join(ifindex.to_string())
    }

    /// Returns the devices with a pinned attachment.
    #[must_use]
    pub fn linked(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(self.0.join("links")) else { return Vec::new() };
        entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
    }

    /// Returns the id of the program in the link that is pinned for a device; `None` if there is no such link.
    #[must_use]
    pub fn linked_program(&self, ifindex: u32) -> Option<u32> {
        Some(FdLink::from(PinnedLink::from_pin(self.link(ifindex)).ok()?).info().ok()?.program_id())
    }

    /// Moves the pinned maps aside, so that maps for the limits `new` can take their names; the programs that use
    /// them continue. Maps whose size stays the same have both pins. Maps that were aside before are removed.
    ///
    /// # Errors
    /// [`PinError`]; then the maps are where they were.
    pub fn put_maps_aside(&self, old: &Limits, new: &Limits) -> Result<(), PinError> {
        self.remove_aside()?;
        let at = |source| PinError::Io { path: self.aside(), source };
        fs::rename(self.0.join("maps"), self.aside()).map_err(at)?;
        self.share_maps(old, new).inspect_err(|_| {
            if let Err(error) = self.take_maps_back() {
                tracing::error!(error = chain(&error), "the pins of the maps are not back in their place");
            }
        })
    }

    /// Pins the maps that are aside, and whose size stays the same, under their names too.
    fn share_maps(&self, old: &Limits, new: &Limits) -> Result<(), PinError> {
        let maps = self.0.join("maps");
        private::directory(&maps).map_err(|source| PinError::Io { path: maps, source })?;
        for map in limits::shareable(old, new) {
            let path = self.aside().join(map.as_str());
            let data = MapData::from_pin(&path).map_err(|source| PinError::Map { path, source })?;
            let path = self.map(map);
            let io = |error| PinError::Io { path: path.clone(), source: io::Error::other(error) };
            data.pin(&path).map_err(io)?;
        }
        Ok(())
    }

    /// Moves the maps that are aside back, and removes the pins that have their names now.
    ///
    /// # Errors
    /// [`PinError::Io`] if not all of them were moved.
    pub fn take_maps_back(&self) -> Result<(), PinError> {
        let maps = self.0.join("maps");
        empty(&maps)?;
        let at = |source| PinError::Io { path: maps.clone(), source };
        fs::remove_dir(&maps).map_err(at)?;
        fs::rename(self.aside(), &maps).map_err(at)
    }

    /// Removes the maps that are aside.
    ///
    /// # Errors
    /// [`PinError::Io`] if a pin cannot be removed.
    pub fn remove_aside(&self) -> Result<(), PinError> {
        remove_dir(self.aside())
    }

    /// Completes or reverts a resize that a crash interrupted: the maps that the attached programs use are
    /// kept, since they hold the recent counters and flows. Returns whether other maps are aside, from which
    /// flows must be copied.
    ///
    /// # Errors
    /// [`PinError::Io`] if they cannot be moved.
    pub fn end_resize(&self) -> Result<bool, PinError> {
        let aside = self.aside();
        if !aside.is_dir() {
            return Ok(false);
        }
        // With two interfaces, a crash may have left one program on each set of maps: then the new set is complete.
        if self.uses_maps() {
            return Ok(true);
        }
        self.take_maps_back()?;
        Ok(false)
    }

    /// Returns the pin of a map that belongs to a new flow table, until that is in force.
    #[must_use]
    pub(crate) fn new_map(&self, map: MapName) -> PathBuf {
        self.0.join("new").join(map.as_str())
    }

    /// Makes the directory for the maps of a new flow table.
    ///
    /// # Errors
    /// [`PinError::Io`] if it cannot be made.
    pub fn prepare_new_maps(&self) -> Result<(), PinError> {
        self.remove_new_maps()?;
        prepare_dir(&self.0.join("new"))
    }

    /// Gives the maps of a new flow table their names, after its programs have been attached. The table that it replaces
    /// keeps a pin too, until [`Self::remove_flows_before`].
    ///
    /// # Errors
    /// [`PinError::Io`] if a pin cannot be changed; then the call can be repeated.
    pub fn adopt_new_maps(&self) -> Result<(), PinError> {
        for map in FLOW_MAPS.into_iter().filter(|map| self.new_map(*map).exists()) {
            let (new, path) = (self.new_map(map), self.map(map));
            let io = |source| PinError::Io { path: path.clone(), source };
            if map == MapName::Flows && path.exists() {
                fs::rename(&path, self.map(MapName::FlowsBefore)).map_err(io)?;
            }
            fs::rename(&new, &path).map_err(io)?;
        }
        self.remove_new_maps()
    }

    /// Removes the pins of a new flow table that is not in force.
    ///
    /// # Errors
    /// [`PinError::Io`] if a pin cannot be removed.
    pub fn remove_new_maps(&self) -> Result<(), PinError> {
        remove_dir(self.0.join("new"))
    }

    /// Removes the pin of the flow table that was replaced.
    ///
    /// # Errors
    /// [`PinError::Io`] if it cannot be removed.
    pub fn remove_flows_before(&self) -> Result<(), PinError> {
        let path = self.map(MapName::FlowsBefore);
        if !path.exists() {
            return Ok(());
        }
        fs::remove_file(&path).map_err(|source| PinError::Io { path, source })
    }

    /// Completes or reverts the replacement of the flow table that a crash interrupted: the table of the attached programs
    /// is kept.
    ///
    /// # Errors
    /// [`PinError::Io`] if a pin cannot be changed.
    pub fn end_replacement(&self) -> Result<(), PinError> {
        // The pin of this map changes last.
        let calls = self.new_map(MapName::Programs);
        let is_in_force = calls.exists() && self.is_handed_over() && self.uses(&calls);
        if is_in_force { self.adopt_new_maps() } else { self.remove_new_maps() }
    }

    /// Returns whether the new flow table has got the flows of the one in force, which happens just before its programs are
    /// attached. Until then, another program than the pinned one is that of a trace.
    fn is_handed_over(&self) -> bool {
        if self.map(MapName::FlowsBefore).exists() {
            return true;
        }
        let shape = MapData::from_pin(self.new_map(MapName::FlowShape)).and_then(Map::from_map_data);
        let shape = shape.and_then(Array::<MapData, flow_table::Shape>::try_from);
        shape.is_ok_and(|shape| shape.get(&0, 0).is_ok_and(|shape| shape.takes_over()))
    }

    /// Returns whether an attached program uses the maps under their names, and not those that are aside.
    fn uses_maps(&self) -> bool {
        // A resize does not share this map between the old and the new programs.
        self.uses(&self.map(MapName::Programs))
    }

    /// Returns whether an attached program uses the map with that pin, which belongs to the last set of programs.
    /// Listing the kernel's programs requires `CAP_SYS_ADMIN`, which the daemon has dropped. So the pinned
    /// program decides, which is the previous one until the set is in force.
    fn uses(&self, map: &Path) -> bool {
        let Ok(pinned) = ProgramInfo::from_pin(self.program("director")) else { return false };
        if self
            .linked()
            .into_iter()
            .filter_map(|index| self.linked_program(index))
            .any(|program| program != pinned.id())
        {
            return true;
        }
        let used = pinned.map_ids().ok().flatten().unwrap_or_default();
        MapInfo::from_pin(map).is_ok_and(|info| used.contains(&info.id()))
    }

    /// Returns the numbers of flows for which the pinned tables are, IPv4 and IPv6.
    #[must_use]
    pub fn capacity(&self) -> [Option<u32>; 2] {
        [MapName::Translations, MapName::Translations6]
            .map(|map| self.entries(map).map(|entries| entries.saturating_mul(limits::FNAT_SHARE)))
    }

    /// Returns the number of places of the pinned flow table.
    #[must_use]
    pub fn flow_places(&self) -> Option<u32> {
        Some(self.entries(MapName::Flows)?.saturating_mul(flow_table::PLACES as u32))
    }

    /// Returns the size of a pinned map.
    fn entries(&self, map: MapName) -> Option<u32> {
        MapInfo::from_pin(self.map(map)).ok().map(|info| info.max_entries())
    }

    /// Opens the pinned maps, if they have this schema.
    ///
    /// # Errors
    /// [`TableError`] if there are none, or they have another schema.
    pub fn tables(&self) -> Result<Tables, TableError> {
        let schema = self.map(MapName::Schema);
        if !read_schema(&schema).is_ok_and(|found| found == SCHEMA_VERSION) {
            return Err(TableError::Missing(MapName::Schema.as_str()));
        }
        Tables::open(&mut PinnedMaps(self.0.join("maps")))
    }

    /// Opens the maps that are aside.
    ///
    /// # Errors
    /// [`TableError`] if there are none.
    pub fn tables_aside(&self) -> Result<Tables, TableError> {
        Tables::open(&mut PinnedMaps(self.aside()))
    }

    fn aside(&self) -> PathBuf {
        self.0.join("aside")
    }

    /// Checks every pinned map against the required shape, as the kernel reports it: aya would open a map of
    /// any shape.
    ///
    /// Returns whether there are maps to adopt.
    ///
    /// # Errors
    /// [`PinError::Schema`] or [`PinError::Shape`] if they do not match.
    pub(crate) fn check(&self, shapes: &[Shape]) -> Result<bool, PinError> {
        let schema = self.map(MapName::Schema);
        if schema.exists() {
            let found = read_schema(&schema)?;
            if found == 0 && self.linked().is_empty() {
                // A first start was killed before it had written the version: no program forwards with these maps.
                self.remove_all()?;
                return Ok(false);
            }
            if found != SCHEMA_VERSION {
                return Err(PinError::Schema { dir: self.0.clone(), found });
            }
        }
        let mut adopted = false;
        for shape in shapes {
            let path = self.map(shape.map);
            if path.exists() {
                adopted = true;
                check_shape(&path, shape)?;
            }
        }
        Ok(adopted && schema.exists())
    }

    /// Returns whether anything is pinned.
    #[must_use]
    pub fn has_any(&self) -> bool {
        let has = |dir: PathBuf| {
            fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|entry| !entry.path().is_dir()))
        };
        let folders = ["links", "maps", "aside", "new", "guard"].map(|name| self.0.join(name));
        folders.into_iter().chain([self.0.clone()]).any(has)
    }

    /// Removes every pin but the guard's. With the last attachment the programs and maps disappear, and
    /// forwarding ends.
    ///
    /// # Errors
    /// [`PinError::Io`] if a pin cannot be removed.
    pub fn remove_all(&self) -> Result<(), PinError> {
        // Links come first: no packet may reach a program whose maps are gone.
        for dir in [self.0.join("links"), self.0.clone(), self.0.join("maps")] {
            empty(&dir)?;
        }
        self.remove_new_maps()?;
        self.remove_aside()
    }

    /// Removes the guard: the stack then answers packets of services.
    ///
    /// # Errors
    /// [`PinError::Io`] if a pin cannot be removed.
    pub fn remove_guard(&self) -> Result<(), PinError> {
        guard::remove_filters();
        empty(&self.0.join("guard"))
    }
}

/// Removes a directory with every pin in it, if it exists.
fn remove_dir(path: PathBuf) -> Result<(), PinError> {
    if !path.is_dir() {
        return Ok(());
    }
    empty(&path)?;
    fs::remove_dir(&path).map_err(|source| PinError::Io { path, source })
}

/// Removes every pin in a directory, if it exists.
fn empty(dir: &Path) -> Result<(), PinError> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten().filter(|e| !e.path().is_dir()) {
        let path = entry.path();
        fs::remove_file(&path).map_err(|source| PinError::Io { path, source })?;
    }
    Ok(())
}

/// Creates a directory in a bpffs, and mounts a bpffs if `path` is in none.
///
/// # Errors
/// [`PinError::Io`] if it cannot be created.
pub(super) fn prepare_dir(path: &Path) -> Result<(), PinError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| PinError::Io { path, source }
    };
    private::mount_bpffs(path).map_err(at(path))?;
    private::directory(path).map_err(at(path))
}

fn read_schema(path: &Path) -> Result<u32, PinError> {
    let of = |source| PinError::Map { path: path.to_owned(), source };
    let data = MapData::from_pin(path).map_err(of)?;
    let info = data.info().map_err(of)?;
    if (info.key_size(), info.value_size()) != (4, 4) {
        return Ok(0);
    }
    let map = Map::from_map_data(data).map_err(of)?;
    let array: Array<_, u32> = map.try_into().map_err(of)?;
    array.get(&0, 0).map_err(of)
}

fn check_shape(path: &Path, shape: &Shape) -> Result<(), PinError> {
    let info = MapInfo::from_pin(path).map_err(|source| PinError::Map { path: path.to_owned(), source })?;
    let map_type = info.map_type().map_or(0, |t| t as u32);
    for (what, found, wanted) in [
        ("type", map_type, shape.map_type),
        ("key size", info.key_size(), shape.key_size),
        ("value size", info.value_size(), shape.value_size),
        ("size", info.max_entries(), shape.max_entries),
    ] {
        if found != wanted {
            return Err(PinError::Shape {
                path: path.to_owned(),
                what,
                found: found.to_string(),
                wanted: wanted.to_string(),
            });
        }
    }
    Ok(())
}
