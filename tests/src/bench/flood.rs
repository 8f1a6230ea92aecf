// SPDX-License-Identifier: MIT OR Apache-2.0
//! Survival of known flows during a SYN flood that fills the table several times.

use std::path::Path;

use anyhow::Result;
use lb_tests_ebpf::{NONE, Order};
use serde::{Deserialize, Serialize};

use super::{
    choice::BASE,
    frame::{self, Part},
    measure::{first_turn, warm},
    plane::{self, Plane},
    row::{Choice, Row, Traffic},
    trampoline::Trampoline,
};
use crate::packet::net::INGRESS;

/// Number of known flows.
const FLOWS: u32 = 10_000;
/// Number of SYNs between two packets of each known flow: a tenth of a second of a million each second.
const BETWEEN: u32 = 100_000;
/// Number of times that the flood fills the table.
const TIMES: u32 = 4;

/// The effect of a flood on known flows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Flood {
    /// The selection of the real of a flow.
    pub choice: Choice,
    /// Number of known flows.
    pub flows: u32,
    /// SYNs that came meanwhile.
    pub syns: u32,
    /// Number of flows that sent packets meanwhile and lost their reals.
    pub lost: u32,
}

/// Floods a director with SYNs, while known flows continue.
pub fn measure(object: &Path, choice: Choice) -> Result<Flood> {
    let row = BASE.choice(choice).flows(FLOWS);
    let mut plane = Plane::new(&row.setup(), FLOWS, INGRESS)?;
    let mut trampoline = Trampoline::load(object, &row)?;
    let director = plane.director()?;
    warm(&mut trampoline, &row, &director)?;
    let before = learn(&mut trampoline, &row, &mut plane)?;
    let flood = row.traffic(Traffic::SynFlood);
    let (sender, mut syns) = frame::order(&flood, Part::Measured);
    syns.next = first_turn(&flood);
    let mut sent = 0;
    while sent < TIMES * plane::room(FLOWS) {
        trampoline.send(sender, &mut syns, &director, BETWEEN)?;
        sent += BETWEEN;
        let (sender, mut known) = frame::order(&row, Part::Measured);
        trampoline.send(sender, &mut known, &director, FLOWS)?;
    }
    let after = learn(&mut trampoline, &row, &mut plane)?;
    let lost = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    Ok(Flood { choice, flows: FLOWS, syns: sent, lost: u32::try_from(lost)? })
}

/// Returns the frame's destination for each flow.
fn learn(trampoline: &mut Trampoline, row: &Row, plane: &mut Plane) -> Result<Vec<(u32, u32)>> {
    let (sender, order) = frame::order(row, Part::Measured);
    let mut order = Order { learn: 1, last: NONE, ..order };
    trampoline.send(sender, &mut order, &plane.director()?, row.flows + 1)?;
    Ok(trampoline.ends(row.flows)?.into_iter().map(|ends| (ends.mac, ends.mac_end)).collect())
}
