// SPDX-License-Identifier: MIT OR Apache-2.0
//! promtool and Prometheus.

use lb_tests::lab::{Method, Prometheus, Stage, VIP, eventually};

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

    for (what, expression, expected) in [
        (
            "packets in",
            r#"xvs_service_packets_total{direction="in"}"#.to_owned(),
            sent.client_to_director.packets,
        ),
        (
            "packets out",
            r#"xvs_service_packets_total{direction="out"}"#.to_owned(),
            sent.director_to_client.packets,
        ),
        (
            "packets to reals",
            r#"xvs_real_packets_total{direction="in"}"#.to_owned(),
            sent.director_to_reals.packets,
        ),
        ("new flows", "xvs_service_flows_total".to_owned(), 3 * REQUESTS as u64),
        (
            "new flows by dr",
            format!(r#"xvs_service_flows_total{{address="{VIP}:{}"}}"#, Method::Dr.port()),
            REQUESTS as u64,
        ),
    ] {
        eventually(what, || match prometheus.sum(&expression) {
            Some(sum) if sum == expected => Ok(()),
            sum => Err(format!("{expression} = {sum:?}, and the lab sent {expected}")),
        });
    }
}
