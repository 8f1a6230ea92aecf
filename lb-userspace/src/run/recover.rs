// SPDX-License-Identifier: MIT OR Apache-2.0
//! State that a start begins with: the state file, its predecessor, or the pinned maps.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use crate::run::RunOptions;
use lb_control::{
    config::Config,
    dips::Dips,
    evidence,
    image::Image,
    state::{Loaded, REPAIR, State},
    state_file,
};
use lb_dataplane::{Limits, PinDir};
use lb_model::failure::Failure;
use lb_netlink::Netlink;

/// Returns the state from the state file or, if that cannot be used, from the maps of the last daemon: a lost
/// file costs no connections.
pub(crate) async fn state(
    loaded: Loaded,
    pins: &PinDir,
    options: &RunOptions,
    config: &Config,
    netlink: &Netlink,
) -> Result<State, Failure> {
    let Loaded { state, problem, is_previous } = loaded;
    if let (Some(state), None) = (&state, &problem) {
        return Ok(state.clone());
    }
    let told = pins.tables().and_then(|tables| Ok((Image::read(&tables)?, tables.pool()?)));
    match (told, state, problem) {
        (Ok((image, pool)), before, problem) if !image.services.is_empty() => {
            let why =
                problem.unwrap_or_else(|| format!("there is no state file {}", options.state.display()));
            tracing::warn!("{why}: the services are those of the pinned maps");
            let mut state = evidence::state(&image, before.unwrap_or_default());
            state.dips = Dips::told(&pool);
            state.vips.extend(added_vips(&state, netlink).await);
            Ok(state)
        }
        (_, Some(before), Some(problem)) if !is_previous => {
            tracing::warn!("{problem}: the services are those before that change");
            Ok(before)
        }
        (_, Some(before), Some(problem)) => {
            let previous = state_file::previous(&options.state);
            tracing::warn!("{problem}: the services are those of {}", previous.display());
            Ok(before)
        }
        (_, None, Some(problem)) if config.desired.services.is_empty() => {
            Err(Failure::failed(problem).hint(REPAIR))
        }
        (_, state, problem) => {
            if let Some(problem) = problem {
                tracing::warn!("{problem}: the services are those of the config file");
            }
            Ok(state.unwrap_or_default())
        }
    }
}

/// Returns the VIPs that the last daemon most likely added: those that this host has with a full prefix
/// length.
async fn added_vips(state: &State, netlink: &Netlink) -> BTreeSet<IpAddr> {
    let here = netlink.addresses().await.unwrap_or_default();
    let single = |vip: &IpAddr| here.iter().any(|address| address.net == IpNet::from(*vip));
    state.desired.vips().filter(single).collect()
}

/// Returns the sizes of the tables. Pinned flow tables may be larger than the config and the state file
/// require, if a resize was interrupted or the file is lost: their sizes are kept.
pub(crate) fn limits(state: &mut State, pins: &PinDir, configured: Limits) -> Limits {
    let mut limits = state.room.at_least(configured);
    let [flows, flows6] = pins.capacity();
    for (limit, pinned, room) in [
        (&mut limits.flows, flows, &mut state.room.max_flows),
        (&mut limits.flows6, flows6, &mut state.room.max_flows6),
    ] {
        if let Some(pinned) = pinned
            && pinned > *limit
        {
            tracing::warn!(
                "the tables hold {pinned} flows, more than the {limit} that are configured; `xvs detach` first to make them smaller"
            );
            (*limit, *room) = (pinned, Some(pinned));
        }
    }
    // The flow table has grown by itself.
    limits.flow_places = Some(pins.flow_places().unwrap_or(limits.least_flow_places()));
    limits
}
