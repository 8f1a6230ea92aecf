// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a real server behind `dr` or `tun` needs, besides its service.
//!
//! It holds the VIP as the director does, so it must take packets for it and yet never say so on the link. What that
//! means is one list of requirements ([`requirement`]): [`check`] looks whether each holds, [`setup`] makes those hold
//! that do not, and remembers each old value ([`state`]) before it changes anything, [`restore`] puts them back.
#![forbid(unsafe_code)]

pub mod agent; //       as the director says
pub mod arp; //         what the ARP settings mean for a VIP
pub mod boot; //        set-up again at the next start
pub mod check; //       does everything hold?
pub mod decap; //       devices of the kernel, or the XDP program
pub mod encapsulation; // which version of IP within which
pub mod open; //        a service past the firewall
pub mod plan; //        what setup and restore would do
pub mod requirement; // what must hold, and why
pub mod restore; //     put back what setup changed
pub mod setup; //       make it hold
pub mod state; //       what was changed, and what was there before
pub mod sysctl; //      /proc/sys/net/ipv4/conf
pub mod target; //      what was asked for, checked against this host
pub mod vip; //         where a VIP may be, and where it must not

use std::fs;

use serde::Serialize;

use crate::{
    dataplane::decap::DecapError,
    failure::{Failure, chain},
    netlink::Netlink,
    netlink::NetlinkError,
};
use boot::BootError;
use decap::XdpDecap;
use state::StateError;
use sysctl::SysctlError;

/// The real server that is looked at and changed: the network namespace of the thread that made this.
pub struct Host {
    /// Its routing tables.
    pub netlink: Netlink,
    /// How the XDP decapsulator is attached; tests put their own here.
    pub xdp: Box<dyn XdpDecap>,
}

impl Host {
    /// The host of the calling thread. Needs a tokio runtime.
    ///
    /// Sysctls belong to the thread too: everything that takes a `Host` must run on the thread that made it, or on one
    /// in the same network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { netlink: Netlink::open()?, xdp: Box::new(decap::DataPlane) })
    }
}

/// Something that was done, or found already done: one line for the operator.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Done {
    /// What it is about, such as `net.ipv4.conf.all.arp_ignore`.
    pub item: String,
    /// What became of it.
    pub outcome: Outcome,
    /// In words: values before and after.
    pub detail: String,
}

/// What became of one item.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Set up now.
    Changed,
    /// It was so before.
    Already,
    /// As it was before set-up again.
    Restored,
    /// Would be done, but for `--dry-run`.
    Planned,
    /// Done as chosen, and yet wrong.
    Warning,
    /// Not done, and why; something else is done instead, or the rest goes on without it.
    Skipped,
}

impl Done {
    fn new(item: impl Into<String>, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { item: item.into(), outcome, detail: detail.into() }
    }
}

/// Refuses early what would be refused half-way.
fn can_configure_the_network() -> Result<(), Failure> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    if lacks_net_admin(&status) {
        return Err(Failure::failed("not permitted to change the network settings of this host")
            .hint("run as root, or with CAP_NET_ADMIN"));
    }
    Ok(())
}

/// Whether the status of a thread says for sure that it lacks `CAP_NET_ADMIN`.
fn lacks_net_admin(status: &str) -> bool {
    const CAP_NET_ADMIN: u32 = 12; // include/uapi/linux/capability.h
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << CAP_NET_ADMIN) == 0)
}

/// Called with each thing when it has been done.
pub type Report<'a> = &'a mut (dyn FnMut(Done) + Send);

/// Why something on this host could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Addresses, interfaces.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// `/proc/sys`.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The file with what was there before.
    #[error(transparent)]
    State(#[from] StateError),
    /// The XDP decapsulator.
    #[error(transparent)]
    Decap(#[from] DecapError),
    /// The firewall.
    #[error(transparent)]
    Nft(#[from] open::NftError),
    /// Files for the next start.
    #[error(transparent)]
    Boot(#[from] BootError),
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Netlink(error) => error.into(),
            HostError::Sysctl(error) => error.into(),
            HostError::State(error) => error.into(),
            HostError::Decap(error) => error.into(),
            HostError::Nft(error) => Self::failed(chain(&error))
                .hint("`nft list ruleset` and `iptables-legacy-save` show the rules; `xvs host restore` takes those of xvs out"),
            HostError::Boot(error) => error.into(),
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
