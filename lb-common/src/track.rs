// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Connection tracking: when a flow begins, how its state moves, when it has ended. Pure decisions.
//!
//! In dr and tun the director sees only what the client sends, so states follow the client's packets, as in
//! the "input only" table of IPVS (`net/netfilter/ipvs/ip_vs_proto_tcp.c`).

use crate::{protocol, schema::Timeouts};

/// TCP flags as they lie in the 14th byte of the header (RFC 9293).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
}

/// Nanoseconds of a tick as a power of two: a tick is 2^20 ns, 1.05 ms. Shifting is all that the packet
/// path has to do, and 32 bits of ticks last 52 days.
const TICK_SHIFT: u32 = 20;

/// The tick of a time in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn tick(nanoseconds: u64) -> u32 {
    (nanoseconds >> TICK_SHIFT) as u32
}

/// The tick of a time in the kernel's jiffies, each of which lasts so many nanoseconds.
#[inline(always)]
#[must_use]
pub const fn tick_of_jiffies(jiffies: u64, nanoseconds: u64) -> u32 {
    tick(jiffies.wrapping_mul(nanoseconds))
}

/// How many ticks last at least so many seconds.
#[must_use]
pub const fn ticks_of_seconds(seconds: u64) -> u32 {
    ((seconds * 1_000_000_000).div_ceil(1 << TICK_SHIFT)) as u32
}

/// Ticks from `then` to `now`, right across the wrap. A `then` that another CPU wrote a moment ahead of
/// this CPU's `now` is age 0, not 52 days.
#[inline(always)]
#[must_use]
pub const fn age(then: u32, now: u32) -> u32 {
    let age = now.wrapping_sub(then);
    if age > u32::MAX / 2 { 0 } else { age }
}

/// Milliseconds that so many ticks last.
#[must_use]
pub const fn milliseconds_of_ticks(ticks: u32) -> u64 {
    ((ticks as u64) << TICK_SHIFT) / 1_000_000
}

/// Where a flow stands, as far as the client's packets tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum State {
    /// UDP: there is nothing but silence to tell the end. The other states are those of TCP, and of SCTP by what its chunks
    /// say in the flags of TCP.
    Udp = 0,
    /// The client sent a SYN and nothing since.
    SynReceived = 1,
    /// The client sends data or acknowledges.
    Established = 2,
    /// The client sent a FIN.
    FinWait = 3,
    /// Reset.
    Close = 4,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Udp, Self::SynReceived, Self::Established, Self::FinWait, Self::Close];

    /// The state of that number; an unknown number is closed, so that it ends soon.
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

    /// The name that IPVS gives it (`ipvsadm -Lcn`).
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

    /// The state of a flow whose first packet this is.
    #[inline(always)]
    #[must_use]
    pub const fn first(protocol: u8, tcp_flags: u8) -> Self {
        if !is_connection(protocol) {
            return Self::Udp;
        }
        // A flow whose beginning was not seen (its director died, its entry was evicted) is taken as it comes.
        if tcp_flags & flags::SYN != 0 { Self::SynReceived } else { Self::Established.next(tcp_flags) }
    }

    /// The state after another packet of the client.
    #[inline(always)]
    #[must_use]
    pub const fn next(self, tcp_flags: u8) -> Self {
        match self {
            Self::Udp => Self::Udp,
            _ if tcp_flags & flags::RST != 0 => Self::Close,
            Self::Close => Self::Close,
            _ if tcp_flags & flags::FIN != 0 => Self::FinWait,
            Self::FinWait => Self::FinWait,
            Self::SynReceived if tcp_flags & flags::SYN != 0 => Self::SynReceived,
            Self::SynReceived | Self::Established => Self::Established,
        }
    }

    /// The state after a packet of the real, which only nat sees: it may end the flow, and says nothing else.
    #[inline(always)]
    #[must_use]
    pub const fn after_reply(self, tcp_flags: u8) -> Self {
        match self {
            Self::SynReceived | Self::Established if tcp_flags & flags::RST != 0 => Self::Close,
            Self::Established if tcp_flags & flags::FIN != 0 => Self::FinWait,
            _ => self,
        }
    }

    /// Ticks of silence after which a flow in this state has ended.
    #[inline(always)]
    #[must_use]
    pub const fn timeout(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::Udp => timeouts.udp,
            Self::SynReceived => ticks_of_seconds(60),
            Self::Established => timeouts.tcp,
            Self::FinWait => timeouts.tcp_fin,
            Self::Close => ticks_of_seconds(10),
        }
    }

    /// Whether the flow counts as active rather than inactive (`tcp_state_active_table` in
    /// `ip_vs_proto_tcp.c`; UDP is always inactive).
    #[inline(always)]
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::SynReceived | Self::Established)
    }
}

/// Ticks of silence after which no flow of that protocol still lives: T in [`crate::slot`].
#[inline(always)]
#[must_use]
pub const fn longest_timeout(protocol: u8, timeouts: &Timeouts) -> u32 {
    if !is_connection(protocol) {
        timeouts.udp
    } else if timeouts.tcp > timeouts.tcp_fin {
        timeouts.tcp
    } else {
        timeouts.tcp_fin
    }
}

/// Whether a known flow is over when this packet comes, so that the packet begins a new one: it was silent
/// for too long, or a SYN reuses the ports of a closing connection (kubernetes #70747: a balancer that
/// sends that SYN to the old real stalls the client for a second).
#[inline(always)]
#[must_use]
pub const fn is_over(state: State, seen: u32, now: u32, tcp_flags: u8, timeouts: &Timeouts) -> bool {
    let reused = tcp_flags & flags::SYN != 0 && matches!(state, State::FinWait | State::Close);
    reused || age(seen, now) > state.timeout(timeouts)
}

/// Whether a flow of that protocol is a connection, which begins and ends by packets that say so.
#[inline(always)]
#[must_use]
pub const fn is_connection(protocol: u8) -> bool {
    protocol == protocol::TCP || protocol == protocol::SCTP
}

/// Whether a packet of an unknown flow may begin one. `rotating` says that the scheduler cannot tell the
/// real from the packet, so that TCP must begin with a SYN (as IPVS has it, `sloppy_tcp` off). RST begins none.
#[inline(always)]
#[must_use]
pub const fn begins(protocol: u8, tcp_flags: u8, rotating: bool) -> bool {
    if !is_connection(protocol) {
        return true;
    }
    if tcp_flags & flags::RST != 0 {
        return false;
    }
    !rotating || tcp_flags & (flags::SYN | flags::ACK) == flags::SYN
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{flags::*, *};

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
        assert!(is_over(State::FinWait, 5, 5, SYN, &s));
        assert!(is_over(State::Close, 5, 5, SYN, &s));
        assert!(!is_over(State::Established, 5, 5, SYN, &s));
        assert!(!is_over(State::FinWait, 5, 5, ACK, &s));
    }

    #[test]
    fn silence_ends_a_flow_after_its_timeout_and_not_before() {
        let s = Timeouts::DEFAULT;
        for state in State::ALL {
            let t = state.timeout(&s);
            // The clock wraps in between.
            let seen = u32::MAX - 10;
            assert!(!is_over(state, seen, seen.wrapping_add(t), ACK, &s));
            assert!(is_over(state, seen, seen.wrapping_add(t + 1), ACK, &s));
        }
    }

    #[test]
    fn a_flow_seen_by_a_faster_clock_is_not_old() {
        assert_eq!(age(100, 99), 0);
        assert_eq!(age(0, u32::MAX), 0);
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
        assert_eq!(milliseconds_of_ticks(ticks_of_seconds(900)) / 1000, 900);
    }
}
