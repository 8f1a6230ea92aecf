// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors about a flow.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use lb_tests::lab::{DIP, Method, Server, Stage, VIP, icmp};

const MTU: u16 = 1200;

/// A router on the return path reports that a reply was too big: only the real that sent the reply must
/// receive the message, as if it were addressed to that real.
#[test]
fn a_large_frag_needed_reaches_the_right_real() {
    let stage = Stage::new();
    let lab = &stage.lab;
    stage.serve_all_methods("tcp", "rr");
    let address = |method: Method| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, method.real_port());
    let pairs = Method::ALL.into_iter().flat_map(|method| lab.reals.iter().map(move |real| (method, real)));
    let _servers: Vec<_> = pairs.map(|(method, real)| Server::greeter(real, address(method))).collect();
    let listeners = lab.reals.each_ref().map(|real| icmp::Listener::on(real));

    for method in Method::ALL {
        // Three connections, one at each real.
        let connections = [(); 3].map(|()| lab.client.connect(method.service()).unwrap());
        for stream in &connections {
            let mut name = String::new();
            BufReader::new(stream).read_line(&mut name).unwrap();
            let at = lab.reals.iter().position(|real| real.name() == name.trim()).unwrap();
            let SocketAddr::V4(client) = stream.local_addr().unwrap() else { panic!("IPv4 only") };

            icmp::send_frag_needed(&lab.client, method.service(), client, MTU);

            let heard = listeners[at].hears();
            let flow = match method {
                Method::Dr | Method::Tun => SocketAddrV4::new(VIP, method.port()),
                Method::Nat | Method::Fnat => SocketAddrV4::new(lab.reals[at].rip, method.real_port()),
            };
            assert_eq!((heard.to, heard.source), (*flow.ip(), flow), "{method:?}");
            if method == Method::Fnat {
                assert_eq!(*heard.destination.ip(), DIP, "the real knows the director alone");
            } else {
                assert_eq!(heard.destination, client, "{method:?}");
            }
            assert_eq!(heard.mtu, MTU, "{method:?}");
            assert!(heard.length > 1200, "{method:?}: cut to {} bytes", heard.length);
            for (_, other) in listeners.iter().enumerate().filter(|(index, _)| *index != at) {
                other.heard_nothing();
            }
        }
    }
}
