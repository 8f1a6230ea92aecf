// SPDX-License-Identifier: MIT OR Apache-2.0
//! Traffic of no service: the director's own traffic is not affected by xvs.

use std::net::{Ipv4Addr, SocketAddrV4};

use lb_tests::lab::{DIRECTOR, Method, Server, Stage, VIP};

const OWN_PORT: u16 = 22;

#[test]
fn traffic_of_no_service_is_untouched() {
    let stage = Stage::new();
    stage.serve_all_methods("tcp", "mh");
    let (client, director) = (&stage.lab.client, &stage.lab.director);
    let _own = Server::greeter(director, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, OWN_PORT));
    let before = director.stats().services.iter().map(|service| service.count.packets_in).sum::<u64>();

    // ARP: the neighbours must be found again.
    client.sh("ip neighbour flush all").succeeds();
    client.sh(&format!("ping -c 1 -W 5 {DIRECTOR}")).succeeds();
    client.sh(&format!("ping -c 1 -W 5 -s 1400 {VIP}")).succeeds();
    // Fragments.
    client.sh(&format!("ping -c 1 -W 5 -s 4000 {DIRECTOR}")).succeeds();
    // TCP to the director itself, also at the address of the services.
    for address in [DIRECTOR, VIP] {
        let spread = client.spread(SocketAddrV4::new(address, OWN_PORT), 20);
        assert_eq!(spread.is_complete(20).by("director"), 20);
    }
    // A port without a server is refused; the packet is not lost.
    let refused = client.connect(SocketAddrV4::new(VIP, 9)).unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    // IPv6: neighbour discovery and echo.
    client.sh("ping -c 1 -W 5 2001:db8::1").succeeds();
    // Routed through the director.
    for real in &stage.lab.reals {
        client.sh(&format!("ping -c 1 -W 5 {}", real.rip)).succeeds();
    }

    let after = director.stats().services.iter().map(|service| service.count.packets_in).sum::<u64>();
    assert_eq!(after, before, "counted for a service");
}

/// A client that contacts a nat real by its own address gets the answer from that address: only replies of
/// connections to the VIP come from the VIP.
#[test]
fn a_real_of_nat_can_be_asked_directly_on_another_port() {
    let stage = Stage::new();
    stage.serve_all_methods("tcp", "mh");
    let _greeters = stage.lab.reals.each_ref().map(|real| {
        Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, Method::Nat.real_port() + 1))
    });

    for real in &stage.lab.reals {
        let direct = SocketAddrV4::new(real.rip, Method::Nat.real_port() + 1);
        assert_eq!(stage.lab.client.spread(direct, 10).is_complete(10).by(real.name()), 10);
    }
}
