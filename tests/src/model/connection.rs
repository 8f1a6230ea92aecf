// SPDX-License-Identifier: MIT OR Apache-2.0
//! State of a connection by the client's packets: the states of IPVS for input only (`ip_vs_proto_tcp.c`).

use super::parse::{flag, number};

/// State of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names of IPVS")]
pub enum State {
    Udp,
    SynReceived,
    Established,
    FinWait,
    Close,
}
use State::{Close, Established, FinWait, SynReceived, Udp};

/// Returns whether flows of a protocol begin and end by explicit packets.
pub const fn is_connection(protocol: u8) -> bool {
    matches!(protocol, number::TCP | number::SCTP)
}

/// Returns whether a packet of an unknown flow begins one. `strict`: a connection begins only with a SYN.
pub const fn begins(protocol: u8, flags: u8, strict: bool) -> bool {
    let opens = flags & (flag::SYN | flag::ACK) == flag::SYN;
    !is_connection(protocol) || (flags & flag::RST == 0 && (!strict || opens))
}

impl State {
    /// Returns the state after a flow's first packet.
    pub const fn first(protocol: u8, flags: u8) -> Self {
        match is_connection(protocol) {
            false => Udp,
            true if flags & flag::SYN != 0 => SynReceived,
            // From the middle on.
            true => Established.after_client(flags),
        }
    }

    /// Returns the state after another packet of the client: a reset ends everything, nothing revives an
    /// ended flow.
    pub const fn after_client(self, flags: u8) -> Self {
        match self {
            Udp => Udp,
            Close => Close,
            _ if flags & flag::RST != 0 => Close,
            _ if flags & flag::FIN != 0 => FinWait,
            FinWait => FinWait,
            SynReceived if flags & flag::SYN != 0 => SynReceived,
            SynReceived | Established => Established,
        }
    }

    /// Returns the state after a packet of the real, which may end a flow, and changes nothing else.
    pub const fn after_real(self, flags: u8) -> Self {
        match self {
            SynReceived | Established if flags & flag::RST != 0 => Close,
            Established if flags & flag::FIN != 0 => FinWait,
            state => state,
        }
    }

    /// Returns whether a SYN begins another connection with the same ports.
    pub const fn is_over_by(self, flags: u8) -> bool {
        matches!(self, FinWait | Close) && flags & flag::SYN != 0
    }

    /// Returns whether the flow counts as an active connection.
    pub const fn is_active(self) -> bool {
        matches!(self, SynReceived | Established)
    }
}
