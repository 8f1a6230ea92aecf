// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Connection tracking: the begin, the states and the end of a flow. Pure decisions.
//!
//! With `dr` and `tun` the director sees only the client's packets, so states follow the client's packets, as
//! in the "input only" table of IPVS (`net/netfilter/ipvs/ip_vs_proto_tcp.c`).

use crate::{
    packet::tcp_flags,
    protocol,
    schema::Timeouts,
    ticks::{Tick, Ticks},
};

/// State of a flow, as far as the client's packets show it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum State {
    /// UDP: only the timeout ends the flow. The other states are those of TCP, and of SCTP by the TCP flags
    /// that correspond to its chunks.
    Udp = 0,
    /// The client has sent a SYN and nothing since.
    SynReceived = 1,
    /// The client sends data or acknowledges.
    Established = 2,
    /// The client sent a FIN.
    FinWait = 3,
    /// The connection was reset.
    Close = 4,
}

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Udp, Self::SynReceived, Self::Established, Self::FinWait, Self::Close];

    /// Returns the state with this number. An unknown number is `Close`, so that the flow ends soon.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Udp,
            1 => Self::SynReceived,
            2 => Self::Established,
            3 => Self::FinWait,
            _ => Self::Close,
        }
    }

    /// Returns the name in IPVS (`ipvsadm -Lcn`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::SynReceived => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::Close => "CLOSE",
        }
    }

    /// Returns the state of a flow after its first packet.
    #[inline(always)]
    #[must_use]
    pub const fn first(protocol: u8, tcp_flags: u8) -> Self {
        if !is_connection(protocol) {
            return Self::Udp;
        }
        // A flow without a known beginning (its director failed, or its entry was evicted) continues at its
        // current packet.
        if tcp_flags & tcp_flags::SYN != 0 { Self::SynReceived } else { Self::Established.next(tcp_flags) }
    }

    /// Returns the state after another packet of the client.
    #[inline(always)]
    #[must_use]
    pub const fn next(self, tcp_flags: u8) -> Self {
        match self {
            Self::Udp => Self::Udp,
            _ if tcp_flags & tcp_flags::RST != 0 => Self::Close,
            Self::Close => Self::Close,
            _ if tcp_flags & tcp_flags::FIN != 0 => Self::FinWait,
            Self::FinWait => Self::FinWait,
            Self::SynReceived if tcp_flags & tcp_flags::SYN != 0 => Self::SynReceived,
            Self::SynReceived | Self::Established => Self::Established,
        }
    }

    /// Returns the state after a packet of the real, which only `nat` and `fnat` see. The packet may end the
    /// flow, and changes nothing else.
    #[inline(always)]
    #[must_use]
    pub const fn after_reply(self, tcp_flags: u8) -> Self {
        match self {
            Self::SynReceived | Self::Established if tcp_flags & tcp_flags::RST != 0 => Self::Close,
            Self::Established if tcp_flags & tcp_flags::FIN != 0 => Self::FinWait,
            Self::Udp | Self::SynReceived | Self::Established | Self::FinWait | Self::Close => self,
        }
    }

    /// Returns the idle time after which a flow in this state has ended.
    #[inline(always)]
    #[must_use]
    pub const fn timeout(self, timeouts: &Timeouts) -> Ticks {
        match self {
            Self::Udp => timeouts.udp,
            Self::SynReceived => Ticks::of_seconds(60),
            Self::Established => timeouts.tcp,
            // Longer than in IPVS after a reset, which may be forged: a connection that continues is known then.
            Self::FinWait | Self::Close => timeouts.tcp_fin,
        }
    }

    /// Returns whether the flow counts as active rather than inactive (`tcp_state_active_table` in
    /// `ip_vs_proto_tcp.c`; UDP is always inactive).
    #[inline(always)]
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::SynReceived | Self::Established)
    }
}

/// Returns the idle time after which every flow of this protocol has ended: T in [`crate::slot`].
#[inline(always)]
#[must_use]
pub const fn longest_timeout(protocol: u8, timeouts: &Timeouts) -> Ticks {
    if !is_connection(protocol) {
        timeouts.udp
    } else if timeouts.tcp.exceeds(timeouts.tcp_fin) {
        timeouts.tcp
    } else {
        timeouts.tcp_fin
    }
}

/// Returns whether a known flow has ended when this packet arrives, so that the packet begins a new flow: the
/// flow was idle for too long, or a SYN reuses the ports of a closing connection (kubernetes #70747: a
/// balancer that sends that SYN to the old real stalls the client for a second).
#[inline(always)]
#[must_use]
pub const fn is_over(state: State, seen: Tick, now: Tick, tcp_flags: u8, timeouts: &Timeouts) -> bool {
    let reused = tcp_flags & tcp_flags::SYN != 0 && matches!(state, State::FinWait | State::Close);
    reused || seen.age(now).exceeds(state.timeout(timeouts))
}

/// Returns whether flows of this protocol are connections, whose packets show their begin and end.
#[inline(always)]
#[must_use]
pub const fn is_connection(protocol: u8) -> bool {
    protocol == protocol::TCP || protocol == protocol::SCTP
}

/// Returns whether a packet of an unknown flow may begin one. `rotating` is whether the scheduler cannot
/// determine the real from the packet, so that TCP must begin with a SYN (as in IPVS with `sloppy_tcp` off).
/// An RST never begins a flow.
#[inline(always)]
#[must_use]
pub const fn begins(protocol: u8, tcp_flags: u8, rotating: bool) -> bool {
    if !is_connection(protocol) {
        return true;
    }
    if tcp_flags & tcp_flags::RST != 0 {
        return false;
    }
    !rotating || tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};

    #[rstest]
    #[case::handshake(&[SYN, ACK], State::Established)]
    #[case::retransmitted_syn(&[SYN, SYN], State::SynReceived)]
    #[case::close(&[SYN, ACK, FIN | ACK, ACK], State::FinWait)]
    #[case::reset(&[SYN, ACK, RST], State::Close)]
    #[case::nothing_revives_a_reset_flow(&[SYN, ACK, RST, ACK], State::Close)]
    #[case::seen_from_the_middle(&[ACK, ACK], State::Established)]
    #[case::seen_from_the_end(&[FIN | ACK], State::FinWait)]
    fn states_follow_the_client(#[case] packets: &[u8], #[case] end: State) {
        let first = State::first(protocol::TCP, packets[0]);
        assert_eq!(packets[1..].iter().fold(first, |state, &flags| state.next(flags)), end);
    }

    #[test]
    fn a_real_may_end_a_flow_and_nothing_else() {
        assert_eq!(State::Established.after_reply(FIN | ACK), State::FinWait);
        assert_eq!(State::SynReceived.after_reply(RST | ACK), State::Close);
        assert_eq!(State::SynReceived.after_reply(SYN | ACK), State::SynReceived);
        assert_eq!(State::FinWait.after_reply(ACK), State::FinWait);
        assert_eq!(State::Udp.after_reply(0), State::Udp);
    }

    #[test]
    fn a_syn_on_a_closing_flow_is_a_new_connection_kubernetes_70747() {
        let s = Timeouts::DEFAULT;
        assert!(is_over(State::FinWait, Tick(5), Tick(5), SYN, &s));
        assert!(is_over(State::Close, Tick(5), Tick(5), SYN, &s));
        assert!(!is_over(State::Established, Tick(5), Tick(5), SYN, &s));
        assert!(!is_over(State::FinWait, Tick(5), Tick(5), ACK, &s));
    }

    #[test]
    fn silence_ends_a_flow_after_its_timeout_and_not_before() {
        let s = Timeouts::DEFAULT;
        for state in State::ALL {
            let t = state.timeout(&s);
            // The clock wraps meanwhile.
            let seen = Tick(u32::MAX - 10);
            assert!(!is_over(state, seen, seen.after(t), ACK, &s));
            assert!(is_over(state, seen, seen.after(Ticks(t.0 + 1)), ACK, &s));
        }
    }

    #[test]
    fn a_flow_seen_by_a_faster_clock_is_not_old() {
        assert_eq!(Tick(100).age(Tick(99)), Ticks::ZERO);
        assert_eq!(Tick(0).age(Tick(u32::MAX)), Ticks::ZERO);
    }

    #[rstest]
    #[case(protocol::UDP, 0, true, true)]
    #[case(protocol::SCTP, SYN, true, true)]
    #[case(protocol::SCTP, ACK, true, false)]
    #[case(protocol::TCP, SYN, true, true)]
    #[case(protocol::TCP, ACK, true, false)]
    #[case(protocol::TCP, SYN | ACK, true, false)]
    #[case(protocol::TCP, ACK, false, true)]
    #[case(protocol::TCP, RST, false, false)]
    #[case(protocol::TCP, RST | ACK, true, false)]
    fn what_begins_a_flow(#[case] p: u8, #[case] f: u8, #[case] rotating: bool, #[case] yes: bool) {
        assert_eq!(begins(p, f, rotating), yes);
    }

    #[test]
    fn seconds_and_ticks_agree() {
        assert_eq!(Ticks::of_seconds(900).milliseconds() / 1000, 900);
    }
}
