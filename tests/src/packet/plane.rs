// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data plane, loaded but not attached, with services in its maps by the way the daemon takes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::Sub,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{
    ids::{RealId, ServiceId},
    reason::Reason,
    schema::{Counters, Settings, Timeouts},
};
use lb_control::{
    apply::{self, Time},
    ids::Ids,
    image::{self, Image},
    neighbours::{NextHop, Resolution, Unresolved},
    own_addresses::OwnAddresses,
    plan,
    pool::HealthTable,
};
use lb_dataplane::{Limits, Options, Tables, clock};
use lb_model::Desired;

use super::{
    beside::Pins,
    frame::Frame,
    got::{Action, Got},
    lent::Lent,
    net::{RealServer, one_port},
    pool::Pool,
    samples::{self, Samples},
    version,
};
use crate::object;

/// Small: tests load many planes.
pub const LIMITS: Limits = Limits { services: 16, reals: 64, flows: 1024, flows6: 1024, flow_places: None };
/// More than any frame of a test run has, grown or not.
const LARGEST: usize = 4096;

/// A data plane for a test.
pub struct TestPlane {
    plane: Lent,
    timeouts: Timeouts,
    ids: Ids,
    image: Image,
    silent: bool,
    health: HealthTable,
    own: OwnAddresses,
    next_hops: BTreeMap<IpAddr, Resolution>,
    /// Checks the samples of the tracing build, which then runs instead.
    samples: Option<Samples>,
}

impl TestPlane {
    /// Loads it and sets up services; `fnat` has one port to give. Panics without root: a packet test does
    /// not skip.
    #[track_caller]
    pub fn new(pools: &[Pool]) -> Self {
        Self::with_settings(one_port(), pools)
    }

    /// Loads a plane with other settings.
    #[track_caller]
    pub fn with_settings(settings: Settings, pools: &[Pool]) -> Self {
        Self::with_limits(LIMITS, settings, pools)
    }

    /// Loads a plane with tables of other sizes.
    #[track_caller]
    pub fn with_limits(limits: Limits, settings: Settings, pools: &[Pool]) -> Self {
        if samples::are_wanted() {
            return Self::tracing(limits, settings, pools);
        }
        let options = Options { limits, settings: Some(settings), ..Options::default() };
        Self::with_options(&options, pools)
    }

    /// Loads a plane that runs the tracing build, and compares the sample of each packet with its verdict.
    #[track_caller]
    pub fn tracing(limits: Limits, settings: Settings, pools: &[Pool]) -> Self {
        let pins = Pins::new();
        let options = pins.options(limits, settings);
        let mut this = Self::with_options(&options, pools);
        let reader = this.plane.begin_samples(&options).unwrap_or_else(|error| panic!("{error}"));
        this.samples = Some(Samples::new(reader, pins));
        this
    }

    /// Loads a plane with any options.
    #[track_caller]
    pub fn with_options(options: &Options, pools: &[Pool]) -> Self {
        object::provide();
        let plane = Lent::new(options);
        let mut this = Self {
            plane,
            timeouts: Timeouts::DEFAULT,
            ids: Ids::default(),
            image: Image::default(),
            silent: false,
            health: HealthTable::default(),
            own: OwnAddresses::default(),
            next_hops: BTreeMap::new(),
            samples: None,
        };
        this.set(pools);
        this
    }

    /// Changes how long silent flows live.
    #[track_caller]
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
        self.plane.tables().put_timeouts(&timeouts).expect("timeouts can be written");
    }

    /// Changes the desired state of the director. The next hop of each real is known, unless
    /// [`TestPlane::route`] changes it.
    #[track_caller]
    pub fn set(&mut self, pools: &[Pool]) {
        self.set_desired(&Pool::desired(pools));
    }

    /// Sets the services, in the daemon's own types.
    #[track_caller]
    pub fn set_desired(&mut self, desired: &Desired) {
        for address in desired.services.values().flat_map(|service| service.reals.keys()) {
            let hop = || Ok(super::net::next_hop(*address));
            self.next_hops.entry(address.ip()).or_insert_with(hop);
        }
        self.ids = self.ids.allocate(desired, LIMITS.blocks()).expect("there is room");
        let mut want = Image::compile(desired, &self.ids, &self.next_hops, &self.health);
        if self.silent {
            want.silence();
        }
        want.forbid_sources(&self.own);
        let steps = plan::plan(&self.image, &want);
        let time = Time { now: clock::now(), timeouts: &self.timeouts };
        let outcome = apply::apply(self.plane.tables(), &mut self.image, &steps, time)
            .expect("the kernel takes every step");
        apply::forget(self.plane.tables(), &outcome.removed, &BTreeMap::new())
            .expect("the kernel takes every step");
    }

    /// Gives the director addresses besides its VIPs. Counts from the next [`TestPlane::set`] on.
    pub fn has_addresses(&mut self, own: OwnAddresses) {
        self.own = own;
    }

    /// Sets the health of reals with checks, from the next [`TestPlane::set`] on.
    pub fn has_health(&mut self, health: HealthTable) {
        self.health = health;
    }

    /// Sets whether VIPs without a real that accepts connections stop answering pings, from the next
    /// [`TestPlane::set`] on.
    pub fn silence(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// Changes the way to a real; `None`: not known. Counts from the next [`TestPlane::set`] on.
    pub fn route(&mut self, real: RealServer, hop: Option<NextHop>) {
        self.route_to(real.meant(), hop);
    }

    /// Sets the next hop of a RIP.
    pub fn route_to(&mut self, rip: IpAddr, hop: Option<NextHop>) {
        self.next_hops.insert(rip, hop.ok_or(Unresolved::NoRoute { rip }));
    }

    /// Returns the maps.
    pub fn tables(&mut self) -> &mut Tables {
        self.plane.tables()
    }

    /// Returns the expected contents of the maps.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Runs the director on one frame.
    #[track_caller]
    pub fn run(&mut self, frame: &Frame) -> Got {
        self.run_bytes(&frame.bytes())
    }

    /// Runs the director on one frame that no builder makes.
    #[track_caller]
    pub fn run_bytes(&mut self, sent: &[u8]) -> Got {
        self.watch(sent, run)
    }

    #[track_caller]
    fn watch(&mut self, sent: &[u8], run: impl FnOnce(&Xdp, &[u8]) -> (Action, Vec<u8>)) -> Got {
        let before = self.counts();
        let (action, frame) = run(self.plane.attached(), sent);
        let counted = &self.counts() - &before;
        let name = |(id, counters)| (self.name(id), counters);
        let reals = counted.reals.into_iter().map(name).collect();
        let got = Got { sent: sent.to_vec(), action, frame, reasons: counted.reasons, reals };
        if let Some(samples) = &mut self.samples {
            samples.check(&got);
        }
        got
    }

    /// Runs the director on one frame that arrives by another interface than loopback.
    #[track_caller]
    pub fn run_from(&mut self, ifindex: u32, frame: &Frame) -> Got {
        self.watch(&frame.bytes(), |program, sent| run_from(program, Some(ifindex), sent))
    }

    /// Runs the director on one frame without reading its counters, which takes most of the time.
    #[track_caller]
    pub fn try_bytes(&mut self, sent: &[u8]) -> (Action, Vec<u8>) {
        run(self.plane.director(), sent)
    }

    /// Returns the director's program, for runs on several CPUs at a time.
    pub fn director(&mut self) -> &Xdp {
        self.plane.director()
    }

    /// Returns the number of tracked flows.
    pub fn flows(&mut self) -> usize {
        self.tables().flows().expect("flows can be read").len()
    }

    /// Removes one active connection of a real, as the daemon's sweep does when a flow has ended.
    #[track_caller]
    pub fn forget_load(&mut self, real: RealId) {
        let load = self.tables().load(real).expect("loads can be read");
        let counts = load.counts.wrapping_sub(lb_common::schema::Load::ACTIVE);
        self.tables()
            .put_load(real, &lb_common::schema::Load { counts, ..load })
            .expect("loads can be written");
    }

    fn name(&self, id: RealId) -> RealServer {
        match version::original(image::real_address(&self.image.reals[&id])) {
            SocketAddr::V4(address) => RealServer(address),
            SocketAddr::V6(address) => panic!("{address} stands for nothing in IPv4"),
        }
    }

    /// Returns every counter of every service and real.
    fn counts(&mut self) -> Counts {
        let services = self.image.services.values().map(|service| service.id);
        let services: Vec<ServiceId> = services.chain([ServiceId::NONE]).collect();
        let reals: Vec<RealId> = self.image.reals.keys().copied().collect();
        let tables = self.plane.tables();
        let mut counts = Counts::default();
        for service in services {
            for (reason, count) in tables.reasons(service).expect("reasons can be read").iter() {
                *counts.reasons.entry(reason).or_default() += count;
            }
        }
        for real in reals {
            counts.reals.insert(real, tables.counters(real).expect("counters can be read"));
        }
        counts
    }
}

/// Runs an XDP program on one frame. `repeat` is 1: a second run would see the first one's output.
#[track_caller]
pub fn run(program: &Xdp, sent: &[u8]) -> (Action, Vec<u8>) {
    run_from(program, None, sent)
}

/// Runs a program on a frame that comes in by an interface; `None`: by loopback.
#[track_caller]
pub fn run_from(program: &Xdp, ifindex: Option<u32>, sent: &[u8]) -> (Action, Vec<u8>) {
    let mut frame = vec![0; LARGEST];
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    let length = u32::try_from(sent.len()).expect("a frame is smaller than that");
    let context = ifindex.map(|ifindex| [0, length, 0, ifindex, 0, 0].map(u32::to_ne_bytes).concat());
    let options = TestRunOptions {
        data_in: Some(sent),
        data_out: Some(&mut frame),
        ctx_in: context.as_deref(),
        repeat: 1,
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).expect("BPF_PROG_TEST_RUN takes the frame");
    frame.truncate(result.data_size_out as usize);
    (Action::of(result.return_value), frame)
}

#[derive(Default)]
struct Counts {
    reasons: BTreeMap<Reason, u64>,
    reals: BTreeMap<RealId, Counters>,
}

/// Only what moved.
impl Sub for &Counts {
    type Output = Counts;

    fn sub(self, before: Self) -> Counts {
        let moved = |(reason, count): (&Reason, &u64)| (*reason, count - before.reasons[reason]);
        let counters = |(id, now): (&RealId, &Counters)| {
            let then = before.reals.get(id).copied().unwrap_or_default();
            let moved = Counters {
                packets_in: now.packets_in - then.packets_in,
                bytes_in: now.bytes_in - then.bytes_in,
                packets_out: now.packets_out - then.packets_out,
                bytes_out: now.bytes_out - then.bytes_out,
                new_flows: now.new_flows - then.new_flows,
            };
            (*id, moved)
        };
        Counts {
            reasons: self.reasons.iter().map(moved).filter(|(_, count)| *count > 0).collect(),
            reals: self.reals.iter().map(counters).filter(|(_, c)| *c != Counters::default()).collect(),
        }
    }
}
