// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cables of the lab without a switch between, so that nothing but the director is on a frame's way: from the
//! client to the director, and from there to a host that has the addresses of all reals.

use std::net::Ipv4Addr;

use crate::lab::{Host, Lab};

/// The service at the director's end.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// Source address of the datagrams.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// RIPs of the three reals.
pub const RIPS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 9, 0, 11), Ipv4Addr::new(10, 9, 0, 12), Ipv4Addr::new(10, 9, 0, 13)];
/// The interface of the client, and that of the director at the other end.
pub const FRONT: &str = "front";
/// The interface of the director towards the reals, and that of the reals.
pub const BACK: &str = "back";
/// The Ethernet address of the director's end of the first.
pub const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0xf, 1];

/// The director's devices with a daemon.
pub const INTERFACES: &[&str] = &["eth0", FRONT, BACK];

/// Plugs them in.
pub fn plug_in(lab: &Lab) {
    let (client, director, real) = (&lab.client, &lab.director, back_end(lab));
    client.ip(&format!(
        "link add {FRONT} type veth peer name {FRONT} address 02:00:00:00:0f:01 netns {}\n\
         address add {CLIENT}/24 dev {FRONT}\nlink set {FRONT} up",
        director.ns().name()
    ));
    director.ip(&format!(
        "link add {BACK} type veth peer name {BACK} netns {}\n\
         address add 198.51.100.1/24 dev {FRONT}\nlink set {FRONT} up\n\
         address add 10.9.0.1/24 dev {BACK}\nlink set {BACK} up",
        real.ns().name()
    ));
    for rip in RIPS {
        real.ip(&format!("address add {rip}/24 dev {BACK}"));
    }
    real.ip(&format!("link set {BACK} up"));
    // An interface accepts frames from XDP only if it has a program, or GRO.
    director.sh(&format!("ethtool -K {FRONT} gro on")).succeeds();
}

/// Returns the host at the end.
#[must_use]
pub fn back_end(lab: &Lab) -> &Host {
    &lab.reals[0]
}
