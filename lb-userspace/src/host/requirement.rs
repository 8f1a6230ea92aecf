// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requirements of a real server, with their reasons. `check` and the plan of `setup` share this list.
//!
//! ```text
//! client's packet ── director ──> eth0 ──(tun: decapsulated)──> input ──> service on the VIP
//!                                  │                             │
//!                     arp_ignore, arp_announce               rp_filter, VIP on lo
//! ```

use lb_netlink::sysctl::{Name, Sysctl};
use std::net::IpAddr;

use super::{
    HostError,
    decap::{Decapsulation, Device},
    finding::Finding,
    observed::Observed,
    plan::Step,
    target::Target,
    vip::Placement,
};

/// One requirement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Requirement {
    /// A sysctl has a sufficient value.
    Sysctl {
        /// Sysctl.
        sysctl: Sysctl,
        /// Value that the operator chose: then no other is sufficient.
        chosen: Option<i32>,
    },
    /// The VIP is an address of this host, and on no interface that answers ARP for it.
    Vip {
        /// VIP.
        vip: IpAddr,
        /// Set-up adds the VIP with scope host: `arp_ignore=3` only covers such addresses.
        host_scope: bool,
    },
    /// A tunnel device has an address, or reverse path filtering is off: without an address, even the loose
    /// filter drops everything (`no_addr` in `__fib_validate_source`, `net/ipv4/fib_frontend.c`).
    TunnelAddress {
        /// Name of the device.
        device: String,
        /// VIP to add to the device.
        vip: IpAddr,
    },
}

/// Returns all requirements besides the decapsulation itself, in the order of set-up: a VIP comes after the
/// settings that keep this host from answering for it.
#[must_use]
pub fn requirements(target: &Target, decapsulation: Option<&Decapsulation>) -> Vec<Requirement> {
    let mut list = Vec::new();
    let interface = target.interface.name.as_str();
    if target.has_ipv4() {
        for (name, chosen) in [(Name::ArpIgnore, target.arp.ignore), (Name::ArpAnnounce, target.arp.announce)]
        {
            let setting = |of| Requirement::Sysctl { sysctl: Sysctl::new(of, name), chosen };
            list.extend(["all", "lo", interface].map(setting));
        }
        // The strict filter requires that the route back to the client uses the interface by which its
        // packets arrive.
        match decapsulation {
            Some(Decapsulation::Devices(devices)) => {
                let filter = |device: &Device| Requirement::Sysctl {
                    sysctl: Sysctl::new(&device.name, Name::RpFilter),
                    chosen: None,
                };
                list.extend(devices.iter().filter(|device| !device.encapsulation.inner_six).map(filter));
            }
            _ if !target.replies_leave_there => {
                list.push(Requirement::Sysctl {
                    sysctl: Sysctl::new(interface, Name::RpFilter),
                    chosen: None,
                });
            }
            _ => {}
        }
    }
    let host_scope = target.arp.ignore == Some(3);
    list.extend(
        target.vips.iter().map(|&vip| Requirement::Vip { vip, host_scope: host_scope && vip.is_ipv4() }),
    );
    if let Some(Decapsulation::Devices(devices)) = decapsulation {
        for Device { name, .. } in devices.iter().filter(|device| !device.encapsulation.inner_six) {
            let on_device = |vip: &IpAddr| Requirement::TunnelAddress { device: name.clone(), vip: *vip };
            list.extend(target.vips.iter().filter(|vip| vip.is_ipv4()).map(on_device));
        }
    }
    list
}

/// State of a requirement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Finding for the operator.
    pub finding: Finding,
    /// Set-up has nothing to do. This differs from `finding.ok` if the requirement holds only because of
    /// another value, on which set-up does not rely.
    pub settled: bool,
}

impl Requirement {
    /// Checks the requirement.
    pub fn check(&self, observed: &Observed) -> Result<Standing, HostError> {
        match self {
            Self::Sysctl { sysctl, chosen } => {
                let (own, all) = (observed.sysctl(sysctl)?, observed.sysctl(&sysctl.of_all())?);
                Ok(rule(sysctl.name, *chosen).judge(sysctl, own, all))
            }
            Self::Vip { vip, .. } => {
                let placement = observed.placement(*vip);
                let finding = Finding {
                    item: format!("VIP {vip}"),
                    expected: "on lo".to_owned(),
                    found: placement.to_string(),
                    ok: placement.is_good(),
                    why: why_placement(&placement).to_owned(),
                };
                Ok(Standing { settled: finding.ok, finding })
            }
            Self::TunnelAddress { device, vip } => {
                let filter_is_off = observed.in_force(&Sysctl::new(device, Name::RpFilter))? == 0;
                let own: Vec<IpAddr> =
                    observed.addresses_of(device).map(|address| address.net.addr()).collect();
                let (has_one, has_this) = (own.iter().any(IpAddr::is_ipv4), own.contains(vip));
                let finding = Finding {
                    item: format!("address of {device}"),
                    expected: "some IPv4 address".to_owned(),
                    found: if has_one { "there" } else { "none" }.to_owned(),
                    ok: has_one || filter_is_off,
                    why: "a device without one drops every packet while rp_filter is on".to_owned(),
                };
                // Each VIP adds its own address, so that it can be removed separately.
                Ok(Standing { settled: has_this || filter_is_off, finding })
            }
        }
    }

    /// Returns the step that fulfils the requirement.
    pub fn plan(&self, observed: &Observed) -> Result<Step, HostError> {
        Ok(match self {
            Self::Sysctl { sysctl, chosen } => Step::Sysctl {
                sysctl: sysctl.clone(),
                value: rule(sysctl.name, *chosen).set,
                before: observed.sysctl(sysctl)?,
            },
            Self::Vip { vip, host_scope } => {
                let interface = "lo".to_owned();
                Step::Address { address: (*vip).into(), interface, host_scope: *host_scope }
            }
            Self::TunnelAddress { device, vip } => {
                Step::Address { address: (*vip).into(), interface: device.clone(), host_scope: false }
            }
        })
    }

    /// Returns the sysctl, if the requirement is about one.
    #[must_use]
    pub const fn sysctl(&self) -> Option<&Sysctl> {
        match self {
            Self::Sysctl { sysctl, .. } => Some(sysctl),
            Self::Vip { .. } | Self::TunnelAddress { .. } => None,
        }
    }
}

const fn why_placement(placement: &Placement) -> &'static str {
    match placement {
        Placement::Missing => "packets for an address that is not this host's are dropped, or routed on",
        Placement::Quiet { .. } => "this host accepts packets for it without answering ARP for it",
        Placement::Answering { .. } => "clients and routers would send to this host, past the director",
        Placement::Swallowing { .. } => "this host would not reach anything else in that network",
    }
}

/// Required values of a sysctl.
struct Rule {
    /// Required values in words, for the operator.
    expected: String,
    /// Predicate for sufficient values.
    allows: fn(i32) -> bool,
    /// The operator chose [`Rule::set`].
    is_chosen: bool,
    /// Value that set-up sets.
    set: i32,
    /// Reason for the requirement.
    why: &'static str,
}

/// Returns the required values of the sysctls, and the reasons (Documentation/networking/ip-sysctl.rst).
fn rule(name: Name, chosen: Option<i32>) -> Rule {
    let rule = |expected: &str, allows, set, why| Rule {
        expected: chosen.map_or_else(|| expected.to_owned(), |level| level.to_string()),
        allows,
        is_chosen: chosen.is_some(),
        set: chosen.unwrap_or(set),
        why,
    };
    match name {
        // For an address of global scope, as `ip address add` makes them, 3 has the effect of 0.
        Name::ArpIgnore => rule(
            "1 (or 2, or 8)",
            |value| matches!(value, 1 | 2 | 8),
            1,
            "else this host answers ARP requests for the VIP, and clients bypass the director",
        ),
        // The kernel treats values beyond 2 as 0.
        Name::ArpAnnounce => rule(
            "2",
            |value| value == 2,
            2,
            "else this host's own ARP requests may carry the VIP, and neighbours learn it from them",
        ),
        Name::RpFilter => rule(
            "0 or 2",
            |value| value != 1,
            2,
            "1 drops packets whose return route uses another interface than the one on which they arrived",
        ),
    }
}

impl Rule {
    fn allows(&self, value: i32) -> bool {
        if self.is_chosen { value == self.set } else { (self.allows)(value) }
    }

    fn judge(&self, sysctl: &Sysctl, own: i32, all: i32) -> Standing {
        let in_force = own.max(all);
        let ok = self.allows(in_force);
        let found = if sysctl.interface == "all" || own == in_force {
            own.to_string()
        } else {
            format!("{in_force} (all: {all}, own: {own})")
        };
        // A filter that is off because `all` and the device have sufficient values needs no change; ARP
        // settings are set on each interface.
        let own_matters = !matches!(sysctl.name, Name::RpFilter);
        Standing {
            settled: ok && (!own_matters || self.allows(own)),
            finding: Finding {
                item: sysctl.to_string(),
                expected: self.expected.clone(),
                found,
                ok,
                why: self.why.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    // Columns: name, chosen, own, all, requirement holds, set-up has nothing to do.
    #[case::set_on_both(Name::ArpIgnore, None, 1, 1, true, true)]
    #[case::all_covers_for_it(Name::ArpIgnore, None, 0, 1, true, false)]
    #[case::its_own_is_enough(Name::ArpIgnore, None, 1, 0, true, true)]
    #[case::stricter_is_fine(Name::ArpIgnore, None, 8, 1, true, true)]
    #[case::off(Name::ArpIgnore, None, 0, 0, false, false)]
    #[case::greater_is_not_always_stricter(Name::ArpIgnore, None, 1, 3, false, false)]
    #[case::announce_2(Name::ArpAnnounce, None, 2, 0, true, true)]
    #[case::announce_1_is_not_enough(Name::ArpAnnounce, None, 1, 1, false, false)]
    #[case::strict(Name::RpFilter, None, 1, 0, false, false)]
    #[case::strict_by_all(Name::RpFilter, None, 0, 1, false, false)]
    #[case::loose_wins_over_strict(Name::RpFilter, None, 2, 1, true, true)]
    #[case::filter_off(Name::RpFilter, None, 0, 0, true, true)]
    #[case::chosen(Name::ArpIgnore, Some(3), 3, 3, true, true)]
    #[case::chosen_and_stricter(Name::ArpIgnore, Some(1), 8, 1, false, false)]
    #[case::chosen_and_undone_by_all(Name::ArpAnnounce, Some(1), 1, 2, false, false)]
    fn the_greater_value_counts(
        #[case] name: Name,
        #[case] chosen: Option<i32>,
        #[case] own: i32,
        #[case] all: i32,
        #[case] ok: bool,
        #[case] settled: bool,
    ) {
        let standing = rule(name, chosen).judge(&Sysctl::new("eth0", name), own, all);
        assert_eq!((standing.finding.ok, standing.settled), (ok, settled), "{standing:?}");
    }

    #[test]
    fn what_set_up_sets_is_what_check_expects() {
        for name in [Name::ArpIgnore, Name::ArpAnnounce, Name::RpFilter] {
            let rule = rule(name, None);
            for all in 0..=2 {
                let (sysctl, all) =
                    (Sysctl::new("eth0", name), if name == Name::RpFilter { all } else { rule.set });
                assert!(rule.judge(&sysctl, rule.set, all).settled, "{name} with all {all}");
            }
        }
    }
}
