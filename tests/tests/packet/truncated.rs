// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames that are shorter than they say, at every length: never sent on, never changed and passed.

use lb_common::reason::Reason;
use lb_tests::packet::{Action, Frame, TestPlane, judge};
use lb_userspace::control::model::Forward::{self, Dr, Local, Nat, Tun};
use rstest::rstest;

use crate::scene::{asked, frames_of_nat_reals, frames_to_the_vip};

/// Bytes of an Ethernet header: the least that a test run takes.
const ETHERNET: usize = 14;

/// A frame that was not sent on comes out as it went in, if at all.
#[track_caller]
fn goes_no_further(plane: &mut TestPlane, sent: &[u8]) -> Action {
    let (action, frame) = plane.try_bytes(sent);
    let whole = matches!(action, Action::Pass | Action::Drop) && frame == sent;
    assert!(
        whole,
        "{} bytes sent:\n{}came out, {action:?}:\n{}",
        sent.len(),
        judge::decode(sent),
        judge::decode(&frame)
    );
    action
}

/// The frame with another total length and the header checksum that goes with it.
fn claiming(frame: &Frame, length: usize) -> Vec<u8> {
    let mut bytes = frame.bytes();
    let (mut ip, _) = etherparse::Ipv4Header::from_slice(&bytes[ETHERNET..]).expect("frames are valid");
    ip.total_len = length.try_into().expect("a length has 16 bits");
    ip.header_checksum = ip.calc_header_checksum();
    bytes[ETHERNET..ETHERNET + ip.header_len()].copy_from_slice(&ip.to_bytes());
    bytes
}

#[rstest]
fn a_frame_for_the_vip_that_was_cut_short(#[values(Dr, Tun, Nat, Local)] method: Forward) {
    let mut plane = asked(method);
    for frame in frames_to_the_vip() {
        let bytes = frame.bytes();
        for length in ETHERNET..ETHERNET + frame.length() {
            let action = goes_no_further(&mut plane, &bytes[..length]);
            // What does not even have an IP header belongs to nobody.
            let expected = if length < ETHERNET + 20 { Action::Pass } else { Action::Drop };
            assert_eq!(action, expected, "{length} bytes of {}", judge::decode(&bytes));
        }
    }
}

#[test]
fn a_reply_that_was_cut_short() {
    let mut plane = asked(Nat);
    for frame in frames_of_nat_reals() {
        let bytes = frame.bytes();
        for length in ETHERNET..ETHERNET + frame.length() {
            assert_eq!(goes_no_further(&mut plane, &bytes[..length]), Action::Pass);
        }
    }
}

#[rstest]
fn a_frame_that_says_it_is_longer_than_it_is(#[values(Dr, Tun, Nat, Local)] method: Forward) {
    let mut plane = asked(method);
    for frame in frames_to_the_vip() {
        let room = frame.bytes().len() - ETHERNET;
        for length in (room + 1..room + 100).chain([1500, 9000, 65535]) {
            assert_eq!(goes_no_further(&mut plane, &claiming(&frame, length)), Action::Drop);
        }
    }
    for frame in frames_of_nat_reals() {
        let room = frame.bytes().len() - ETHERNET;
        for length in (room + 1..room + 100).chain([1500, 9000, 65535]) {
            assert_eq!(goes_no_further(&mut plane, &claiming(&frame, length)), Action::Pass);
        }
    }
}

/// The least that a packet of a kind has behind its IP header: TCP's, UDP's and ICMP's, and nothing for a later
/// fragment.
fn least(frame: &Frame) -> usize {
    let bytes = frame.bytes();
    let later = u16::from_be_bytes([bytes[20], bytes[21]]) & 0x1fff != 0;
    match bytes[23] {
        _ if later => 0,
        6 => 20,
        _ => 8,
    }
}

#[rstest]
fn a_packet_that_has_no_room_for_its_headers(#[values(Dr, Tun, Nat, Local)] method: Forward) {
    let mut plane = asked(method);
    for frame in frames_to_the_vip() {
        for length in 0..frame.header_length() + least(&frame) {
            assert_eq!(goes_no_further(&mut plane, &claiming(&frame, length)), Action::Drop);
        }
    }
    for frame in frames_of_nat_reals() {
        for length in 0..frame.header_length() + least(&frame) {
            assert_eq!(goes_no_further(&mut plane, &claiming(&frame, length)), Action::Pass);
        }
    }
}

/// An ICMP error whose quote ends too early to name a flow.
#[rstest]
fn an_error_that_quotes_too_little(#[values(Dr, Tun, Nat)] method: Forward) {
    let mut plane = asked(method);
    let is_error = |frame: &Frame| frame.bytes()[23] == 1 && frame.bytes()[34] == 3;
    for frame in frames_to_the_vip().into_iter().filter(is_error) {
        // The outer IP and ICMP headers, and the quoted IP header with its options.
        let quoted = usize::from(frame.bytes()[42] & 15) * 4;
        for length in 28..28 + quoted + 8 {
            assert_eq!(goes_no_further(&mut plane, &claiming(&frame, length)), Action::Pass, "{length}");
        }
    }
    for frame in frames_of_nat_reals().into_iter().filter(is_error) {
        let quoted = usize::from(frame.bytes()[42] & 15) * 4;
        for length in 28..28 + quoted + 8 {
            assert_eq!(goes_no_further(&mut plane, &claiming(&frame, length)), Action::Pass, "{length}");
        }
    }
}

#[test]
fn the_reason_is_counted() {
    let mut plane = asked(Nat);
    let bytes = frames_to_the_vip()[0].bytes();
    plane.run_bytes(&bytes[..bytes.len() - 1]).is_dropped(Reason::Truncated);
    let bytes = frames_of_nat_reals()[0].bytes();
    plane.run_bytes(&bytes[..bytes.len() - 1]).is_untouched();
}
