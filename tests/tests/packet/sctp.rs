// SPDX-License-Identifier: MIT OR Apache-2.0
//! SCTP: forwarded where no port changes, since its checksum covers the ports and no address.

use std::net::SocketAddrV4;

use etherparse::{Icmpv4Type, IpNumber, icmpv4::DestUnreachableHeader};
use lb_common::reason::Reason;
use lb_model::{
    Forward::{self, Dr, Nat, Tun},
    Scheduler,
};
use lb_tests::packet::{
    CLIENT, Frame, ROUTER, RealServer, SERVICE, TestPlane, VIP, client_receives, error, raw, sctp_service,
};
use rstest::rstest;

use crate::scene::ask;

const INIT: u8 = 1;
const DATA: u8 = 0;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;

/// A packet with a chunk of that type. The checksum is any number: the director does not verify it, and must
/// not change it.
fn sctp(from: SocketAddrV4, to: SocketAddrV4, chunk: u8) -> Frame {
    let mut packet = Vec::new();
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend([0xde, 0xad, 0xbe, 0xef, 0x11, 0x22, 0x33, 0x44]);
    packet.extend([chunk, 0, 0, 20]);
    packet.extend([7; 16]);
    raw(IpNumber::SCTP, *from.ip(), *to.ip(), &packet)
}

fn request(chunk: u8) -> Frame {
    sctp(CLIENT, SERVICE, chunk)
}

#[rstest]
fn a_request_reaches_its_real_and_every_byte_behind_the_addresses_stays(
    #[values(Dr, Tun, Nat)] method: Forward,
    #[values(INIT, DATA, SHUTDOWN, ABORT)] chunk: u8,
) {
    let real = RealServer::number(1);
    let mut plane = TestPlane::new(&[sctp_service().real(method, real)]);
    let sent = request(chunk);
    plane.run(&sent).reaches_a_real_as(&real.receives(method, &sent));
}

#[test]
fn a_reply_comes_from_the_service() {
    let real = RealServer::number(1);
    let mut plane = TestPlane::new(&[sctp_service().real(Nat, real)]);
    ask(&mut plane, &request(INIT));
    let reply = real.answers(sctp(real.0, CLIENT, DATA));
    plane.run(&reply).reaches_the_client_as(&client_receives(&reply, SERVICE));
}

/// As TCP: an association begins with an INIT, stays on its real, and another INIT after its end is a new
/// one.
#[test]
fn an_association_stays_on_its_real() {
    let reals = [RealServer::number(1), RealServer::number(2)];
    let pool = reals.iter().fold(sctp_service().by(Scheduler::Rr), |pool, real| pool.real(Dr, *real));
    let mut plane = TestPlane::new(&[pool]);
    plane.run(&request(DATA)).is_passed(Reason::NoFlow);
    let first = ask(&mut plane, &request(INIT));
    for chunk in [DATA, SHUTDOWN, DATA] {
        assert_eq!(ask(&mut plane, &request(chunk)), first);
    }
    assert_ne!(ask(&mut plane, &request(INIT)), first, "a SYN on a closing flow is a new connection");
    plane.run(&request(ABORT));
    assert_eq!(ask(&mut plane, &request(INIT)), first, "after an abort too");
}

#[rstest]
fn an_error_about_an_association_reaches_its_real(#[values(Dr, Nat)] method: Forward) {
    let real = RealServer::number(1);
    let mut plane = TestPlane::new(&[sctp_service().real(method, real)]);
    ask(&mut plane, &request(INIT));
    let unreachable = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
    let sent = error(unreachable, ROUTER, VIP, &sctp(SERVICE, CLIENT, DATA)).quoting(40);
    let at_the_real = match method {
        Nat => sent.clone().quoted(|quote| quote.from(real.0)),
        _ => sent.clone(),
    };
    plane.run(&sent).reaches_a_real_as(&real.receives(method, &at_the_real));
}

/// Without the common header there is no association.
#[test]
fn what_is_shorter_than_its_header_is_dropped() {
    let mut plane = TestPlane::new(&[sctp_service().real(Dr, RealServer::number(1))]);
    let whole = request(INIT);
    for length in 0..12 {
        let claimed = whole.claiming(whole.header_length() + length);
        plane.run_bytes(&claimed).is_dropped(Reason::Truncated);
    }
    let no_chunk = raw(IpNumber::SCTP, *CLIENT.ip(), VIP, &[0; 12]);
    plane.run(&no_chunk).is_untouched();
}
