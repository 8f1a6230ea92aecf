// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The states of IPVS's connections (`include/net/ip_vs.h`), and those of flows that correspond to them.

use super::Flags;
use crate::{flow_table::Phase, protocol};

/// Names of the states of TCP by number, as `/proc/net/ip_vs_conn` has them.
const TCP: [&str; 11] = [
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];
/// Names of the states of UDP.
const UDP: [&str; 1] = ["UDP"];
/// Names of the states of SCTP.
const SCTP: [&str; 14] = [
    "NONE",
    "INIT1",
    "INIT",
    "C-SENT",
    "C-REPLIED",
    "C-WAIT",
    "COOKIE",
    "C-ECHOED",
    "ESTABLISHED",
    "S-SENT",
    "S-RECEIVED",
    "S-ACK-SENT",
    "REJECTED",
    "CLOSED",
];

/// States of TCP.
mod tcp {
    pub const ESTABLISHED: u16 = 1;
    pub const SYN_SENT: u16 = 2;
    pub const SYN_RECV: u16 = 3;
    pub const FIN_WAIT: u16 = 4;
    pub const TIME_WAIT: u16 = 5;
    pub const CLOSE: u16 = 6;
    pub const CLOSE_WAIT: u16 = 7;
    pub const LAST_ACK: u16 = 8;
    pub const SYNACK: u16 = 10;
}

/// States of SCTP.
mod sctp {
    pub const INIT1: u16 = 1;
    pub const COOKIE_ECHOED: u16 = 7;
    pub const ESTABLISHED: u16 = 8;
    pub const SHUTDOWN_SENT: u16 = 9;
    pub const SHUTDOWN_ACK_SENT: u16 = 11;
    pub const REJECTED: u16 = 12;
    pub const CLOSED: u16 = 13;
}

/// State of a template whose client has had an established connection.
pub const TEMPLATE_ASSURED: u16 = 1;

/// Returns the names of a protocol's states by number; none for a protocol that IPVS or xvs does not balance.
const fn names(protocol: u8) -> &'static [&'static str] {
    match protocol {
        protocol::TCP => &TCP,
        protocol::UDP => &UDP,
        protocol::SCTP => &SCTP,
        _ => &[],
    }
}

/// Returns the number of states of a protocol, if it is known.
#[must_use]
pub const fn count(protocol: u8) -> Option<u16> {
    match names(protocol).len() as u16 {
        0 => None,
        count => Some(count),
    }
}

/// Returns the number of a protocol's state by its name in `/proc/net/ip_vs_conn`.
#[must_use]
pub fn number(protocol: u8, name: &str) -> Option<u16> {
    names(protocol).iter().position(|known| *known == name).map(|number| number as u16)
}

/// Returns the name of a protocol's state.
#[must_use]
pub fn name(protocol: u8, state: u16) -> Option<&'static str> {
    names(protocol).get(usize::from(state)).copied()
}

/// Returns the phase of an announced connection in the flow table. Returns nothing for states without a counterpart: those
/// of connections that an application helper expects.
#[must_use]
pub const fn phase(protocol: u8, state: u16) -> Option<Phase> {
    Some(match (protocol, state) {
        (protocol::UDP, 0) => Phase::Udp,
        (protocol::TCP, tcp::ESTABLISHED) | (protocol::SCTP, sctp::ESTABLISHED) => Phase::Established,
        (protocol::TCP, tcp::SYN_SENT | tcp::SYN_RECV | tcp::SYNACK)
        | (protocol::SCTP, sctp::INIT1..=sctp::COOKIE_ECHOED) => Phase::SynReceived,
        (protocol::TCP, tcp::FIN_WAIT | tcp::TIME_WAIT | tcp::CLOSE_WAIT | tcp::LAST_ACK)
        | (protocol::SCTP, sctp::SHUTDOWN_SENT..=sctp::SHUTDOWN_ACK_SENT) => Phase::FinWait,
        (protocol::TCP, tcp::CLOSE) | (protocol::SCTP, sctp::REJECTED | sctp::CLOSED) => Phase::Close,
        _ => return None,
    })
}

/// Returns the state in which a flow is announced, and the flag of its activity. Returns nothing for a flow that is not
/// announced: its client has sent SYNs only.
#[must_use]
pub const fn announced(protocol: u8, phase: Phase) -> Option<(u16, Flags)> {
    let is_sctp = protocol == protocol::SCTP;
    let state = match phase {
        Phase::Established | Phase::NewEstablished => {
            return Some((if is_sctp { sctp::ESTABLISHED } else { tcp::ESTABLISHED }, Flags(0)));
        }
        Phase::Udp | Phase::NewUdp => 0,
        Phase::FinWait if is_sctp => sctp::SHUTDOWN_SENT,
        Phase::FinWait => tcp::FIN_WAIT,
        Phase::Close if is_sctp => sctp::CLOSED,
        Phase::Close => tcp::CLOSE,
        Phase::SynReceived | Phase::Dead => return None,
    };
    Some((state, Flags(Flags::INACTIVE)))
}
