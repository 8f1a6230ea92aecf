// SPDX-License-Identifier: MIT OR Apache-2.0
//! promtool and Prometheus.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use lb_tests::lab::{Director, Method, Prometheus, RIPS, Stage, eventually};

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

/// Returns the value of a sample of the page, by its name and labels.
fn sample(director: &Director, name: &str) -> Option<f64> {
    director.metrics().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Waits until a sample has a value: the page is made at most once per second.
fn shows(director: &Director, name: &str, value: f64) {
    eventually(name, || match sample(director, name) {
        Some(found) if (found - value).abs() < 0.5 => Ok(()),
        found => Err(format!("{found:?} instead of {value}")),
    });
}

#[test]
fn an_operator_can_alert_on_reals_services_and_the_daemon() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    let director = &stage.lab.director;
    let service = Method::Dr.service();
    let labels = format!("protocol=\"tcp\",service=\"{service}\"");
    let real = format!("{labels},real=\"{}:{}\"", RIPS[0], Method::Dr.real_port());

    shows(director, &format!("xvs_real_reachable{{{real}}}"), 1.0);
    shows(director, &format!("xvs_real_info{{{real},forward=\"dr\"}}"), 1.0);
    shows(director, &format!("xvs_service_reals_available{{{labels}}}"), 3.0);
    let started = sample(director, "xvs_start_time_seconds").expect("it is there");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!((0.0..60.0).contains(&(now - started)), "{started} is not a moment before {now}");

    for rip in RIPS {
        director.xvs(&format!("real edit tcp {service} {rip} --weight 0")).succeeds();
    }
    shows(director, &format!("xvs_service_reals_available{{{labels}}}"), 0.0);
    shows(director, &format!("xvs_real_reachable{{{real}}}"), 1.0);
    let refused = stage.lab.client.sh(&format!("curl --silent --max-time 2 http://{service}/"));
    assert!(!refused.is_success(), "{refused}");
    let no_real = format!("xvs_service_reason_packets_total{{{labels},reason=\"no_real\"}}");
    eventually("the reason is counted for the service", || match sample(director, &no_real) {
        Some(packets) if packets >= 1.0 => Ok(()),
        found => Err(format!("{found:?} packets")),
    });

    shows(director, "xvs_interface_repairs_total", 0.0);
    for link in fs::read_dir(director.bpffs().join("links")).expect("the daemon pins") {
        fs::remove_file(link.expect("it can be read").path()).expect("root may");
    }
    shows(director, "xvs_interface_repairs_total", 1.0);
}
