// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removal of the data plane of a stopped daemon.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use super::{PinLock, follow, lock::For};
use lb_control::{neighbours::Neighbours, state::Loaded, state_lock::StateLock, vips};
use lb_dataplane::PinDir;
use lb_model::failure::{Failure, chain};
use lb_netlink::Netlink;

/// Removes the data plane of a stopped daemon: first the VIPs that the daemon added, then links, programs and
/// maps, and last the guard.
///
/// The guard stays if `keep_guard` is set, or while this host has a VIP that xvs did not add: the stack would
/// reset every connection to it.
///
/// # Errors
/// If a daemon is still running, or a pin cannot be removed.
pub async fn detach(bpffs: &Path, state_file: &Path, keep_guard: bool) -> Result<Vec<String>, Failure> {
    let pins = PinDir::at(bpffs);
    let pinned = pins.path().is_dir();
    let _lock = if pinned { Some(PinLock::take(pins.path(), For::Detach)?) } else { None };
    // A daemon with other pins may keep this state file.
    let _state_lock = StateLock::take(state_file)?;
    let mut lines = Vec::new();
    let Loaded { state, problem, .. } = Loaded::read(state_file)?;
    let known = state.is_some();
    let mut state = state.unwrap_or_default();
    lines.extend(problem.map(|problem| format!("{problem}: VIPs stay where they are")));
    let netlink = Netlink::open()?;
    for vip in std::mem::take(&mut state.vips) {
        for name in vips::remove_everywhere(&netlink, vip).await? {
            lines.push(format!("removed VIP {vip} from {name}"));
        }
    }
    let nothing = format!("nothing is pinned under {}", bpffs.display());
    let any = pins.has_any();
    if !pinned {
        lines.push(nothing.clone());
    }
    for index in pins.linked() {
        let name =
            netlink.interface_by_index(index).await.map_or(format!("#{index}"), |interface| interface.name);
        lines.push(format!("detached from interface {name}"));
    }
    if pinned && state.follows_ipvs {
        lines.extend(Box::pin(follow::hand_back_pinned(&pins)).await?);
    }
    pins.remove_all().map_err(|error| Failure::failed(chain(&error)))?;
    // XDP no longer sends to the reals: the kernel may age their neighbour entries as usual.
    let mut neighbours = Neighbours::new(netlink.clone());
    neighbours.refresh(&state.desired.rips().collect()).await;
    neighbours.release_all().await;
    if known {
        state.save(state_file)?;
    }
    let here = netlink.addresses().await.unwrap_or_default();
    let stays = |vip: &IpAddr| !state.follows_ipvs && here.iter().any(|address| address.net.addr() == *vip);
    let left: BTreeSet<String> = state.desired.vips().filter(stays).map(|vip| vip.to_string()).collect();
    if pinned && (keep_guard || !left.is_empty()) {
        let whose = if left.is_empty() {
            "the services' packets".to_owned()
        } else {
            let left: Vec<String> = left.into_iter().collect();
            format!("this host still has {}: the services' packets", left.join(", "))
        };
        lines.push(format!(
            "{whose} are dropped, so that no connection is reset, until `xvs run` starts again; `xvs detach --remove-guard` ends that"
        ));
    } else {
        pins.remove_guard().map_err(|error| Failure::failed(chain(&error)))?;
    }
    if pinned {
        lines.push(if any { format!("removed the pins under {}", bpffs.display()) } else { nothing });
    }
    Ok(lines)
}

/// Removes the guard that `xvs detach` left.
///
/// # Errors
/// If a daemon is still running, or a pin cannot be removed.
pub fn remove_guard(bpffs: &Path) -> Result<Vec<String>, Failure> {
    let pins = PinDir::at(bpffs);
    if !pins.path().is_dir() {
        return Ok(vec![format!("nothing is pinned under {}", bpffs.display())]);
    }
    let _lock = PinLock::take(pins.path(), For::Detach)?;
    if !pins.linked().is_empty() {
        return Err(Failure::failed("the programs are attached, and the guard belongs to them")
            .hint("`xvs detach` removes both"));
    }
    pins.remove_guard().map_err(|error| Failure::failed(chain(&error)))?;
    Ok(vec!["removed the guard: the stack gets the services' packets".to_owned()])
}
