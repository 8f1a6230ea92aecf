// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carrying out a plan: the only code that changes the maps.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    schema::{AddressUse, Counters, Flow, FlowKey, Real, Source},
    wire::Be16,
};

use super::{image::Image, plan::Step};
use crate::{
    dataplane::{TableError, Tables},
    schedule,
};

/// What the maps told while a plan was carried out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The last counters of removed reals, by service id.
    pub retired: BTreeMap<u32, Counters>,
    /// Flows that ended with their reals.
    pub flows_removed: usize,
}

/// Carries out `steps` one after the other, and keeps `image` to what the maps hold.
///
/// # Errors
/// [`TableError`] at the first step that the kernel refuses; `image` says how far it came.
pub fn apply(tables: &mut Tables, image: &mut Image, steps: &[Step]) -> Result<Outcome, TableError> {
    let mut outcome = Outcome::default();
    let removed: BTreeMap<u32, Real> = steps
        .iter()
        .filter_map(|step| match step {
            Step::RemoveReal { id, real } => Some((*id, *real)),
            _ => None,
        })
        .collect();
    for step in steps {
        apply_step(tables, image, step, &mut outcome)?;
        image.apply(step);
    }
    if !removed.is_empty() {
        outcome.flows_removed = forget_flows(tables, &removed)?;
    }
    Ok(outcome)
}

fn apply_step(
    tables: &mut Tables,
    image: &Image,
    step: &Step,
    outcome: &mut Outcome,
) -> Result<(), TableError> {
    match step {
        Step::PutReal { id, real, new } => {
            if *new {
                tables.reset_counters(*id)?;
            }
            if real.reachable() {
                tables.put_device(real.ifindex)?;
            }
            tables.put_real(*id, real)?;
            let was_shared = image.reals.get(id).is_some_and(|old| old.shared != 0);
            if real.shared != 0 && !was_shared && !new { remember_replies(tables, *id, real) } else { Ok(()) }
        }
        Step::PutTable { service, spec } => tables.put_table(*service, &schedule::fill(&spec.turns())),
        Step::PutAddress { address, used } => tables.put_address(*address, AddressUse(*used)),
        Step::PutSource { key, source } => tables.put_source(key, source),
        Step::PutService { key, service, new } => {
            if *new {
                tables.reset_reasons(service.id)?;
            }
            tables.put_service(key, service)
        }
        Step::RemoveService { key, .. } => tables.remove_service(key),
        Step::RemoveSource { key } => tables.remove_source(key),
        Step::RemoveAddress { address } => tables.remove_address(*address),
        Step::RemoveReal { id, real } => {
            outcome.retired.entry(real.service).or_default().add(&tables.counters(*id)?);
            tables.put_real(*id, &Real::default())
        }
    }
}

/// Notes whose the replies of a real's flows are, now that its address and port alone do not say so any more.
/// Flows that begin later are noted by the programs.
fn remember_replies(tables: &mut Tables, id: u32, real: &Real) -> Result<(), TableError> {
    let mut requests = Vec::new();
    tables.for_each_flow(|key, flow| {
        if flow.real == id {
            requests.push(*key);
        }
    })?;
    for request in requests {
        let source = Source { vip: request.destination, port: request.destination_port, shared: 1 };
        tables.put_reply(&reply_of(&request, real), &source)?;
    }
    Ok(())
}

/// Forgets the flows of removed reals: their next packet begins anew, and nothing is left for the next real
/// with the same id.
fn forget_flows(tables: &mut Tables, removed: &BTreeMap<u32, Real>) -> Result<usize, TableError> {
    let mut keys: BTreeSet<(FlowKey, u32)> = BTreeSet::new();
    tables.for_each_flow(|key, flow: &Flow| {
        if removed.contains_key(&flow.real) {
            keys.insert((*key, flow.real));
        }
    })?;
    for (key, real) in &keys {
        tables.remove_flow(key)?;
        forget_reply(tables, key, &removed[real])?;
    }
    Ok(keys.len())
}

/// Forgets what the replies of a flow were.
///
/// # Errors
/// [`TableError`] if the map refuses.
pub fn forget_reply(tables: &mut Tables, request: &FlowKey, real: &Real) -> Result<(), TableError> {
    if real.shared == 0 { Ok(()) } else { tables.remove_reply(&reply_of(request, real)) }
}

/// The reply to a request, as the real sends it.
fn reply_of(request: &FlowKey, real: &Real) -> FlowKey {
    let port = if real.port == Be16::ZERO { request.destination_port } else { real.port };
    FlowKey::new(
        real.address,
        request.source,
        port,
        request.source_port,
        u8::try_from(request.protocol).unwrap_or(0),
    )
}
