// SPDX-License-Identifier: MIT OR Apache-2.0
//! Passive signs: what clients meet at a `nat` or `fnat` real brings its next check forward.

use std::{thread, time::Duration};

use lb_tests::lab::{Client, Lab, Method, Way, eventually};
use serde_json::Value;

use crate::health_pool::{FNAT6, Pool, ready, ways};

/// Checks of reals that are up are so rare that only a sign explains a real that goes down within seconds.
const RARE: &str = "--interval 30s --down-interval 1s --timeout 1s --rise 1";
const NAT: Way = Way { method: Method::Nat, six: false };
const NAT6: Way = Way { method: Method::Nat, six: true };
const FNAT: Way = Way { method: Method::Fnat, six: false };

/// Sends requests, whatever their results.
fn knock(client: &Client, way: Way) {
    let line = format!(
        "for i in $(seq 12); do curl --silent --output /dev/null --max-time 1 http://{}/; done; true",
        way.service()
    );
    client.exec(["sh", "-c", &line]).succeeds();
}

/// Returns the states of the reals of a way, in their order.
fn states(lab: &Lab, way: Way) -> Vec<String> {
    let stats = lab.director.xvs("--output json stats").succeeds().json();
    let services = stats["services"].as_array().expect("a list");
    let is_it = |service: &&Value| service["address"] == way.service().to_string();
    let service = services.iter().find(is_it).expect("the service");
    let reals = service["reals"].as_array().expect("a list");
    reals.iter().map(|real| real["health"].as_str().unwrap_or("none").to_owned()).collect()
}

/// Lets clients find that the first real does not serve, and waits until it is out of rotation.
#[track_caller]
fn goes_down_by_clients(lab: &Lab, ways: &[Way]) {
    thread::sleep(Duration::from_secs(2));
    for way in ways {
        assert_eq!(states(lab, *way), ["up", "up", "up"], "{}: without clients, no check is due", way.name());
    }
    for way in ways {
        // `eventually` waits for less than the interval.
        eventually(&format!("{}: the first real is down", way.name()), || {
            knock(&lab.client, *way);
            let states = states(lab, *way);
            if states == ["down", "up", "up"] { Ok(()) } else { Err(format!("{states:?}")) }
        });
    }
}

#[test]
fn a_refused_client_brings_the_next_check_forward() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let mut nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    lab.director.xvs(&format!("check add web http {RARE}")).succeeds();
    let translated = [NAT, FNAT, NAT6, FNAT6];
    let pools = translated.map(|way| {
        way.serve(&lab.director, "tcp", if way.six { "rr" } else { "mh" });
        Pool::of(&lab, "tcp", way)
    });
    lab.director.wait_for_next_hops();
    for pool in &pools {
        pool.use_check("web");
    }
    for pool in &pools {
        pool.is_up();
    }
    nginx[0].stop();
    goes_down_by_clients(&lab, &translated);
    for pool in &pools {
        pool.fails("L4CON", "refused");
        pool.requests("http");
    }
}

/// Firewalls and routers answer for a real with ICMP errors.
#[test]
fn an_icmp_error_brings_the_next_check_forward() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    lab.director.xvs(&format!("check add web http {RARE}")).succeeds();
    let ways = ways(&[NAT, FNAT6]);
    let ways: Vec<Way> = ways.into_iter().filter(|way| !way.method.replies_directly()).collect();
    let pools: Vec<Pool> = ways.iter().map(|way| Pool::new(&lab, "tcp", *way)).collect();
    for pool in &pools {
        pool.use_check("web");
        pool.is_up();
    }
    let rule = "add table inet lab; add chain inet lab in { type filter hook input priority 0; }; \
                add rule inet lab in tcp dport 8000-9999 reject with icmpx admin-prohibited";
    lab.reals[0].sh(&format!("nft {rule}")).succeeds();
    goes_down_by_clients(&lab, &ways);
    for pool in &pools {
        // The kernel limits the rate of its errors: a probe may get none, and ends with L4TOUT.
        pool.fails("L4", "");
    }
}
