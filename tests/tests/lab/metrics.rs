// SPDX-License-Identifier: MIT OR Apache-2.0
//! promtool and Prometheus.

use lb_tests::lab::{Method, Prometheus, Stage, eventually};

const REQUESTS: usize = 40;

#[test]
fn promtool_accepts_the_page() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    stage.lab.client.requests(Method::Nat.service(), 10).is_complete(10);

    let page = stage.lab.director.metrics();

    // It also complains, with code 3, about names that are against the conventions.
    stage.lab.director.feed(&["promtool", "check", "metrics"], &format!("{page}\n"));
    assert!(page.contains("xvs_build_info"), "{page}");
}

#[test]
fn prometheus_scrapes_what_the_lab_sent() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    let lab = &stage.lab;
    let prometheus = Prometheus::start(&lab.director);

    let before = lab.crossing();
    for method in Method::ALL {
        lab.client.requests(method.service(), REQUESTS).is_complete(REQUESTS);
    }
    let sent = lab.crossing() - before;

    let forwarded = sent.client_to_director.packets + sent.director_to_client.packets;
    let dr = Method::Dr.service();
    for (expression, expected) in [
        ("xvs_service_packets_in_total", sent.client_to_director.packets),
        ("xvs_service_bytes_in_total", sent.client_to_director.bytes),
        ("xvs_service_packets_out_total", sent.director_to_client.packets),
        ("xvs_service_bytes_out_total", sent.director_to_client.bytes),
        ("xvs_real_packets_in_total", sent.director_to_reals.packets),
        ("xvs_service_new_flows_total", (Method::ALL.len() * REQUESTS) as u64),
        (&format!("xvs_service_new_flows_total{{service=\"{dr}\"}}"), REQUESTS as u64),
        ("xvs_packets_total{reason=\"forwarded\"}", forwarded),
    ] {
        eventually("Prometheus has it", || match prometheus.sum(expression) {
            Some(sum) if sum == expected => Ok(()),
            sum => Err(format!("{expression} = {sum:?}, and the lab sent {expected}")),
        });
    }
}

#[test]
fn sums_over_all_services_never_go_back() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    for method in Method::ALL {
        stage.lab.client.requests(method.service(), 10).is_complete(10);
    }
    let director = &stage.lab.director;
    let before = director.stats().reason("forwarded");

    for method in Method::ALL {
        director.xvs(&format!("service remove tcp {}", method.service())).succeeds();
    }

    let after = director.stats().reason("forwarded");
    assert!(before > 0 && after >= before, "{before} packets, then {after}");
}
