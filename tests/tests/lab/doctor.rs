// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: each fault is planted by itself, reported with the right real, and repaired by the printed
//! fix.

use lb_tests::lab::{Lab, Method, Process, RIPS, Stage, VIP, eventually};
use serde_json::Value;

/// Returns the findings of the doctor, as `check real`, without the real if a finding names none. The finding
/// that a service has no reals is left out: many tests need none, and `first_hour` tests it.
pub fn diagnose(lab: &Lab) -> (Vec<String>, Value) {
    diagnose_with(lab, |check| check != "no-real")
}

/// Returns the findings of the checks that are `wanted`.
fn diagnose_with(lab: &Lab, wanted: impl Fn(&str) -> bool) -> (Vec<String>, Value) {
    let mut found = lab.director.xvs("--output json doctor").json();
    found.as_array_mut().expect("a list").retain(|one| wanted(one["check"].as_str().expect("a name")));
    let names = found.as_array().expect("a list").iter().map(|one| {
        let real = one["real"].as_str().unwrap_or_default();
        format!("{} {real}", one["check"].as_str().expect("a name")).trim().to_owned()
    });
    (names.collect(), found)
}

#[track_caller]
pub fn is_healthy(lab: &Lab) {
    finds(lab, &[]);
    // Services without reals are the only finding.
    let outcome = lab.director.xvs("doctor");
    if lab.director.xvs("--output json doctor").json() == serde_json::json!([]) {
        outcome.succeeds().says("nothing is wrong");
    } else {
        outcome.fails(1).does_not_say("nothing is wrong");
    }
}

/// Asserts that the doctor finds exactly `expected`, and that the printed fixes repair everything on the
/// named machines.
#[track_caller]
pub fn finds_and_mends(lab: &Lab, expected: &[&str]) {
    let found = finds(lab, expected);
    lab.director.xvs("doctor").fails(1);
    for finding in found.as_array().expect("a list") {
        mends(lab, finding);
    }
    is_healthy(lab);
}

/// Runs the fix of a finding as printed, on the named machine.
#[track_caller]
pub fn mends(lab: &Lab, finding: &Value) {
    let text = |name: &str| finding[name].as_str().expect("a text").to_owned();
    let outcome = lab.run_as_printed(&text("place"), &text("fix")).succeeds();
    eprintln!("{}: on {}: {outcome}", text("check"), text("place"));
}

/// Waits until exactly these are found: changes of the network take effect after a moment.
#[track_caller]
pub fn finds(lab: &Lab, expected: &[&str]) -> Value {
    eventually(&format!("doctor finds {expected:?}"), || {
        let (names, found) = diagnose_with(lab, |check| check != "no-real" || expected.contains(&check));
        if names == expected { Ok(found) } else { Err(format!("{found:#}")) }
    })
}

/// Services of every method, without a fault.
pub fn healthy() -> (Stage, Vec<Process>) {
    let stage = Stage::new();
    let nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    is_healthy(&stage.lab);
    (stage, nginx)
}

#[test]
fn a_real_that_answers_arp_for_the_vip_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let real = &stage.lab.reals[1];
    for device in ["all", "lo", "eth0"] {
        real.sysctl(&format!("ipv4/conf/{device}/arp_ignore"), "0");
    }
    finds_and_mends(&stage.lab, &[&format!("arp-leak {}:8001", RIPS[1])]);
}

#[test]
fn a_real_without_the_vip_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80]));
    for real in &lab.reals {
        real.set_up(Method::Dr);
    }
    lab.director.serve("tcp", 80, "mh", Method::Dr, 80);
    is_healthy(&lab);
    // A probe adds no flow table entry and counts no packet.
    assert_eq!(lab.director.stats().service("tcp", 80).count.packets_in, 0);

    lab.reals[2].ip(&format!("address delete {VIP}/32 dev lo"));
    finds_and_mends(&lab, &[&format!("dr-blackhole {}:80", RIPS[2])]);
}

#[test]
fn a_real_that_does_not_unwrap_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80]));
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    lab.director.serve("tcp", 80, "mh", Method::Tun, 80);
    is_healthy(&lab);

    // Set up for dr, the real has the VIP, does not answer ARP for it, and decapsulates nothing.
    lab.reals[0].host_restore().succeeds();
    lab.reals[0].set_up(Method::Dr);
    let (names, found) = diagnose(&lab);
    assert_eq!(names.len(), 1, "{found:#}");
    assert!(names[0].starts_with("tun-") && names[0].ends_with(&format!("{}:80", RIPS[0])), "{found:#}");
    finds_and_mends(&lab, &[&names[0]]);
}

#[test]
fn a_tunnel_over_a_narrow_link_is_found_and_mended() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[80]));
    for real in &lab.reals {
        real.set_up(Method::Tun);
    }
    lab.director.serve("tcp", 80, "mh", Method::Tun, 80);
    is_healthy(&lab);

    lab.reals[1].ip("link set eth0 mtu 1400");
    finds_and_mends(&lab, &[&format!("tunnel-mtu {}:80", RIPS[1])]);
}

#[test]
fn a_nat_real_whose_replies_go_elsewhere_is_found_and_mended() {
    let (stage, _nginx) = healthy();
    let lab = &stage.lab;
    // A router that is not the director, and has no route.
    lab.reals[0].ip("route replace default via 10.0.0.12");
    finds_and_mends(lab, &[&format!("nat-replies {}:9003", RIPS[0])]);
}

#[test]
fn a_service_that_does_not_run_and_a_real_that_is_gone_are_taken_out() {
    let (stage, mut nginx) = healthy();
    let lab = &stage.lab;
    drop(nginx.remove(2));
    let rip = RIPS[2];
    let all = |check: &str| [8001, 8002, 9003, 9004].map(|port| format!("{check} {rip}:{port}"));
    finds_and_mends(lab, &all("not-listening").each_ref().map(String::as_str));

    // The fix sets the weight to 0, and the real is no finding; then the server runs, and the real takes
    // connections again.
    nginx.push(lab.reals[2].start_nginx(&Method::real_ports()));
    for method in Method::ALL {
        let line = format!("real edit tcp {} {rip}:{} --weight 100", method.service(), method.real_port());
        lab.director.xvs(&line).succeeds();
    }
    is_healthy(lab);

    lab.reals[2].ip("link set eth0 down");
    lab.director.ip("neighbour flush dev eth0");
    finds_and_mends(lab, &all("next-hop").each_ref().map(String::as_str));
}

#[test]
fn faults_of_the_director_itself_are_found_and_mended() {
    let stage = Stage::with_daemon_options("--no-manage-vips");
    let lab = &stage.lab;
    let _nginx = stage.start_web_servers();
    lab.director.ip(&format!("address add {VIP}/32 dev eth0"));
    stage.serve_all_methods("tcp", "mh");
    is_healthy(lab);

    lab.director.ip(&format!("address delete {VIP}/32 dev eth0"));
    finds_and_mends(lab, &["vip-missing"]);

    lab.director.ip(&format!("address add {VIP}/32 dev lo"));
    finds_and_mends(lab, &["vip-twice"]);

    lab.director.feed(
        &["nft", "-f", "-"],
                &format!("table inet filter {{\n chain input {{\n type filter hook input priority 0\n ip daddr {VIP} drop\n }}\n}}"),
    );
    finds_and_mends(lab, &["firewall"]);
}
