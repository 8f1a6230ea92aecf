// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GET /v1/live`: snapshots and changes of rates and states.

use std::process::Command;

use lb_tests::lab::{Director, Method, Process, Stage, eventually};
use serde_json::Value;

/// Number of streams that the daemon allows.
const STREAMS: usize = 32;
const REQUESTS: u32 = 300;

/// Starts a reader of the stream, which writes it to its log.
fn read(director: &Director) -> Process {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--no-buffer", "--unix-socket"]).arg(director.socket()).arg("http://xvs/v1/live");
    director.start("live", &mut curl)
}

/// Returns the complete events so far: name and data.
fn events(reader: &Process) -> Vec<(String, Value)> {
    let log = reader.log();
    let complete = log.rsplit_once("\n\n").map_or("", |(complete, _)| complete);
    let event = |text: &str| {
        let line = |name| text.lines().find_map(|line: &str| line.strip_prefix(name));
        let data = line("data: ").expect("each event has data");
        let name = line("event: ").expect("each event has a name");
        (name.to_owned(), serde_json::from_str(data).expect("the data is JSON"))
    };
    complete.split("\n\n").filter(|text| !text.is_empty()).map(event).collect()
}

/// Returns the connections that the events report: rates times intervals.
fn connections(events: &[(String, Value)]) -> f64 {
    let mut sum = 0.0;
    let mut rate = 0.0;
    for pair in events.windows(2) {
        let [(_, before), (_, now)] = pair else { unreachable!("windows of two") };
        let time = |event: &Value| event["time_ms"].as_f64().expect("a number");
        let service = &now["services"][0];
        // A change without the load of the service means the same load.
        if let Some(seen) = service["load"]["connections"].as_f64() {
            rate = seen;
        }
        sum += rate * (time(now) - time(before)) / 1000.0;
    }
    sum
}

#[test]
fn the_stream_has_rates_and_changes_of_state() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    let (director, service) = (&stage.lab.director, Method::Nat.service());
    let port = Method::Nat.real_port();
    director.serve("tcp", Method::Nat.port(), "rr", Method::Nat, Method::Nat.real_port());
    let reader = read(director);
    let first = eventually("a snapshot", || events(&reader).into_iter().next().ok_or_else(|| reader.log()));
    assert_eq!(first.0, "snapshot");
    assert_eq!(first.1["services"][0]["name"], format!("tcp {service}"));
    assert_eq!(first.1["services"][0]["reals"][2]["state"]["word"], "up");

    // Rates: what was sent is what the rates add up to.
    stage.lab.client.requests(service, REQUESTS as usize).is_complete(REQUESTS as usize);
    eventually("the rates add up", || {
        let sum = connections(&events(&reader));
        let share = sum / f64::from(REQUESTS);
        if (0.9..1.1).contains(&share) { Ok(()) } else { Err(format!("{sum} of {REQUESTS} connections")) }
    });

    // A change of state is a change of this real alone.
    director.xvs(&format!("real disable tcp {service} 10.0.0.12:{port}")).succeeds();
    eventually("the real is disabled", || {
        let events = events(&reader);
        let found = events.iter().find(|(name, data)| {
            let reals = data["services"][0]["reals"].as_array().map_or(&[][..], Vec::as_slice);
            name == "change" && reals.iter().any(|r| r["index"] == 1 && r["state"]["word"] == "disabled")
        });
        if found.is_some() { Ok(()) } else { Err(format!("{:?}", events.last())) }
    });

    // Another set of reals is a new snapshot.
    director.xvs(&format!("real remove tcp {service} 10.0.0.13:{port}")).succeeds();
    eventually("a new snapshot", || {
        let events = events(&reader);
        let is_new = |(name, data): &&(String, Value)| {
            name == "snapshot"
                && data["services"][0]["reals"].as_array().is_some_and(|reals| reals.len() == 2)
        };
        if events.iter().any(|event| is_new(&event)) { Ok(()) } else { Err(format!("{:?}", events.last())) }
    });

    // One stream is open; of many more, the daemon serves so many that there are STREAMS.
    let line = format!(
        "for i in $(seq 40); do curl -sNo /dev/null -m 2 -w '%{{http_code}}\\n' --unix-socket {} \
         http://xvs/v1/live & done; wait",
        director.socket().display()
    );
    let codes = director.exec(["sh", "-c", &line]).succeeds().stdout;
    let of = |code: &str| codes.lines().filter(|line| *line == code).count();
    assert_eq!((of("200"), of("503")), (STREAMS - 1, 40 - (STREAMS - 1)), "{codes}");
}
