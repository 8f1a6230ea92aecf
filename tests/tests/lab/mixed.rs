// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several methods at once.

use std::{net::SocketAddrV4, thread};

use lb_tests::lab::{Method, Stage, VIP};

const PORT: u16 = 80;

#[test]
fn services_of_different_methods_work_side_by_side() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");

    thread::scope(|scope| {
        for method in Method::ALL {
            let client = &stage.lab.client;
            scope.spawn(move || client.requests(method.service(), 100).is_complete(100).answered());
        }
    });
}

#[test]
fn one_service_has_reals_of_all_three_methods() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[PORT]));
    lab.director.xvs(&format!("service add tcp {VIP}:{PORT} --scheduler rr")).succeeds();
    for (real, method) in lab.reals.iter().zip(Method::ALL) {
        lab.director.add_real("tcp", PORT, real.rip, PORT, method, 100);
    }

    let spread = lab.client.requests(SocketAddrV4::new(VIP, PORT), 90);

    spread.is_complete(90);
    for real in &lab.reals {
        assert_eq!(spread.by(real.name()), 30, "{spread:?}");
    }
}

/// A real without a port of its own has the port of the service, so that two protocols at one address
/// do not conflict.
#[test]
fn tcp_and_udp_of_one_address_are_two_services() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[PORT]));
    let [first, second, _] = &lab.reals;
    for (protocol, real) in [("tcp", first), ("udp", second)] {
        lab.director.xvs(&format!("service add {protocol} {VIP}:{PORT}")).succeeds();
        lab.director.add_real(protocol, PORT, real.rip, PORT, Method::Dr, 100);
    }

    let spread = lab.client.requests(SocketAddrV4::new(VIP, PORT), 10);

    assert_eq!(spread.is_complete(10).by("real1"), 10);
    let stats = lab.director.stats();
    assert_eq!(stats.service("udp", PORT).count.packets_in, 0);
}
