// SPDX-License-Identifier: MIT OR Apache-2.0
//! One scene, packet by packet, by the programs and by the model.

use std::fmt;

use lb_common::{
    ids::{IfIndex, RealId, ServiceId},
    reason::Reason,
    schema::{Load, Move, Settings, Step as Told, Trace},
    slot::LONG_AGO,
};
use lb_dataplane::Limits;
use lb_model::Desired;

use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

use super::{scene::Scene, tally::Tally};
use crate::{
    model::{
        Chance, Model, Outcome, State, Tuple, World, connection::State as Connection, state::Flow,
        world::Service,
    },
    packet::{
        Action,
        beside::Beside,
        device::Devices,
        judge,
        net::INGRESS,
        plane::{LIMITS, run_from},
    },
};

/// Tables in which no scene comes near the point where one entry makes room for another.
const LARGE: Limits = Limits { flows: 1 << 18, flows6: 1 << 18, ..LIMITS };
/// The programs run one packet in this number as the daemon loads them.
const UNTRACED: usize = 16;

/// Something that happens in a scene.
#[derive(Clone, Debug)]
pub enum Event {
    /// A frame arrives by an interface.
    Frame(Vec<u8>, u32),
    /// The operator wants something else.
    Change(Box<Desired>),
    /// All that the operator ever changed was long ago.
    Age,
}

/// The programs, loaded, and what a run has come by.
pub struct Bench {
    beside: Beside,
    settings: Settings,
    devices: Devices,
    /// Kept over all scenes.
    pub tally: Tally,
}

/// A scene under way.
pub struct Trial<'a> {
    bench: &'a mut Bench,
    scene: &'a Scene,
    model: Model,
    packets: usize,
}

/// The programs and the model do not agree.
#[derive(Clone, Debug)]
pub struct Difference(pub String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Bench {
    /// Loads the programs. The thread stays on its CPU from now on: each has its own way through the ports of
    /// the director.
    #[track_caller]
    pub fn new(settings: Settings, devices: Devices) -> Self {
        let mut here = CpuSet::new();
        here.set(sched_getcpu().expect("this runs on a CPU")).expect("its number is one");
        sched_setaffinity(Pid::from_raw(0), &here).expect("a thread may stay where it is");
        let mut beside = Beside::with_limits(LARGE, settings, &[]);
        for device in [INGRESS, devices.other] {
            beside.plane.tables().put_device(IfIndex(device)).expect("the device is there");
        }
        Self { beside, settings, devices, tally: Tally::default() }
    }

    /// Begins a scene, with nothing left of the one before.
    #[track_caller]
    pub fn begin<'a>(&'a mut self, scene: &'a Scene) -> Trial<'a> {
        let plane = &mut self.beside.plane;
        plane.set_desired(&Desired::default());
        self.beside.forget();
        let plane = &mut self.beside.plane;
        plane.tables().reset(&[], &[ServiceId::NONE]).expect("reasons can be written");
        for (rip, hop) in &scene.hops {
            let open = hop.map(|hop| match hop.ifindex {
                // The daemon has no such setting: the test changes the entry itself.
                device if device == self.devices.closed => {
                    lb_control::neighbours::NextHop { ifindex: INGRESS, ..hop }
                }
                _ => hop,
            });
            plane.route_to(*rip, open);
        }
        plane.silence(scene.silent);
        plane.set_desired(&scene.desired);
        let world = self.world(scene);
        Trial { bench: self, scene, model: Model { world, state: State::default() }, packets: 0 }
    }

    /// Returns the desired state, as the maps have it.
    fn world(&mut self, scene: &Scene) -> World {
        let (closed, tables) = (self.devices.closed, self.beside.plane.tables());
        for (id, real) in tables.reals().expect("reals can be read") {
            if let Some(Some(hop)) = scene.hops.get(&real.address.into())
                && hop.ifindex == closed
            {
                let lost = lb_common::schema::Real { ifindex: IfIndex(closed), ..real };
                tables.put_real(id, &lost).expect("reals can be written");
            }
        }
        let world = World::read(tables, &self.settings, [INGRESS, self.devices.other]);
        World { silent: scene.silent, ..world.expect("maps can be read") }
    }
}

/// The result of the programs for a frame.
struct Got {
    action: Action,
    frame: Vec<u8>,
    reason: Reason,
    chance: Chance,
}

impl Trial<'_> {
    /// Lets something happen. Returns the outcome, if the event was a frame.
    ///
    /// # Errors
    /// If the programs and the model do not agree.
    pub fn step(&mut self, event: &Event) -> Result<Option<Outcome>, Difference> {
        match event {
            Event::Frame(sent, device) => self.frame(sent, *device).map(Some),
            Event::Change(desired) => {
                self.bench.beside.plane.set_desired(desired);
                let world = self.bench.world(self.scene);
                self.model.change(world);
                let tables = self.bench.beside.plane.tables();
                for service in self.model.world.services.values() {
                    let position = tables.position(ServiceId(service.id)).expect("positions can be read");
                    self.model.state.turns.insert(service.id, position.next);
                }
                Ok(None)
            }
            Event::Age => {
                let tables = self.bench.beside.plane.tables();
                for (_, service) in tables.services().expect("services can be read") {
                    let moves = tables.moves(service.first, service.slots).expect("moves can be read");
                    let aged: Vec<Move> =
                        moves.iter().map(|moved| Move { since: LONG_AGO, ..*moved }).collect();
                    tables.put_moves(service.first, &aged).expect("moves can be written");
                }
                let world = self.bench.world(self.scene);
                self.model.change(world);
                Ok(None)
            }
        }
    }

    fn frame(&mut self, sent: &[u8], device: u32) -> Result<Outcome, Difference> {
        self.packets += 1;
        let got = self.programs(sent, device);
        let outcome = self.model.run(sent, device, got.chance);
        let same_frame = outcome.action == Action::Drop || outcome.frame == got.frame;
        if (outcome.action, outcome.reason) != (got.action, got.reason) || !same_frame {
            return Err(Difference(format!(
                "packet {} by device {device}:\n{}{}\nthe model: {:?}, {}\n{}{}\nthe programs: {:?}, {}\n{}{}",
                self.packets,
                judge::decode(sent),
                hex(sent),
                outcome.action,
                outcome.reason.as_str(),
                judge::decode(&outcome.frame),
                hex(&outcome.frame),
                got.action,
                got.reason.as_str(),
                judge::decode(&got.frame),
                hex(&got.frame),
            )));
        }
        self.bench.tally.count(&outcome, &self.model.world);
        Ok(outcome)
    }

    /// Runs the programs on a frame.
    fn programs(&mut self, sent: &[u8], device: u32) -> Got {
        let Bench { beside, tally, .. } = &mut *self.bench;
        if self.packets.is_multiple_of(UNTRACED) {
            let dry = beside.dry.run(sent, IfIndex(device)).expect("the kernel takes the frame");
            if dry.trace.steps().all(|(step, ..)| step != Told::Random) {
                tally.untraced += 1;
                let (action, frame) = run_from(beside.plane.director(), Some(device), sent);
                return Got { action, frame, reason: reason(&dry.trace), chance: chance(&dry.trace) };
            }
        }
        let run = beside.traced.run(sent, IfIndex(device)).expect("the kernel takes the frame");
        Got {
            action: Action::of(run.action),
            frame: run.frame,
            reason: reason(&run.trace),
            chance: chance(&run.trace),
        }
    }

    /// Compares tables and counters, at the end.
    ///
    /// # Errors
    /// If the programs and the model do not agree.
    pub fn end(&mut self) -> Result<(), Difference> {
        let State { flows, loads, counters, reasons, translations, .. } = &self.model.state;
        let world = &self.model.world;
        let tables = self.bench.beside.plane.tables();
        let mut wrong = Vec::new();
        let mut claim = |what: String, model: String, programs: String| {
            if model != programs {
                wrong.push(format!("{what}:\n  the model: {model}\n  the programs: {programs}"));
            }
        };
        let mut known = std::collections::BTreeMap::new();
        tables
            .for_each_flow(|key, flow| {
                known.insert(tuple(key), read_flow(flow));
            })
            .expect("flows can be read");
        // Replies show the return paths of flows.
        let of_model = |flow: &Flow| (flow.real, flow.state, flow.dip);
        let keys: std::collections::BTreeSet<_> = known.keys().chain(flows.keys()).collect();
        for key in keys {
            let flow = flows.get(key).map(of_model);
            claim(format!("flow {key:?}"), format!("{flow:?}"), format!("{:?}", known.get(key)));
        }
        let mut taken = std::collections::BTreeMap::new();
        tables
            .for_each_translation(|reply, request| {
                taken.insert(tuple(reply), tuple(request));
            })
            .expect("translations can be read");
        claim("ports given out".to_owned(), format!("{translations:?}"), format!("{taken:?}"));
        for &id in world.reals.keys() {
            let load = loads.get(&id).copied().unwrap_or_default();
            let model = Load {
                // Both halves of one number: a negative lower half borrows from the upper one.
                counts: (i64::from(load.active) << 32).wrapping_add(i64::from(load.inactive)).cast_unsigned(),
                overloaded: load.overloaded.into(),
            };
            let programs = tables.load(RealId(id)).expect("loads can be read");
            claim(format!("connections of real {id}"), format!("{model:?}"), format!("{programs:?}"));
            let model = counters.get(&id).copied().unwrap_or_default();
            let programs = tables.counters(RealId(id)).expect("counters can be read");
            claim(format!("counters of real {id}"), format!("{model:?}"), format!("{programs:?}"));
        }
        let services = world.services.values().map(|service| service.id).chain([ServiceId::NONE.0]);
        for service in services {
            for (reason, programs) in tables.reasons(ServiceId(service)).expect("reasons can be read").iter()
            {
                let model = reasons.get(&(service, reason)).copied().unwrap_or(0);
                let what = format!("{} of service {service}", reason.as_str());
                claim(what, model.to_string(), programs.to_string());
            }
        }
        let limited = reasons.iter().filter(|((_, reason), _)| *reason == Reason::IcmpLimited);
        *self.bench.tally.reasons.entry(Reason::IcmpLimited).or_default() +=
            limited.map(|(_, count)| count).sum::<u64>();
        if wrong.is_empty() { Ok(()) } else { Err(Difference(wrong.join("\n"))) }
    }

    /// Describes the services and reals of the model, for the report of a difference.
    pub fn describe(&self) -> String {
        let World { services, reals, .. } = &self.model.world;
        let mut lines = Vec::new();
        for ((protocol, vip), service) in services {
            let Service { id, scheduler, tracking, persistent, ports, one_packet, table, .. } = service;
            lines.push(format!(
                "service {id} {protocol} {vip} {scheduler:?} {tracking:?} persistent {persistent:?} ports \
                 {ports} one packet {one_packet} slots {}",
                table.len(),
            ));
            let of = reals.iter().filter(|(_, real)| real.service == *id);
            lines.extend(of.map(|(id, real)| format!("  real {id} {real:?}")));
        }
        lines.join("\n")
    }
}

fn tuple(key: &lb_common::schema::FlowKey) -> Tuple {
    Tuple {
        protocol: key.protocol as u8,
        source: (std::net::IpAddr::from(key.source), key.source_port.get()).into(),
        destination: (std::net::IpAddr::from(key.destination), key.destination_port.get()).into(),
    }
}

/// Returns the real, the state and the SNAT port of a flow.
fn read_flow(flow: &lb_dataplane::Flow) -> (u32, Connection, Option<u16>) {
    use Connection::{Close, Established, FinWait, SynReceived, Udp};
    (
        flow.real().0,
        [Udp, SynReceived, Established, FinWait, Close][flow.state() as usize],
        (!flow.snat.is_none()).then(|| flow.snat.port.get()),
    )
}

/// Returns the reason of a packet, by the steps of its trace.
fn reason(trace: &Trace) -> Reason {
    let mut reason = Reason::NotOurs;
    for (step, _, b) in trace.steps() {
        match step {
            Told::CountIn | Told::CountOut => reason = Reason::Forwarded,
            Told::Reason if b != Reason::IcmpLimited.index() => reason = Reason::ALL[b as usize],
            _ => {}
        }
    }
    reason
}

/// Returns the random choices of the programs, from their trace.
fn chance(trace: &Trace) -> Chance {
    let of = |wanted| trace.steps().filter(move |(step, ..)| *step == wanted).map(|(_, a, _)| a);
    Chance { random: of(Told::Random).collect(), port: of(Told::TakeDip).last().map(|port| port as u16) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
