// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the director makes its VIPs known, by its settings.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr};

use lb_control::{
    config::DirectorSection,
    vips::{Announce, Place, VipManager},
};
use lb_model::failure::Failure;
use lb_netlink::{Interface, Netlink};

use super::RunOptions;

/// Name of the interface that has VIPs which routing daemons announce, if the operator names no other.
const LOOPBACK: &str = "lo";

/// Returns how the director makes its VIPs known.
///
/// # Errors
/// If the settings contradict each other.
fn announce(leaves_vips: bool, section: &DirectorSection) -> Result<Announce, Failure> {
    let manages = !leaves_vips && section.manage_vips.unwrap_or(true);
    let announce = match (section.announce, manages) {
        (None, true) => Announce::Arp,
        (None | Some(Announce::None), false) => Announce::None,
        (Some(announce), true) => announce,
        (Some(_), false) => {
            return Err(Failure::wrong_input(
                "`announce` says that this director adds VIPs, and `manage-vips = false`, --no-manage-vips or --follow-ipvs \
                 that it does not",
            )
            .hint("remove one of them: `announce = \"none\"` leaves VIPs to others"));
        }
    };
    if section.vip_interface.is_some() && announce != Announce::Address {
        return Err(Failure::wrong_input("`vip-interface` has an effect with `announce = \"address\"` only")
            .hint("without it, VIPs are on the interface of their network"));
    }
    if announce == Announce::Address && !section.fnat_addresses.is_empty() {
        return Err(Failure::wrong_input(
            "`announce = \"address\"` excludes `fnat-addresses`: replies of `fnat` reals come back to the one director that \
             has the SNAT address, which need not be the one to which the router sends the client's packets",
        )
        .hint(
            "remove `fnat-addresses`: each director then uses its own address towards the real; or use `announce = \"none\"` \
             with keepalived, which moves VIPs and SNAT addresses together",
        ));
    }
    Ok(announce)
}

/// Returns the manager of VIPs; `None` leaves them to others.
///
/// # Errors
/// If the settings contradict each other, or the interface for the VIPs does not exist.
pub(super) async fn manager(
    netlink: &Netlink,
    interfaces: &[Interface],
    added: BTreeSet<IpAddr>,
    options: &RunOptions,
    section: &DirectorSection,
) -> Result<Option<VipManager>, Failure> {
    let announce = announce(options.follow_ipvs || options.no_manage_vips, section)?;
    if announce == Announce::None {
        if !added.is_empty() {
            let added: Vec<String> = added.iter().map(IpAddr::to_string).collect();
            tracing::warn!(
                "an earlier run has added the VIPs {}, which are left to others from now on; `ip address del` removes \
                 those that no other program manages",
                added.join(", ")
            );
        }
        return Ok(None);
    }
    let attached = interfaces.iter().map(|interface| interface.name.clone()).collect();
    let manager = VipManager::new(netlink.clone(), attached, added, options.take_over);
    if announce == Announce::Arp {
        return Ok(Some(manager));
    }
    let name = section.vip_interface.clone().unwrap_or_else(|| LOOPBACK.to_owned());
    netlink.interface(&name).await?;
    Ok(Some(manager.at(Place::On(name))))
}
