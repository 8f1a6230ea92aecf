// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director with real tables, loaded but not attached.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::programs::ProgramFd;
use lb_common::{
    ids,
    reason::Reason,
    schema::{Settings, Timeouts},
    wire::Be128,
};
use lb_control::{
    apply::{self, Time},
    flow_growth::places_for,
    ids::Ids,
    image::Image,
    neighbours::{NextHop, Resolution},
    plan,
    pool::HealthTable,
};
use lb_dataplane::{DataPlane, Limits, Options, SampleReader, clock};
use lb_model::{Desired, Endpoint, Forward, Protocol, Real, Scheduler, Service, ServiceId, Tracking};

use super::{
    net::{Host, PORT, REAL_PORT, mac},
    row::{Choice, Path, Setup, Version},
};
use crate::{
    object,
    packet::{
        Pins,
        net::{CLIENT_LINK, MTU},
    },
};

/// Addresses of the director that flows by full NAT come from.
const DIPS: u32 = 32;
/// The least that tables of flows are made for: what the daemon has by default.
const LEAST_FLOWS: u32 = 1 << 20;
/// The part of the tracked flows that can be `fnat` flows: a quarter.
const FNAT_SHARE: u32 = 4;

/// Returns the size of an LRU table for `flows` flows: half of the entries stay free.
#[must_use]
pub fn room(flows: u32) -> u32 {
    flows.saturating_mul(2).max(LEAST_FLOWS)
}

/// Returns the number of places that the flow table of a daemon with these limits has while it tracks so many flows.
/// 0 stands for flows that come once: they fill the table.
fn places(limits: &Limits, flows: u32) -> u32 {
    let (least, most) = (limits.least_flow_places(), limits.most_flow_places());
    if flows == 0 {
        return most;
    }
    u32::try_from(places_for(flows.into())).unwrap_or(most).clamp(least, most)
}

/// A director for the benchmark.
pub struct Plane {
    loaded: DataPlane,
    image: Image,
    /// Pins of the maps, which the tracing build needs.
    pins: Option<(Pins, Options)>,
}

/// Counters of a run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Number of packets to reals.
    pub requests: u64,
    /// Number of packets from reals.
    pub replies: u64,
    /// Number of packets that were not forwarded, by reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl Plane {
    /// Loads the director for a set-up, with room for `flows` flows. The reals are behind the interface
    /// `device`.
    pub fn new(setup: &Setup, flows: u32, device: u32) -> Result<Self> {
        Self::load(setup, flows, device, None)
    }

    /// Loads it with pinned maps, so that the tracing build can run over them too.
    pub fn pinned(setup: &Setup, flows: u32, device: u32) -> Result<Self> {
        Self::load(setup, flows, device, Some(Pins::new()))
    }

    fn load(setup: &Setup, flows: u32, device: u32, pins: Option<Pins>) -> Result<Self> {
        let tracked = flows;
        let share = if setup.path == Path::Fnat { FNAT_SHARE } else { 1 };
        let most = flows.saturating_mul(share).max(LEAST_FLOWS);
        let least = 1024;
        let (flows, flows6) = match setup.version {
            Version::V4 => (most, least),
            Version::V6 => (least, most),
        };
        let reals = (setup.services * setup.reals).max(64);
        let limits = Limits { services: setup.services.max(16), reals, flows, flows6, flow_places: None };
        let limits = Limits { flow_places: Some(places(&limits, tracked)), ..limits };
        let settings = Settings { dips: DIPS.into(), dips6: DIPS.into(), ..Settings::DEFAULT };
        let options = match &pins {
            Some(pins) => pins.options(limits, settings),
            None => Options { limits, settings: Some(settings), ..Options::default() },
        };
        object::provide();
        let mut plane = DataPlane::load(&options)?;
        let desired = desired(setup);
        let hops: BTreeMap<_, Resolution> = desired
            .services
            .values()
            .flat_map(|service| service.reals.keys())
            .zip(1..)
            .map(|(address, number)| (address.ip(), Ok(next_hop(setup.version, number, device))))
            .collect();
        let ids = Ids::default().allocate(&desired, limits.blocks()).context("ids")?;
        let mut image = Image::default();
        let steps = plan::plan(&image, &Image::compile(&desired, &ids, &hops, &HealthTable::default()));
        let timeouts = Timeouts::DEFAULT;
        let time = Time { now: clock::now(), timeouts: &timeouts };
        apply::apply(plane.tables(), &mut image, &steps, time)?;
        if setup.path == Path::Fnat {
            let dips: Vec<Be128> = (0..DIPS).map(|n| Host::Director(n).ip(setup.version).into()).collect();
            plane.tables().put_dips(&dips, &dips)?;
        }
        Ok(Self { loaded: plane, image, pins: pins.map(|pins| (pins, options)) })
    }

    /// Returns the director's program.
    pub fn director(&mut self) -> Result<ProgramFd> {
        Ok(self.loaded.director().fd()?.try_clone()?)
    }

    /// Loads the tracing build. Returns its main program, and its maps.
    pub fn tracing(&mut self) -> Result<(ProgramFd, SampleReader)> {
        let (_, options) = self.pins.as_ref().context("the tracing build needs pinned maps")?;
        let reader = self.loaded.begin_samples(options)?;
        Ok((self.loaded.attached().fd()?.try_clone()?, reader))
    }

    /// Returns the number of tracked flows.
    pub fn flows(&mut self) -> Result<usize> {
        let mut count = 0;
        self.loaded.tables().for_each_flow(|_, _| count += 1)?;
        Ok(count)
    }

    /// Returns the counters since the load.
    pub fn counts(&mut self) -> Result<Counts> {
        let tables = self.loaded.tables();
        let mut counts = Counts::default();
        for real in self.image.reals.keys() {
            let counters = tables.counters(*real)?;
            counts.requests += counters.packets_in;
            counts.replies += counters.packets_out;
        }
        // Packets and reasons of all services are alike: the first and the last service represent them.
        let ids = self.image.services.values().map(|service| service.id);
        for service in [Some(ids::ServiceId::NONE), ids.clone().min(), ids.max()].into_iter().flatten() {
            for (reason, count) in tables.reasons(service)?.iter() {
                *counts.reasons.entry(reason).or_default() += count;
            }
        }
        Ok(counts)
    }
}

impl Counts {
    /// Returns the difference from earlier counters.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let reasons = self.reasons.iter().map(|(reason, now)| (*reason, now - before.reasons[reason]));
        Self {
            requests: self.requests - before.requests,
            replies: self.replies - before.replies,
            reasons: reasons.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

fn desired(setup: &Setup) -> Desired {
    let (scheduler, tracking) = scheduler(setup.choice);
    let forward = forward(setup.path);
    let port = if setup.path.request() == Path::Nat || setup.path == Path::Fnat { REAL_PORT } else { PORT };
    let mut desired = Desired::default();
    for number in 0..setup.services {
        let address = Host::Service(number).at(setup.version, PORT);
        let id = ServiceId::Endpoint(Endpoint { protocol: Protocol::Tcp, address });
        let mut service =
            Service { scheduler, tracking, flags: scheduler.default_flags(), ..Service::default() };
        for real in 1..=setup.reals {
            let rip = Host::Real(number * setup.reals + real).at(setup.version, port);
            service.reals.insert(rip, Real::new(forward, 1));
        }
        desired.services.insert(id, service);
    }
    desired
}

/// Returns the forwarding method of a path.
const fn forward(path: Path) -> Forward {
    match path {
        Path::Dr => Forward::Dr,
        Path::Tun => Forward::Tun,
        Path::Nat | Path::NatReply => Forward::Nat,
        Path::Fnat | Path::FnatReply => Forward::Fnat,
    }
}

/// Returns the scheduler and the tracking of a choice.
const fn scheduler(choice: Choice) -> (Scheduler, Tracking) {
    match choice {
        Choice::MhAuto => (Scheduler::Mh, Tracking::Auto),
        Choice::MhFull => (Scheduler::Mh, Tracking::Full),
        Choice::Wrr => (Scheduler::Wrr, Tracking::Auto),
        Choice::Wlc => (Scheduler::Wlc, Tracking::Auto),
    }
}

fn next_hop(version: Version, number: u32, device: u32) -> NextHop {
    NextHop {
        ifindex: device,
        source_mac: CLIENT_LINK.to,
        next_hop_mac: mac(number),
        source_ip: Host::Director(0).ip(version),
        mtu: MTU,
        tags: 0,
        trunk: false,
        on_link: true,
    }
}
