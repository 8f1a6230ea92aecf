// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requirements of a real server behind `dr` or `tun`, besides its service.
//!
//! The real server has the same VIP as the director, so it must accept packets for it without answering for
//! it on the link. The details are one list of requirements ([`requirement`]): [`check`] verifies each on a
//! snapshot of the host ([`observed`]). A [`plan`] has a step for each that does not hold. [`setup`] prints
//! the plan or carries it out ([`apply`]), and records each old value ([`state`]) before a change. [`restore`]
//! and [`open`] have plans of the same steps.
#![forbid(unsafe_code)]

pub mod agent; //         set-up according to the director
pub mod apply; //         carrying out plans
pub mod arp; //           effect of the ARP settings on a VIP
pub mod boot; //          set-up at the next start
pub mod check; //         verification of the requirements
pub mod decap; //         devices of the kernel, or the XDP program
pub mod encapsulation; // inner and outer IP versions
pub mod finding; //       result of a check
pub mod firewall; //      chains of nftables and iptables
pub mod observed; //      snapshot of this host
pub mod open; //          a service past the firewall
pub mod plan; //          steps from requirements
mod present; //           effects of recorded changes
pub mod requirement; //   requirements and their reasons
pub mod restore; //       undoing the changes of setup
pub mod setup; //         fulfilling the requirements
pub mod state; //         record of changes and old values
pub mod target; //        the request, checked against this host
#[cfg(test)]
mod testing; //           hosts and targets of unit tests
pub mod vip; //           right and wrong places of a VIP

use std::fs;

use serde::Serialize;

use boot::BootError;
use decap::XdpDecap;
use encapsulation::{Kind, Support};
use lb_dataplane::decap::DecapError;
use lb_model::failure::{Failure, chain};
use lb_netlink::Netlink;
use lb_netlink::NetlinkError;
use lb_netlink::sysctl::SysctlError;
use state::StateError;

/// The real server: the network namespace of the thread that created this value.
pub struct Host {
    /// Netlink socket of the namespace.
    pub netlink: Netlink,
    /// Attaches the XDP decapsulator; tests replace it.
    pub xdp: Box<dyn XdpDecap>,
    /// Returns whether the kernel has devices of a kind; tests replace it.
    pub support: fn(Kind) -> Support,
}

impl Host {
    /// Returns the host of the calling thread. Needs a tokio runtime.
    ///
    /// Sysctls depend on the thread too: everything that takes a `Host` must run on the thread that created
    /// it, or on one in the same network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { netlink: Netlink::open()?, xdp: Box::new(decap::DataPlane), support: Kind::support })
    }
}

/// Result of one step: one line for the operator.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Done {
    /// Subject, such as `net.ipv4.conf.all.arp_ignore`.
    pub item: String,
    /// Outcome.
    pub outcome: Outcome,
    /// Details in words: values before and after.
    pub detail: String,
    /// Command by which an operator would do the step of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// Outcome of one step.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The step was done now.
    Changed,
    /// The step was not needed.
    Already,
    /// The state before set-up was restored.
    Restored,
    /// The step would be done without `--dry-run`.
    Planned,
    /// The step was done as chosen, and there is a problem nevertheless.
    Warning,
    /// The step was not done: an alternative is used instead, or the rest works without it.
    Skipped,
}

impl Done {
    fn new(item: impl Into<String>, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { item: item.into(), outcome, detail: detail.into(), command: None }
    }
}

/// Checks privileges before the first step, so that a command does not fail half-way.
fn can_configure_the_network() -> Result<(), Failure> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    if lacks_net_admin(&status) {
        return Err(Failure::failed("not permitted to change the network settings of this host")
            .hint("run as root, or with CAP_NET_ADMIN"));
    }
    Ok(())
}

/// Returns whether the status of a thread proves that it lacks `CAP_NET_ADMIN`.
fn lacks_net_admin(status: &str) -> bool {
    const CAP_NET_ADMIN: u32 = 12; // include/uapi/linux/capability.h
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << CAP_NET_ADMIN) == 0)
}

/// Callback for each completed step.
pub type Report<'a> = &'a mut (dyn FnMut(Done) + Send);

/// Reason why a part of this host could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Addresses or interfaces.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A sysctl below `/proc/sys`.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The XDP decapsulator.
    #[error(transparent)]
    Decap(#[from] DecapError),
    /// The firewall.
    #[error(transparent)]
    Firewall(#[from] firewall::FirewallError),
    /// Files for the next start.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Another process changed something after the plan was made.
    #[error("another process changed {0} at the same time")]
    Overtaken(String),
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Netlink(error) => error.into(),
            HostError::Sysctl(error) => error.into(),
            HostError::State(error) => error.into(),
            HostError::Decap(error) => error.into(),
            HostError::Firewall(error) => Self::failed(chain(&error))
                .hint("`nft list ruleset` and `iptables-legacy-save` show the rules; `xvs host restore` removes those of xvs"),
            HostError::Boot(error) => error.into(),
            error @ HostError::Overtaken(_) => Self::failed(error.to_string()).hint("run the command again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lacks_net_admin;

    #[test]
    fn only_a_mask_without_the_bit_forbids() {
        assert!(lacks_net_admin("Name:\txvs\nCapEff:\t0000000000000000\n"));
        assert!(lacks_net_admin("CapEff:\t000001ffffffefff\n"));
        assert!(!lacks_net_admin("CapEff:\t0000000000001000\n"));
        assert!(!lacks_net_admin(""), "unknown is not forbidden");
    }
}
