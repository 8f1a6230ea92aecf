// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets how many connections.

use std::net::{Ipv4Addr, SocketAddrV4};

use lb_tests::lab::{Lab, Method, Server, Spread, Stage, VIP};

const CONNECTIONS: u16 = 20_000;

/// Weights of the three reals, and what is theirs of the connections.
const WEIGHTS: [u32; 3] = [5, 3, 2];
const SHARES: [usize; 3] = [10_000, 6_000, 4_000];

#[test]
fn maglev_spreads_connections_within_three_percent_of_the_weights() {
    let stage = Stage::new();
    let spread = connect(&stage.lab, Method::Dr, "mh");
    println!("{:?}", spread.answers);
    for (real, share) in stage.lab.reals.iter().zip(SHARES) {
        let (got, tolerated) = (spread.by(real.name()), share * 3 / 100);
        assert!(got.abs_diff(share) <= tolerated, "{} got {got}, not {share}: {spread:?}", real.name());
    }
}

#[test]
fn weighted_round_robin_is_exact() {
    let stage = Stage::new();
    let spread = connect(&stage.lab, Method::Nat, "wrr");
    assert_eq!(stage.lab.reals.each_ref().map(|real| spread.by(real.name())), SHARES);
}

#[test]
fn round_robin_takes_turns() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _servers = serve(lab, Method::Tun, "rr", [1, 1, 1]);
    let turns: Vec<_> = (0..9).map(|_| lab.client.greeting(Method::Tun.service()).unwrap()).collect();
    for three in turns.windows(3) {
        assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2], "{turns:?}");
    }
}

fn connect(lab: &Lab, method: Method, scheduler: &str) -> Spread {
    let _servers = serve(lab, method, scheduler, WEIGHTS);
    let spread = lab.client.spread(method.service(), CONNECTIONS);
    spread.is_complete(CONNECTIONS.into());
    spread
}

/// Adds the service, and the servers that greet by name.
fn serve(lab: &Lab, method: Method, scheduler: &str, weights: [u32; 3]) -> Vec<Server> {
    let port = method.port();
    lab.director.xvs(&format!("service add tcp {VIP}:{port} --scheduler {scheduler}")).succeeds();
    let servers = lab.reals.iter().zip(weights).map(|(real, weight)| {
        lab.director.add_real("tcp", port, real.rip, method.real_port(), method, weight);
        Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, method.real_port()))
    });
    servers.collect()
}
