// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rounds: the limit, the floors and the director take turns, so that other load of the machine affects all
//! of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramFd, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_tests_ebpf::{NONE, Order, SHORT};
use serde::{Deserialize, Serialize};

use super::{
    check, floor,
    frame::{self, Part},
    plane::Plane,
    row::{Row, Setup, Traffic},
    stats::Spread,
    trampoline::Trampoline,
};
use crate::packet::{Action, net::INGRESS};

/// The amount of work for each row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Number of rounds.
    pub rounds: u32,
    /// Packets for each program in each of them.
    pub packets: u32,
}

/// The cost of a row.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Measured {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// Cost of sending a packet back, including the trampoline.
    pub limit: Spread,
    /// Cost of the director above [`Self::limit`].
    pub above: Spread,
    /// Cost of each floor above [`Self::limit`].
    pub floors: BTreeMap<String, Spread>,
    /// Number of tracked flows at the end.
    pub tracked: usize,
}

/// The runner of measurements.
pub struct Measurer {
    object: PathBuf,
    effort: Effort,
    other_device: u32,
    beside: Vec<(String, PathBuf)>,
    plane: Option<(Setup, u32, Plane)>,
}

impl Measurer {
    /// Returns a measurer with the programs of this object. `other_device` is the ifindex of another
    /// interface than loopback.
    #[must_use]
    pub fn new(object: &Path, effort: Effort, other_device: u32) -> Self {
        Self { object: object.to_owned(), effort, other_device, beside: Vec::new(), plane: None }
    }

    /// Measures pinned programs beside `dr` rows over IPv4, like floors. The caller fills their tables: the
    /// first service is at 10.200.0.0:80.
    pub fn beside(&mut self, programs: Vec<(String, PathBuf)>) {
        self.beside = programs;
    }

    /// Measures a row. No row finds flows in the tables that another one left there.
    pub fn measure(&mut self, row: &Row) -> Result<Measured> {
        let setup = row.setup();
        let mut trampoline = Trampoline::load(&self.object, row)?;
        let (_, room, mut plane) = match self.plane.take() {
            Some((same, room, plane)) if same == setup && room >= row.flows => (same, room, plane),
            // What was there goes first: two of the largest may not fit.
            other => {
                drop(other);
                // Test runs come in by loopback: out of it again is `XDP_TX`.
                let device = if row.redirect { self.other_device } else { INGRESS };
                (setup, row.flows, Plane::new(&setup, row.flows, device)?)
            }
        };
        let floors = floor::beside(row);
        let mut programs = vec![trampoline.own("limit")?];
        for name in floors {
            programs.push(trampoline.own(name)?);
        }
        if !floors.is_empty() {
            floor::fill(&mut trampoline)?;
        }
        let mut names: Vec<String> = floors.iter().map(|name| (*name).to_owned()).collect();
        if !floors.is_empty() {
            for (name, path) in &self.beside {
                let pinned = Xdp::from_pin(path, XdpAttachType::Interface)
                    .with_context(|| format!("cannot open {}", path.display()))?;
                programs.push(pinned.fd()?.try_clone()?);
                names.push(name.clone());
            }
        }
        let director = plane.director()?;
        let (limit, above, others) = self.rounds(row, &mut trampoline, &mut plane, &programs, &director)?;
        let tracked = plane.flows()?;
        if tracked == 0 {
            self.plane = Some((setup, room, plane));
        }
        let floors = names.into_iter().zip(others).collect();
        Ok(Measured { row: *row, limit, above, floors, tracked })
    }

    /// Measures the cost of the first program, and the cost of the director and the others above it.
    fn rounds(
        &self,
        row: &Row,
        trampoline: &mut Trampoline,
        plane: &mut Plane,
        programs: &[ProgramFd],
        director: &ProgramFd,
    ) -> Result<(Spread, Spread, Vec<Spread>)> {
        for program in programs.iter().chain([director]) {
            warm(trampoline, row, program)?;
        }
        let (sender, mut order) = frame::order(row, Part::Measured);
        order.next = first_turn(row);
        let connection = order.packets;
        let one = trampoline.send(sender, &mut order, director, connection)?;
        check::sample(row, &one)?;
        let packets = self.effort.packets - self.effort.packets % connection;
        let mut times = vec![Vec::new(); programs.len()];
        let mut above = Vec::new();
        // The first round warms up the programs that were just loaded.
        for round in 0..=self.effort.rounds {
            let mut each = Vec::new();
            for program in programs {
                each.push(trampoline.send(sender, &mut order, program, packets)?.each);
            }
            let before = plane.counts()?;
            let director = trampoline.send(sender, &mut order, director, packets)?;
            check::counted(row, packets, &plane.counts()?.since(&before))?;
            if round == 0 {
                continue;
            }
            above.push(director.each - each[0]);
            times[0].push(each[0]);
            for (floor, time) in times.iter_mut().zip(&each).skip(1) {
                floor.push(time - each[0]);
            }
        }
        let others = times[1..].iter().map(|times| Spread::of(times)).collect();
        Ok((Spread::of(&times[0]), Spread::of(&above), others))
    }
}

/// Makes a program know each flow, and the trampoline where it goes.
pub(super) fn warm(trampoline: &mut Trampoline, row: &Row, program: &ProgramFd) -> Result<()> {
    if row.flows == 0 || matches!(row.traffic, Traffic::NotOurs | Traffic::NotIp | Traffic::NoReal) {
        return Ok(());
    }
    let (sender, mut syn) = frame::order(row, Part::Syn);
    let (_, ack) = frame::order(row, Part::Ack);
    let mut left = row.flows;
    while left > 0 {
        // Connections do not stay half open for long.
        let some = left.min(100_000);
        let mut ack = Order { next: syn.next, step: syn.step, ..ack };
        trampoline.send(sender, &mut syn, program, some)?;
        let sent = trampoline.send(sender, &mut ack, program, some)?;
        let forwarded = [Action::Tx, Action::Redirect].contains(&sent.action);
        ensure!(forwarded, "{row}: a program said {:?} to a request", sent.action);
        left -= some;
    }
    if row.path.is_reply() {
        // What the last packet became is seen when the next one is made.
        let mut learn = Order { learn: 1, last: NONE, ..ack };
        trampoline.send(sender, &mut learn, program, row.flows + 1)?;
    }
    Ok(())
}

/// Returns the turn at which flows that come once begin: at the first packet of a flow, and not among known
/// flows.
pub(super) fn first_turn(row: &Row) -> u32 {
    if row.flows == 0 { SHORT * 10_000_000 } else { 0 }
}
