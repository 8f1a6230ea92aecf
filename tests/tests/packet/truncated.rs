// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames that are shorter than their headers announce, at every length: never forwarded, and never changed
//! and passed.

use lb_common::reason::Reason;
use lb_model::Forward::{self, Dr, Fnat, Local, Nat, Tun};
use lb_tests::packet::{Action, TestPlane, judge, version::is_six};
use rstest::rstest;

use crate::scene::{asked, frames_of_nat_reals, frames_to_the_vip};

/// Bytes of an Ethernet header: the minimum for a test run.
const ETHERNET: usize = 14;

/// Bytes of an IP header without options.
fn header() -> usize {
    if is_six() { 40 } else { 20 }
}

/// Asserts that a frame that is not forwarded is dropped, or passed unmodified.
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

#[rstest]
fn a_frame_for_the_vip_that_was_cut_short(#[values(Dr, Tun, Nat, Fnat, Local)] method: Forward) {
    let mut plane = asked(method);
    for frame in frames_to_the_vip() {
        let bytes = frame.bytes();
        for length in ETHERNET..ETHERNET + frame.length() {
            let action = goes_no_further(&mut plane, &bytes[..length]);
            // A frame without an IP header belongs to no service.
            let expected = if length < ETHERNET + header() { Action::Pass } else { Action::Drop };
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
fn a_frame_that_says_it_is_longer_than_it_is(#[values(Dr, Tun, Nat, Fnat, Local)] method: Forward) {
    let mut plane = asked(method);
    for frame in frames_to_the_vip() {
        let room = frame.bytes().len() - ETHERNET;
        for length in (room + 1..room + 100).chain([1500, 9000, 65535]) {
            assert_eq!(goes_no_further(&mut plane, &frame.claiming(length)), Action::Drop);
        }
    }
    for frame in frames_of_nat_reals() {
        let room = frame.bytes().len() - ETHERNET;
        for length in (room + 1..room + 100).chain([1500, 9000, 65535]) {
            assert_eq!(goes_no_further(&mut plane, &frame.claiming(length)), Action::Pass);
        }
    }
}

#[rstest]
fn a_packet_that_has_no_room_for_its_headers(#[values(Dr, Tun, Nat, Fnat, Local)] method: Forward) {
    let mut plane = asked(method);
    for frame in frames_to_the_vip() {
        for length in 0..frame.header_length() + frame.least() {
            assert_eq!(goes_no_further(&mut plane, &frame.claiming(length)), Action::Drop);
        }
    }
    for frame in frames_of_nat_reals() {
        for length in 0..frame.header_length() + frame.least() {
            assert_eq!(goes_no_further(&mut plane, &frame.claiming(length)), Action::Pass);
        }
    }
}

/// An ICMP error whose quote ends too early to name a flow.
#[rstest]
fn an_error_that_quotes_too_little(#[values(Dr, Tun, Nat, Fnat)] method: Forward) {
    let mut plane = asked(method);
    for frame in frames_to_the_vip() {
        let Some(quoted) = frame.quote() else { continue };
        let until_quote = header() + 8;
        for length in until_quote..until_quote + quoted.header_length() + 8 {
            assert_eq!(goes_no_further(&mut plane, &frame.claiming(length)), Action::Pass, "{length}");
        }
    }
    for frame in frames_of_nat_reals() {
        let Some(quoted) = frame.quote() else { continue };
        let until_quote = header() + 8;
        for length in until_quote..until_quote + quoted.header_length() + 8 {
            assert_eq!(goes_no_further(&mut plane, &frame.claiming(length)), Action::Pass, "{length}");
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
