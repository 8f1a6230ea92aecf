// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state, which the daemon restores at its next start.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use lb_common::schema::Counters;
use serde::{Deserialize, Serialize};

use super::{
    dips::Dips,
    journal,
    options::{CheckOptions, ServiceOptions},
    state_file::{self, Prepared, ReadError},
};
use lb_dataplane::Limits;
use lb_model::check::{Check, CheckName, CheckType};
use lb_model::failure::Failure;
use lb_model::standing::Standing;
use lb_model::{Desired, Endpoint, GroupId, Real, Service, ServiceId, timeouts::TimeoutOptions};

mod changes;

pub use changes::StateChange;

/// Version of the file format.
const VERSION: u32 = 1;

/// All data that survive the daemon and are in no map.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Services as the operator configured them.
    pub desired: Desired,
    /// VIPs that the daemon added to an interface, and so may remove.
    pub vips: BTreeSet<IpAddr>,
    /// Counters of removed reals, so that the totals of a service never decrease.
    pub retired: BTreeMap<ServiceId, Totals>,
    /// Timeouts of idle flows that the operator has set.
    pub timeouts: TimeoutOptions,
    /// Sizes of the flow tables that the operator has set at run time.
    pub room: FlowLimits,
    /// Packets of removed services, by the name of the reason, so that sums over all services never decrease.
    pub gone: BTreeMap<String, u64>,
    /// SNAT addresses of `fnat` requests, at the indexes that flow table entries have.
    pub dips: Dips,
    /// The services are those of the kernel's IPVS, which a daemon followed.
    pub follows_ipvs: bool,
    /// The place of the director among several.
    pub standing: Standing,
}

/// Sizes of the flow tables that `xvs resize` has set. A larger size in the config file takes precedence.
#[derive(
    clap::Args, Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct FlowLimits {
    /// Tracked IPv4 flows that fit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=33_554_432))]
    pub max_flows: Option<u32>,
    /// Tracked IPv6 flows that fit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=33_554_432))]
    pub max_flows6: Option<u32>,
}

impl FlowLimits {
    /// Returns `limits`, with the sizes of the flow tables raised to these.
    #[must_use]
    pub fn at_least(&self, limits: Limits) -> Limits {
        Limits {
            flows: limits.flows.max(self.max_flows.unwrap_or(0)),
            flows6: limits.flows6.max(self.max_flows6.unwrap_or(0)),
            ..limits
        }
    }
}

/// [`Counters`], as in the file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
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

#[derive(Serialize)]
struct Stored {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    rest: Rest,
}

/// The services in the file, and what is said about the file itself.
#[derive(Deserialize, Serialize)]
struct Head {
    version: u32,
    services: Vec<StoredService>,
    /// Name of the journal that has the changes since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    journal: Option<String>,
}

/// Everything in the file that belongs to no service.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Rest {
    #[serde(default)]
    groups: BTreeMap<GroupId, BTreeSet<Endpoint>>,
    #[serde(default)]
    checks: BTreeMap<CheckName, StoredCheck>,
    #[serde(default)]
    timeouts: TimeoutOptions,
    #[serde(default)]
    room: FlowLimits,
    vips: BTreeSet<IpAddr>,
    #[serde(default)]
    gone: BTreeMap<String, u64>,
    #[serde(default)]
    dips: Dips,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    follows_ipvs: bool,
    #[serde(default)]
    standing: Standing,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct StoredCheck {
    #[serde(rename = "type")]
    kind: CheckType,
    options: CheckOptions,
}

#[derive(Debug, Deserialize, Serialize)]
struct StoredService {
    #[serde(flatten)]
    id: ServiceId,
    #[serde(flatten)]
    options: ServiceOptions,
    reals: Vec<StoredReal>,
    #[serde(default)]
    leaving: Vec<StoredReal>,
    #[serde(default)]
    retired: Totals,
}

#[derive(Debug, Deserialize, Serialize)]
struct StoredReal {
    address: SocketAddr,
    #[serde(flatten)]
    real: Real,
}

/// Result of reading the state file.
#[derive(Debug, Default)]
pub struct Loaded {
    /// State, if the file or its predecessor is valid.
    pub state: Option<State>,
    /// Reason why the state comes from the predecessor or lacks the last changes, or why there is none.
    pub problem: Option<String>,
    /// The state comes from the predecessor.
    pub is_previous: bool,
}

impl Loaded {
    /// Reads a state file or, if it is invalid, its predecessor.
    ///
    /// # Errors
    /// If the file is of another version of xvs, or cannot be read at all.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let why = match state_file::read(path) {
            Ok(content) => return State::parse_with_journal(path, path, content),
            Err(ReadError::Io(error)) => return Err(broken(path, &error)),
            Err(error) => error,
        };
        let before = state_file::previous(path);
        let parsed = |content| State::parse_with_journal(path, &before, content).ok()?.state;
        let state = state_file::read(&before).ok().and_then(parsed);
        let never_there = matches!(why, ReadError::Missing) && state.is_none();
        let problem = format!("cannot use the state file {}: {why}", path.display());
        let is_previous = state.is_some();
        Ok(Self { state, problem: (!never_there).then_some(problem), is_previous })
    }
}

impl State {
    /// Reads the state of a daemon that has stopped.
    ///
    /// # Errors
    /// If a file exists, and neither it nor its predecessor is valid: starting without it would remove
    /// services.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        match Loaded::read(path)? {
            Loaded { state: Some(state), .. } => Ok(state),
            Loaded { problem: None, .. } => Ok(Self::default()),
            Loaded { problem: Some(problem), .. } => Err(Failure::failed(problem).hint(REPAIR)),
        }
    }

    /// Returns the state in `path`, which is `file` or its predecessor, with the changes in its journal.
    fn parse_with_journal(file: &Path, path: &Path, content: serde_json::Value) -> Result<Loaded, Failure> {
        let (mut state, journal) = Self::parse(path, content)?;
        let Some(name) = journal else { return Ok(Loaded { state: Some(state), ..Loaded::default() }) };
        let content = journal::read(file, &name).map_err(|error| broken(file, &error))?;
        for line in content.changes {
            state.make(changes::parse(line).map_err(|error| broken(path, &error))?);
        }
        let journal = journal::path(file, &name);
        if content.is_cut {
            tracing::warn!("the last line of {} is cut: its change was not carried out", journal.display());
        }
        let problem = content.damaged.map(|line| {
            format!("line {line} of the journal {} does not match its checksum", journal.display())
        });
        Ok(Loaded { state: Some(state), problem, is_previous: false })
    }

    /// Returns the state in a file, and the name of its journal.
    fn parse(path: &Path, content: serde_json::Value) -> Result<(Self, Option<String>), Failure> {
        // `flatten` cannot read keys that are numbers.
        let rest = Rest::deserialize(&content);
        let head: Head = serde_json::from_value(content).map_err(|error| broken(path, &error))?;
        if head.version != VERSION {
            let why = format!("it has version {}, this xvs knows {VERSION}", head.version);
            return Err(broken(path, &why));
        }
        let mut state = Self::default();
        state.put_rest(rest.map_err(|error| broken(path, &error))?);
        for service in head.services {
            state.put(service);
        }
        Ok((state, head.journal))
    }

    fn put(&mut self, stored: StoredService) {
        let mut service = Service {
            reals: stored.reals.into_iter().map(|real| (real.address, real.real)).collect(),
            leaving: stored.leaving.into_iter().map(|it| (it.real.key(it.address), it.real)).collect(),
            ..Service::default()
        };
        stored.options.apply(&mut service);
        self.desired.services.insert(stored.id, service);
        self.retired.insert(stored.id, stored.retired);
    }

    fn put_rest(&mut self, rest: Rest) {
        let Rest { groups, checks, timeouts, room, vips, gone, dips, follows_ipvs, standing } = rest;
        self.desired.groups = groups;
        let checks = checks.into_iter();
        self.desired.checks = checks.map(|(name, it)| (name, it.options.new_check(it.kind))).collect();
        (self.timeouts, self.room, self.standing) = (timeouts, room, standing);
        (self.vips, self.gone, self.dips) = (vips, gone, dips);
        self.follows_ipvs = follows_ipvs;
    }

    fn rest(&self) -> Rest {
        let checks = self.desired.checks.iter();
        Rest {
            groups: self.desired.groups.clone(),
            checks: checks.map(|(name, check)| (name.clone(), stored_check(check))).collect(),
            timeouts: self.timeouts,
            room: self.room,
            vips: self.vips.clone(),
            gone: self.gone.clone(),
            dips: self.dips.clone(),
            follows_ipvs: self.follows_ipvs,
            standing: self.standing,
        }
    }

    /// Replaces the state file.
    ///
    /// # Errors
    /// If it cannot be written; then the old one stays in force.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        self.prepare(path, None)?.commit().map_err(|error| not_written(path, &error))?;
        journal::remove_others(path, &[]);
        Ok(())
    }

    /// Writes the state beside the file in force: see [`state_file`]. The journal of that name, if any, will have the
    /// changes that follow, and must exist before the file is put in force.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn prepare(&self, path: &Path, journal: Option<&str>) -> Result<Prepared, Failure> {
        let services = self.desired.services.iter();
        let retired = |id| self.retired.get(id).copied().unwrap_or_default();
        let head = Head {
            version: VERSION,
            services: services.map(|(id, service)| StoredService::of(id, service, retired(id))).collect(),
            journal: journal.map(str::to_owned),
        };
        let stored = Stored { head, rest: self.rest() };
        state_file::prepare(path, &stored).map_err(|error| not_written(path, &error))
    }
}

impl StoredService {
    fn of(id: &ServiceId, service: &Service, retired: Totals) -> Self {
        Self {
            id: *id,
            options: ServiceOptions::of(service),
            reals: service.reals.iter().map(stored_real).collect(),
            leaving: service.leaving.iter().map(|(key, real)| stored_real((&key.address, real))).collect(),
            retired,
        }
    }
}

fn stored_real((address, real): (&SocketAddr, &Real)) -> StoredReal {
    StoredReal { address: *address, real: real.clone() }
}

fn stored_check(check: &Check) -> StoredCheck {
    StoredCheck { kind: check.kind, options: CheckOptions::of(check) }
}

/// Hint for a state file that cannot be used.
pub const REPAIR: &str =
    "repair it (without its line `checksum`), or move it and FILE.prev away to start with no services";

/// Returns the failure of a state file that could not be written.
#[must_use]
pub fn not_written(path: &Path, why: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write the state file {}: {why}", path.display()))
        .hint("is there space, and may this user write there? `--state FILE` names another place")
}

fn broken(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("cannot use the state file {}: {why}", path.display())).hint(REPAIR)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use lb_model::{Forward, Persistence, Protocol, Scheduler};

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/state.json");
        assert_eq!(State::load(&path).unwrap(), State::default());

        let address = "192.0.2.1:80".parse().unwrap();
        let id = ServiceId::new(Protocol::Tcp, address);
        let mut state = State::default();
        let real = Real { upper: 100, ..Real::new(Forward::Tun, 7) };
        let service = Service {
            scheduler: Scheduler::Wrr,
            flags: [].into(),
            persistence: Some(Persistence { seconds: 60, prefix: 24 }),
            reals: [("10.0.0.1:80".parse().unwrap(), real.clone())].into(),
            leaving: [(real.key("10.0.0.2:80".parse().unwrap()), real.clone())].into(),
            ..Service::default()
        };
        state.desired.groups.insert(1, [Endpoint { protocol: Protocol::Udp, address }].into());
        state.desired.services.insert(ServiceId::group(1), Service::default());
        state.retired.insert(ServiceId::group(1), Totals::default());
        let mut check = Check::new(CheckType::Http);
        check.path = Some("/health".to_owned());
        state.desired.checks.insert("web".parse().unwrap(), check);
        state.timeouts.udp = Some(30);
        state.desired.services.insert(id, service);
        state.vips.insert("192.0.2.1".parse().unwrap());
        state.retired.insert(id, Totals { packets_in: 5, ..Totals::default() });
        state.save(&path).unwrap();
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "it and the one before");
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

    #[test]
    fn the_version_before_stands_in_for_a_damaged_or_missing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let first = State { vips: ["192.0.2.1".parse().unwrap()].into(), ..State::default() };
        first.save(&path).unwrap();
        State::default().save(&path).unwrap();
        for damage in
            [|path: &Path| fs::write(path, "{").unwrap(), |path: &Path| fs::remove_file(path).unwrap()]
        {
            damage(&path);
            let Loaded { state, problem, is_previous } = Loaded::read(&path).unwrap();
            assert!(is_previous);
            assert_eq!(state.as_ref(), Some(&first));
            assert!(problem.unwrap().contains("cannot use the state file"));
        }
    }
}
