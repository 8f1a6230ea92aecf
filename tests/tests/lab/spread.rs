// SPDX-License-Identifier: MIT OR Apache-2.0
//! Distribution of connections over reals.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddrV4},
};

use lb_tests::lab::{Lab, Method, Server, Spread, Stage, VIP};
use rstest::rstest;

const CONNECTIONS: u16 = 20_000;

/// Weights of the three reals, and their shares of the connections.
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

/// The expected distribution of sixty connections that stay open.
#[derive(Clone, Copy, Debug)]
enum Shares {
    /// This number for each real, or one more or less.
    About([usize; 3]),
    /// This number for each real.
    Exactly([usize; 3]),
    /// All for one of them.
    One,
    /// Some for each of them.
    Everyone,
}

#[rstest]
#[case::rr("rr", [5, 3, 2], Shares::Exactly([20, 20, 20]))]
#[case::wrr("wrr", [5, 3, 2], Shares::Exactly([30, 18, 12]))]
#[case::lc("lc", [5, 3, 2], Shares::Exactly([20, 20, 20]))]
#[case::wlc("wlc", [5, 3, 2], Shares::About([30, 18, 12]))]
#[case::sed("sed", [5, 3, 2], Shares::About([30, 18, 12]))]
#[case::nq("nq", [5, 3, 2], Shares::About([30, 18, 12]))]
#[case::fo("fo", [5, 3, 2], Shares::Exactly([60, 0, 0]))]
#[case::ovf("ovf", [30, 18, 12], Shares::Exactly([31, 19, 10]))]
#[case::twos("twos", [5, 3, 2], Shares::Everyone)]
#[case::mh("mh", [5, 3, 2], Shares::Everyone)]
#[case::mh_by_client("mh --flags none", [5, 3, 2], Shares::One)]
#[case::sh("sh", [5, 3, 2], Shares::One)]
#[case::sh_port("sh --flags sh-port", [5, 3, 2], Shares::Everyone)]
#[case::dh("dh", [5, 3, 2], Shares::One)]
#[case::lblc("lblc", [100, 100, 100], Shares::One)]
#[case::lblcr("lblcr", [100, 100, 100], Shares::One)]
fn connections_that_stay_are_shared_out(
    #[case] scheduler: &str,
    #[case] weights: [u32; 3],
    #[case] expected: Shares,
) {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _servers = serve(lab, Method::Dr, scheduler, weights);
    let mut streams = Vec::new();
    let mut shares = [0; 3];
    for _ in 0..60 {
        let stream = lab.client.connect(Method::Dr.service()).unwrap();
        let mut name = String::new();
        BufReader::new(&stream).read_line(&mut name).unwrap();
        let place = lab.reals.iter().position(|real| real.name() == name.trim()).unwrap();
        shares[place] += 1;
        streams.push(stream);
    }
    println!("{scheduler}: {shares:?}");
    match expected {
        Shares::Exactly(exactly) => assert_eq!(shares, exactly),
        Shares::About(about) => {
            for (got, wanted) in shares.iter().zip(about) {
                assert!(got.abs_diff(wanted) <= 1, "{shares:?}, not {about:?}");
            }
        }
        Shares::One => assert!(shares.contains(&60), "{shares:?}"),
        Shares::Everyone => assert!(shares.iter().all(|share| *share > 0), "{shares:?}"),
    }
}

fn connect(lab: &Lab, method: Method, scheduler: &str) -> Spread {
    let _servers = serve(lab, method, scheduler, WEIGHTS);
    let spread = lab.client.spread(method.service(), CONNECTIONS);
    spread.is_complete(CONNECTIONS.into());
    spread
}

/// Adds the service, and starts servers that greet with their names.
fn serve(lab: &Lab, method: Method, scheduler: &str, weights: [u32; 3]) -> Vec<Server> {
    let port = method.port();
    lab.director.xvs(&format!("service add tcp {VIP}:{port} --scheduler {scheduler}")).succeeds();
    let servers = lab.reals.iter().zip(weights).map(|(real, weight)| {
        lab.director.add_real("tcp", port, real.rip, method.real_port(), method, weight);
        Server::greeter(real, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, method.real_port()))
    });
    servers.collect()
}
