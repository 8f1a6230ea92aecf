// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state file: what the daemon must know again after it was stopped, written so that a crash leaves either
//! the old or the new one.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use lb_common::schema::Counters;
use serde::{Deserialize, Serialize};

use super::model::{Desired, Real, Scheduler, Service, ServiceId, Tracking};
use crate::failure::Failure;

/// The version of the file's format.
const VERSION: u32 = 1;

/// Everything that outlives the daemon and is in no map.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// What the operator wants.
    pub desired: Desired,
    /// VIPs that the daemon added to the interface, and so may remove.
    pub vips: BTreeSet<IpAddr>,
    /// Counters of reals that were removed, so that a service's totals never go back.
    pub retired: BTreeMap<ServiceId, Totals>,
}

/// [`Counters`], in the file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// See [`Counters::packets_in`].
    pub packets_in: u64,
    /// See [`Counters::bytes_in`].
    pub bytes_in: u64,
    /// See [`Counters::packets_out`].
    pub packets_out: u64,
    /// See [`Counters::bytes_out`].
    pub bytes_out: u64,
    /// See [`Counters::new_flows`].
    pub new_flows: u64,
}

impl Totals {
    /// Adds counters.
    pub fn add(&mut self, counters: &Counters) {
        self.packets_in += counters.packets_in;
        self.bytes_in += counters.bytes_in;
        self.packets_out += counters.packets_out;
        self.bytes_out += counters.bytes_out;
        self.new_flows += counters.new_flows;
    }
}

#[derive(Deserialize, Serialize)]
struct Stored {
    version: u32,
    services: Vec<StoredService>,
    vips: BTreeSet<IpAddr>,
}

#[derive(Deserialize, Serialize)]
struct StoredService {
    #[serde(flatten)]
    id: ServiceId,
    scheduler: Scheduler,
    #[serde(default)]
    tracking: Tracking,
    reals: Vec<StoredReal>,
    #[serde(default)]
    retired: Totals,
}

#[derive(Deserialize, Serialize)]
struct StoredReal {
    address: SocketAddr,
    #[serde(flatten)]
    real: Real,
}

impl State {
    /// Reads a state file; a file that is not there is an empty state.
    ///
    /// # Errors
    /// If it is there and cannot be understood: guessing would take services away.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(broken(path, &error)),
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|error| broken(path, &error))?;
        if stored.version != VERSION {
            let why = format!("it has version {}, this xvs knows {VERSION}", stored.version);
            return Err(broken(path, &why));
        }
        let mut state = Self { vips: stored.vips, ..Self::default() };
        for service in stored.services {
            let reals = service.reals.into_iter().map(|stored| (stored.address, stored.real)).collect();
            state.desired.services.insert(
                service.id,
                Service { scheduler: service.scheduler, tracking: service.tracking, reals },
            );
            state.retired.insert(service.id, service.retired);
        }
        Ok(state)
    }

    /// Replaces the state file: a temporary file beside it, flushed to disk, then renamed.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let services = self.desired.services.iter().map(|(id, service)| StoredService {
            id: *id,
            scheduler: service.scheduler,
            tracking: service.tracking,
            reals: service
                .reals
                .iter()
                .map(|(address, real)| StoredReal { address: *address, real: *real })
                .collect(),
            retired: self.retired.get(id).copied().unwrap_or_default(),
        });
        let stored = Stored { version: VERSION, services: services.collect(), vips: self.vips.clone() };
        replace(path, &stored).map_err(|error| {
            Failure::failed(format!("cannot write the state file {}: {error}", path.display()))
                .hint("is there space, and may this user write there? `--state FILE` names another place")
        })
    }
}

fn replace(path: &Path, stored: &Stored) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary: PathBuf = dir.join(name);
    let mut file = File::create(&temporary)?;
    serde_json::to_writer_pretty(&mut file, stored)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

fn broken(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("cannot use the state file {}: {why}", path.display()))
        .hint("repair it, or move it away to start with no services")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::model::{Forward, Protocol};

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/state.json");
        assert_eq!(State::load(&path).unwrap(), State::default());

        let id = ServiceId { protocol: Protocol::Tcp, address: "192.0.2.1:80".parse().unwrap() };
        let mut state = State::default();
        let real = Real { forward: Forward::Tun, weight: 7 };
        let service = Service {
            scheduler: Scheduler::Wrr,
            tracking: Tracking::Full,
            reals: [("10.0.0.1:80".parse().unwrap(), real)].into(),
        };
        state.desired.services.insert(id, service);
        state.vips.insert("192.0.2.1".parse().unwrap());
        state.retired.insert(id, Totals { packets_in: 5, ..Totals::default() });
        state.save(&path).unwrap();
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, "{\"version\": 9, \"services\": [], \"vips\": []}").unwrap();
        assert!(State::load(&path).unwrap_err().message.contains("version 9"));
        fs::write(&path, "no json").unwrap();
        assert!(State::load(&path).unwrap_err().message.contains("line 1"));
        assert!(path.exists());
    }
}
