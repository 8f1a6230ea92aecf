// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random damage to frames of every kind.

use std::cell::RefCell;

use lb_model::Forward::{self, Dr, Fnat, Nat, Tun};
use lb_tests::packet::{Action, Frame, TestPlane, judge};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use rstest::rstest;

use crate::scene::{asked, frames_of_nat_reals, frames_to_the_vip};

/// One kind of damage to a frame.
#[derive(Clone, Debug)]
enum Damage {
    /// A byte becomes another, most often in the headers.
    Byte(Index, u8),
    HeaderByte(Index, u8),
    /// The end is missing.
    Cut(Index),
    /// Something follows.
    Grow(Vec<u8>),
    /// The IP header's checksum is corrected, so that the damage goes undetected.
    Mend,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        6 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::HeaderByte(at, byte)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => proptest::collection::vec(any::<u8>(), 1..80).prop_map(Damage::Grow),
        4 => Just(Damage::Mend),
    ]
}

const ETHERNET: usize = 14;

impl Damage {
    fn to(&self, frame: &mut Vec<u8>) {
        match self {
            Self::Byte(at, byte) => {
                let at = at.index(frame.len());
                frame[at] = *byte;
            }
            Self::HeaderByte(at, byte) => {
                let at = at.index(frame.len().min(78));
                frame[at] = *byte;
            }
            Self::Cut(length) => frame.truncate(ETHERNET + length.index(frame.len() - ETHERNET + 1)),
            Self::Grow(bytes) => frame.extend(bytes),
            Self::Mend => {
                if let Ok((ip, _)) = etherparse::Ipv4Header::from_slice(&frame[ETHERNET..]) {
                    frame[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
                }
            }
        }
    }
}

/// Checks the invariants that hold for any damage.
fn is_sane(sent: &[u8], action: Action, frame: &[u8]) -> Result<(), String> {
    let claim = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    match action {
        Action::Aborted => Err("the program was aborted".to_owned()),
        Action::Drop => Ok(()),
        Action::Pass => claim(frame == sent, "passed, but changed"),
        Action::Tx | Action::Redirect => {
            if judge::wrong_checksums(sent).is_empty() {
                let wrong = judge::wrong_checksums(frame);
                claim(wrong.is_empty(), &format!("now wrong: {wrong:?}"))?;
            }
            claim(carries_on(sent, frame), "the payload changed")
        }
    }
}

/// Returns whether the output carries the payload of the input, or quotes it.
fn carries_on(sent: &[u8], frame: &[u8]) -> bool {
    if is_ipv6(sent) {
        // Behind all possible headers, quoted ones included.
        let payload = sent.get(ETHERNET + 40 + 48 + 8 + 40 + 48 + 20..).unwrap_or_default();
        return frame.ends_with(payload) || is_answer(sent, frame);
    }
    let header = usize::from(sent[ETHERNET] & 15) * 4;
    let later = u16::from_be_bytes([sent[20], sent[21]]) & 0x1fff != 0;
    let transport = match sent[23] {
        _ if later => 0,
        6 => 20,
        // In an ICMP error the quoted headers may be translated: nothing but what follows them must stay.
        1 => 8 + 60 + 20,
        _ => 8,
    };
    let payload = sent.get(ETHERNET + header + transport..).unwrap_or_default();
    frame.ends_with(payload) || is_answer(sent, frame)
}

/// Returns whether the output is an ICMP error of the director about the input.
fn is_answer(sent: &[u8], frame: &[u8]) -> bool {
    if is_ipv6(frame) {
        return frame[20] == 58
            && matches!(frame[54], 1..=3)
            && frame.len() > 62
            && sent[ETHERNET..].starts_with(&frame[62..]);
    }
    frame[23] == 1
        && matches!(frame[34], 3 | 11)
        && frame.len() > 42
        && sent[ETHERNET..].starts_with(&frame[42..])
}

fn is_ipv6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
}

fn survives(plane: TestPlane, frames: &[Frame]) {
    let plane = RefCell::new(plane);
    let frames: Vec<Vec<u8>> = frames.iter().map(Frame::bytes).collect();
    let input = (any::<Index>(), proptest::collection::vec(damage(), 0..6));
    // No persistence: what fails is printed, and becomes a case of its own.
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&input, |(which, damages)| {
        let mut sent = which.get(&frames).clone();
        for damage in damages {
            damage.to(&mut sent);
        }
        let (action, frame) = plane.borrow_mut().try_bytes(&sent);
        is_sane(&sent, action, &frame).map_err(|wrong| {
            let [sent, frame] = [&sent, &frame].map(|bytes| judge::decode(bytes));
            TestCaseError::fail(format!("{wrong}\nsent:\n{sent}came out, {action:?}:\n{frame}"))
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[rstest]
fn damaged_requests(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    survives(asked(method), &frames_to_the_vip());
}

#[test]
fn damaged_replies() {
    survives(asked(Nat), &frames_of_nat_reals());
}

#[test]
fn damaged_requests_to_nobody() {
    let nobody = [lb_tests::packet::tcp_service(), lb_tests::packet::udp_service()];
    survives(TestPlane::new(&nobody), &frames_to_the_vip());
}
