// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loaded planes that tests use in turn: the verifier takes longer for a plane than most tests for their packets.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
    thread,
};

use lb_dataplane::{DataPlane, Options};

use crate::executed::kernel::{Contents, KernelMap};

/// Planes that no test uses, with what they were loaded with.
static IDLE: Mutex<Vec<(String, Plane)>> = Mutex::new(Vec::new());

/// A data plane, and the contents of its maps after the load.
struct Plane {
    plane: DataPlane,
    loaded: Vec<(KernelMap, Contents)>,
}

/// A data plane that is as it was loaded, until the test changes it.
pub(super) struct Lent {
    plane: Option<Plane>,
    /// The options of the load; `None`: no other test gets the plane.
    key: Option<String>,
}

impl Lent {
    /// Returns a plane that was loaded with these options. A plane with pins belongs to one test.
    #[track_caller]
    pub(super) fn new(options: &Options) -> Self {
        let key = options.pins.is_none().then(|| format!("{options:?}"));
        let idle = key.as_ref().and_then(|key| {
            let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
            let at = idle.iter().position(|(other, _)| other == key)?;
            Some(idle.swap_remove(at).1)
        });
        let plane = idle.unwrap_or_else(|| {
            let mut plane = DataPlane::load(options)
                .unwrap_or_else(|error| panic!("the data plane does not load: {error} ({})", error.hint()));
            let loaded = if key.is_some() { contents(&mut plane) } else { Vec::new() };
            Plane { plane, loaded }
        });
        Self { plane: Some(plane), key }
    }
}

/// Returns every map of the programs, with its contents.
fn contents(plane: &mut DataPlane) -> Vec<(KernelMap, Contents)> {
    let mut ids: Vec<u32> =
        plane.programs().filter_map(|(_, program)| program.info().ok()?.map_ids().ok()?).flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    let opened = ids.into_iter().map(KernelMap::open);
    opened.filter_map(|map| map.contents().map(|contents| (map, contents))).collect()
}

impl Drop for Lent {
    /// Makes the plane as it was loaded, for the next test. That of a test that failed is not used again.
    fn drop(&mut self) {
        let (Some(plane), Some(key)) = (self.plane.take(), self.key.take()) else { return };
        if thread::panicking() {
            return;
        }
        for (map, loaded) in &plane.loaded {
            map.restore(loaded);
        }
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push((key, plane));
    }
}

impl Deref for Lent {
    type Target = DataPlane;

    fn deref(&self) -> &DataPlane {
        &self.plane.as_ref().expect("a plane is taken only when it is dropped").plane
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut DataPlane {
        &mut self.plane.as_mut().expect("a plane is taken only when it is dropped").plane
    }
}
