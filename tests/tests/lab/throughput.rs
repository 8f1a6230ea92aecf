// SPDX-License-Identifier: MIT OR Apache-2.0
//! iperf3.

use std::process::Command;

use lb_tests::lab::{Method, Stage, VIP};

const SECONDS: u32 = 10;
const STREAMS: usize = 4;

/// iperf3 wants its control connection and its streams at the
/// same server, so the services have one real each.
#[test]
fn iperf3_runs_ten_seconds_without_a_broken_connection() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let mut servers = Vec::new();
    for (method, real) in Method::ALL.into_iter().zip(lab.reals.iter().cycle()) {
        let (port, real_port) = (method.port(), method.real_port());
        lab.director.xvs(&format!("service add tcp {VIP}:{port}")).succeeds();
        lab.director.add_real("tcp", port, real.rip, real_port, method, 100);
        let mut command = Command::new("iperf3");
        let mut server = real.start("iperf3", command.args(["--server", "--port", &real_port.to_string()]));
        server.is_ready_when(|| {
            // iperf3 would take a connection of the test for its client.
            let listening = real.sh(&format!("ss -Htln sport = :{real_port}")).succeeds().stdout;
            if listening.is_empty() { Err("it does not listen yet".to_owned()) } else { Ok(()) }
        });
        servers.push(server);
    }

    // One after another: together they would compete for the director's queue, and acknowledgements
    // of nat, which pass it too, would be lost.
    for method in Method::ALL {
        let port = method.port();
        let line =
            format!("iperf3 --json --client {VIP} --port {port} --time {SECONDS} --parallel {STREAMS}");
        let report = lab.client.sh(&line).succeeds().json();
        let streams = report["end"]["streams"].as_array().expect("a report on the streams");
        assert_eq!(streams.len(), STREAMS, "{method:?}: {report}");
        for stream in streams {
            let received = stream["receiver"]["bytes"].as_u64().unwrap_or(0);
            assert!(received > 1_000_000, "{method:?}: a stream got {received} bytes through");
        }
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0);
        println!("{}: {:.0} Mbit/s", method.as_str(), rate / 1e6);
    }
}
