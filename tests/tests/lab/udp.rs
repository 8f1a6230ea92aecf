// SPDX-License-Identifier: MIT OR Apache-2.0
//! Datagrams.

use std::{collections::BTreeSet, net::SocketAddrV4, net::UdpSocket, time::Duration};

use lb_tests::lab::{CLIENT, Method, Server, Stage, VIP};

/// Number of clients: enough for every real to get some.
const CLIENTS: usize = 60;

#[test]
fn every_datagram_is_echoed_and_a_client_keeps_its_real() {
    let stage = Stage::new();
    stage.serve_all_methods("udp", "mh");
    let lab = &stage.lab;
    let _servers: Vec<_> = Method::ALL
        .iter()
        .flat_map(|&method| lab.reals.iter().map(move |real| (method, real)))
        .map(|(method, real)| {
            let address = if method.replies_directly() { VIP } else { real.rip };
            Server::udp_echo(real, SocketAddrV4::new(address, method.real_port()))
        })
        .collect();

    for method in Method::ALL {
        let mut answered = BTreeSet::new();
        for _ in 0..CLIENTS {
            let socket = lab.client.run(|| UdpSocket::bind((CLIENT, 0))).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket.connect(method.service()).unwrap();
            // Small, large, and empty: a checksum over nothing is still a checksum.
            let names = [&b"hello"[..], &[7; 1400], b""].map(|payload| ask(&socket, payload, method));
            assert!(names.iter().all(|name| *name == names[0]), "{method:?}: one client, {names:?}");
            answered.extend(names);
        }
        assert_eq!(answered.len(), lab.reals.len(), "{method:?}: only {answered:?} answered");
    }
}

/// Sends a datagram, checks the echo, and returns who sent it.
#[track_caller]
fn ask(socket: &UdpSocket, payload: &[u8], method: Method) -> String {
    socket.send(payload).expect("a route to the VIP");
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap_or_else(|error| {
        panic!("{method:?}: no echo of {} bytes to {:?}: {error}", payload.len(), socket.local_addr())
    });
    let space = buffer.iter().position(|&byte| byte == b' ').expect("a name, a space, the payload");
    assert_eq!(&buffer[space + 1..length], payload, "{method:?}");
    String::from_utf8_lossy(&buffer[..space]).into_owned()
}
