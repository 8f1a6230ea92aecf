// SPDX-License-Identifier: MIT OR Apache-2.0
//! The outcome of a frame, and assertions about it. A failed assertion prints the decoded frames.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use etherparse::{NetSlice, TransportSlice};

use lb_common::{
    reason::{Fate, Reason},
    schema::Counters,
};

use super::{Frame, RealServer, judge, version};

/// The XDP action that the program returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the kernel's names (enum xdp_action)")]
pub enum Action {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

impl Action {
    /// Returns the action with this number.
    pub fn of(number: u32) -> Self {
        [Self::Aborted, Self::Drop, Self::Pass, Self::Tx, Self::Redirect][number as usize]
    }
}

/// One frame's fate.
#[derive(Clone, Debug)]
pub struct Got {
    /// The frame that was sent to the program.
    pub sent: Vec<u8>,
    /// The XDP action.
    pub action: Action,
    /// The frame as it left.
    pub frame: Vec<u8>,
    /// Reasons that were counted, over all services.
    pub reasons: BTreeMap<Reason, u64>,
    /// Counters that moved, by real.
    pub reals: Vec<(RealServer, Counters)>,
}

impl Got {
    /// Asserts that the frame left for a real by the interface of its arrival, exactly as `expected`, and was
    /// counted once.
    #[track_caller]
    pub fn reaches_a_real_as(&self, expected: &Frame) {
        self.left_as(Action::Tx, expected);
        self.counted_in();
    }

    /// Asserts that the frame left for a real by another interface, exactly as `expected`, and was counted
    /// once.
    #[track_caller]
    pub fn is_redirected_as(&self, expected: &Frame) {
        self.left_as(Action::Redirect, expected);
        self.counted_in();
    }

    /// Asserts that the frame left for a client by the interface of its arrival, exactly as `expected`, and
    /// was counted once.
    #[track_caller]
    pub fn reaches_the_client_as(&self, expected: &Frame) {
        self.left_as(Action::Tx, expected);
        self.counted_out();
    }

    /// Asserts that the frame left for a client by another interface, exactly as `expected`, and was counted
    /// once.
    #[track_caller]
    pub fn is_redirected_back_as(&self, expected: &Frame) {
        self.left_as(Action::Redirect, expected);
        self.counted_out();
    }

    /// Asserts that the frame was passed unmodified to the director's own stack, and that this reason was
    /// counted once.
    #[track_caller]
    pub fn is_passed(&self, reason: Reason) {
        self.is_passed_unchanged();
        // A packet with this reason is answered if it is a client's request, and passed otherwise.
        let fate = if reason == Reason::TtlExceeded { Fate::Answered } else { Fate::Passed };
        self.counted(reason, fate);
    }

    /// Asserts that the frame is not ours: passed unmodified, and not counted.
    #[track_caller]
    pub fn is_untouched(&self) {
        self.is_passed_unchanged();
        self.claim(self.reasons.is_empty() && self.reals.is_empty(), "nothing is counted", None);
    }

    /// Asserts that the frame was dropped for a reason.
    #[track_caller]
    pub fn is_dropped(&self, reason: Reason) {
        self.claim(self.action == Action::Drop, "dropped", None);
        self.counted(reason, Fate::Dropped);
    }

    /// Asserts that the frame was dropped without an answer for a reason that is otherwise answered.
    #[track_caller]
    pub fn is_dropped_without_an_answer(&self, reason: Reason) {
        self.claim(self.action == Action::Drop, "dropped", None);
        self.counted(reason, Fate::Answered);
    }

    /// Asserts that the frame was answered for a reason, and that the answer left by the interface of the
    /// frame's arrival.
    #[track_caller]
    pub fn is_answered(&self, reason: Reason, expected: &Frame) {
        self.left_as(Action::Tx, expected);
        self.counted(reason, Fate::Answered);
    }

    /// Returns the real to which the packet went.
    #[track_caller]
    pub fn real(&self) -> RealServer {
        self.claim(self.reals.len() == 1, "one real is counted", None);
        self.reals[0].0
    }

    /// Address and port that the packet which left comes from.
    #[track_caller]
    pub fn source(&self) -> SocketAddr {
        let sliced = etherparse::SlicedPacket::from_ethernet(&self.frame).expect("a packet left");
        let ip = match sliced.net {
            Some(NetSlice::Ipv4(ip)) => IpAddr::from(ip.header().source_addr()),
            Some(NetSlice::Ipv6(ip)) => IpAddr::from(ip.header().source_addr()),
            _ => panic!("no packet left\n{self}"),
        };
        let port = match sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => tcp.source_port(),
            Some(TransportSlice::Udp(udp)) => udp.source_port(),
            _ => panic!("the packet that left has no ports\n{self}"),
        };
        version::original(SocketAddr::new(ip, port))
    }

    /// Returns the number of flows that began.
    pub fn new_flows(&self) -> u64 {
        self.reals.iter().map(|(_, counters)| counters.new_flows).sum()
    }

    #[track_caller]
    fn left_as(&self, action: Action, expected: &Frame) {
        let expected = expected.bytes();
        let wrong = judge::wrong_checksums(&self.frame);
        let as_expected = self.action == action && self.frame == expected && wrong.is_empty();
        self.claim(as_expected, &format!("{action:?} of the expected frame"), Some(&expected));
    }

    #[track_caller]
    fn is_passed_unchanged(&self) {
        self.claim(self.action == Action::Pass, "passed", None);
        self.claim(self.frame == self.sent, "passed as it came", Some(&self.sent));
    }

    /// Asserts that this reason was counted, and no other.
    #[track_caller]
    fn counted(&self, reason: Reason, fate: Fate) {
        assert_eq!(reason.fate(), fate, "{}", reason.as_str());
        self.claim(self.reasons == BTreeMap::from([(reason, 1)]), "that reason is counted once", None);
    }

    #[track_caller]
    fn counted_in(&self) {
        let (packets, bytes) = self.only_real(|c| (c.packets_in, c.bytes_in));
        self.claim((packets, bytes) == (1, self.length()), "one packet in is counted, with its length", None);
    }

    /// Asserts that the frame was counted once, as a real's packet to a client.
    #[track_caller]
    pub fn counted_out(&self) {
        let (packets, bytes) = self.only_real(|c| (c.packets_out, c.bytes_out));
        self.claim(
            (packets, bytes) == (1, self.length()),
            "one packet out is counted, with its length",
            None,
        );
    }

    /// Returns the change of the only real whose counters changed, and asserts that no reason was counted.
    #[track_caller]
    fn only_real<T>(&self, what: impl FnOnce(&Counters) -> T) -> T {
        self.claim(self.reasons.is_empty(), "no reason is counted", None);
        self.claim(self.reals.len() == 1, "one real is counted", None);
        what(&self.reals[0].1)
    }

    /// Returns the total length of the IP packet that arrived.
    fn length(&self) -> u64 {
        let number = |at| u64::from(u16::from_be_bytes([self.sent[at], self.sent[at + 1]]));
        // Behind its VLAN tags.
        let mut at = 12;
        while matches!(number(at), 0x8100 | 0x88a8) {
            at += 4;
        }
        if number(at) == 0x86dd { number(at + 6) + 40 } else { number(at + 4) }
    }

    #[track_caller]
    fn claim(&self, holds: bool, what: &str, expected: Option<&[u8]>) {
        let expected = expected.map(|bytes| format!("expected:\n{}", judge::decode(bytes)));
        assert!(holds, "not true: {what}\n{self}{}", expected.unwrap_or_default());
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, frame) = (judge::decode(&self.sent), judge::decode(&self.frame));
        writeln!(f, "sent:\n{sent}came out, {:?}:\n{frame}counted:", self.action)?;
        for (reason, count) in &self.reasons {
            writeln!(f, "  {} {count}", reason.as_str())?;
        }
        for (RealServer(address), counters) in &self.reals {
            writeln!(f, "  {address} {counters:?}")?;
        }
        Ok(())
    }
}
