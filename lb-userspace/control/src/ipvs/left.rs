// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services of IPVS that stay with the kernel, and the reasons.

use lb_model::Protocol;
use lb_netlink::ipvs::Key;
use serde::{Deserialize, Serialize};

/// A service of IPVS that xvs leaves to the kernel.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema)]
pub struct Left {
    /// Name of the service: `tcp 192.0.2.1:80`, or `fwmark 7`.
    pub service: String,
    /// Reason why the service stays with the kernel.
    pub reason: String,
}

impl Left {
    /// Creates an entry for a service.
    #[must_use]
    pub fn new(key: &Key, reason: impl Into<String>) -> Self {
        Self { service: name(key), reason: reason.into() }
    }
}

/// Returns the name of a service of IPVS.
#[must_use]
pub fn name(key: &Key) -> String {
    match key {
        Key::Mark { mark, ipv6: false } => format!("fwmark {mark}"),
        Key::Mark { mark, ipv6: true } => format!("fwmark {mark}/ipv6"),
        Key::Address { protocol, address } => match protocol_of(*protocol) {
            Some(protocol) => format!("{protocol} {address}"),
            None => format!("protocol-{protocol} {address}"),
        },
    }
}

/// Returns the protocol with that IANA number, if xvs has it.
pub(super) fn protocol_of(number: u16) -> Option<Protocol> {
    Protocol::from_number(u8::try_from(number).ok()?)
}
