// SPDX-License-Identifier: MIT OR Apache-2.0
//! A service whose health tests watch, and its clients.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use lb_tests::{
    artifacts::is_full,
    lab::{Client, Director, Lab, Method, Process, VIP, VIP6, Way, eventually},
};
use serde_json::Value;

/// A way without translation.
pub const DR: Way = Way { method: Method::Dr, six: false };
/// A way with translation, and of the other version of IP.
pub const FNAT6: Way = Way { method: Method::Fnat, six: true };

/// Returns these ways; in a full run, all.
pub fn ways(few: &[Way]) -> Vec<Way> {
    if is_full() { Way::all().collect() } else { few.to_vec() }
}

/// A lab whose reals are ready for every method and version, and the daemon.
pub fn ready(lab: &Lab) -> Process {
    for real in &lab.reals {
        real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0")).succeeds();
    }
    lab.director.start_daemon()
}

/// A service with the three reals.
pub struct Pool<'a> {
    director: &'a Director,
    client: &'a Client,
    protocol: &'static str,
    way: Way,
}

impl<'a> Pool<'a> {
    /// Adds the service.
    #[track_caller]
    pub fn new(lab: &'a Lab, protocol: &'static str, way: Way) -> Self {
        way.serve(&lab.director, protocol, "mh");
        lab.director.wait_for_next_hops();
        Self::of(lab, protocol, way)
    }

    /// Returns the service, which has been added before.
    pub fn of(lab: &'a Lab, protocol: &'static str, way: Way) -> Self {
        Self { director: &lab.director, client: &lab.client, protocol, way }
    }

    /// Applies a check to the service.
    #[track_caller]
    pub fn use_check(&self, name: &str) {
        let service = self.way.service();
        let line = format!("service edit {} {service} --check {name} --hold-down 0s", self.protocol);
        self.director.xvs(&line).succeeds();
    }

    fn reals(&self) -> Vec<Value> {
        let stats = self.director.xvs("--output json stats").succeeds().json();
        let services = stats["services"].as_array().expect("a list");
        let is_it = |service: &&Value| {
            service["protocol"] == self.protocol && service["address"] == self.way.service().to_string()
        };
        let service = services.iter().find(is_it).expect("the service");
        service["reals"].as_array().expect("a list").clone()
    }

    /// Waits until all reals are up.
    #[track_caller]
    pub fn is_up(&self) -> Vec<Value> {
        eventually(&format!("all are up: {}", self.way.name()), || {
            let reals = self.reals();
            let up = reals.iter().all(|real| real["health"] == "up" && real["effective_weight"] != 0);
            if up { Ok(reals) } else { Err(format!("{reals:#?}")) }
        })
    }

    /// Waits until the first real, and no other, is down with this result, and gets no weight.
    /// `code` is the result or its beginning.
    #[track_caller]
    pub fn fails(&self, code: &str, text: &str) {
        eventually(&format!("the first is down by {code}, {text}: {}", self.way.name()), || {
            let reals = self.reals();
            let states: Vec<&str> = reals.iter().filter_map(|real| real["health"].as_str()).collect();
            let last = &reals[0]["last_result"];
            let has_code = last["code"].as_str().is_some_and(|found| found.starts_with(code));
            let has_text = last["text"].as_str().is_some_and(|found| found.contains(text));
            let is_it = states == ["down", "up", "up"] && has_code && has_text;
            if is_it && reals[0]["effective_weight"] == 0 { Ok(()) } else { Err(format!("{reals:#?}")) }
        });
        let found = findings(self.director);
        assert!(is_told_down(&found, self.way), "{}: {found:#?}", self.way.name());
    }

    /// Returns the names of the reals that answered requests of the client to `scheme://VIP:PORT/`.
    #[track_caller]
    pub fn requests(&self, scheme: &str) -> Vec<String> {
        // One program, and a new connection for each request.
        let url = format!("{scheme}://{}/?[1-30]", self.way.service());
        let curl = ["curl", "--silent", "--show-error", "--fail", "--insecure", "--max-time", "2"];
        let words = curl.into_iter().chain(["--header", "Connection: close", &url]);
        let outcome = self.client.exec(words).succeeds();
        outcome.stdout.lines().map(str::to_owned).collect()
    }

    /// Asks the service by UDP from 30 ports of the client, and returns the answers.
    #[track_caller]
    pub fn answers(&self, question: &[u8]) -> Vec<Vec<u8>> {
        let service = self.way.service();
        let any = if self.way.six { "[::]:0" } else { "0.0.0.0:0" };
        let ask = || {
            let socket = UdpSocket::bind(any).expect("a free port");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("it is not zero");
            socket.send_to(question, service).expect("there is a route");
            let mut answer = vec![0; 512];
            let length = socket.recv(&mut answer).unwrap_or_else(|error| panic!("{service}: {error}"));
            answer.truncate(length);
            answer
        };
        self.client.run(|| (0..30).map(|_| ask()).collect())
    }

    /// Returns the address at which a server of a real must listen.
    pub fn listens(&self, real: usize) -> SocketAddr {
        if self.way.method.replies_directly() { self.way.service() } else { self.way.reals()[real] }
    }
}

/// Returns the findings of the doctor.
#[track_caller]
pub fn findings(director: &Director) -> Vec<Value> {
    director.xvs("--output json doctor").json().as_array().expect("a list").clone()
}

/// Returns whether a finding about the first real of a way includes the verdict of its checks, and no finding says so
/// of another real.
pub fn is_told_down(findings: &[Value], way: Way) -> bool {
    let service = way.service().to_string();
    let verdict = |one: &&Value| {
        one["cause"].as_str().is_some_and(|cause| cause.contains("it has been down by its check"))
            && one["service"].as_str().is_some_and(|name| name.ends_with(&service))
    };
    let mut reals =
        findings.iter().filter(verdict).map(|one| one["real"].as_str().unwrap_or_default()).peekable();
    let first = way.reals()[0].to_string();
    reals.peek().is_some() && reals.all(|real| real == first)
}
