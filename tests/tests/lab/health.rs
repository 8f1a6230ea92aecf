// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health checks: a real that fails leaves the rotation by every method, and returns.

use std::{
    fs,
    time::{Duration, Instant},
};

use lb_tests::lab::{Client, Lab, Method, Process, VIP, VIP6, Way, eventually};
use serde_json::Value;

/// Timing of the checks: a failure is found within fall × interval + timeout.
const TIMING: &str = "--interval 200ms --timeout 150ms --fall 2 --rise 1";
/// Longest time until a failure is found, with the time of the command that shows it.
const FOUND: Duration = Duration::from_millis(2 * 200 + 150 + 400);

/// Reals that are ready for every method and version, nginx on each, the daemon, and a service for each way.
struct Scene {
    lab: Lab,
    nginx: [Process; 3],
    _daemon: Process,
}

impl Scene {
    fn new(options: &str) -> Self {
        let lab = Lab::new();
        for real in &lab.reals {
            real.xvs_host(&format!("setup --vip {VIP} --vip {VIP6} --forward tun --interface eth0"))
                .succeeds();
        }
        let nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
        let daemon = lab.director.start_daemon_with(options);
        for way in Way::all() {
            way.serve(&lab.director, "tcp", "mh");
        }
        lab.director.wait_for_next_hops();
        Self { lab, nginx, _daemon: daemon }
    }

    /// Adds a check and applies it to every service; the reals are up by it.
    fn check(&self, definition: &str) {
        let director = &self.lab.director;
        director.xvs(&format!("check add web {definition} {TIMING}")).succeeds();
        for way in Way::all() {
            let service = way.service();
            director.xvs(&format!("service edit tcp {service} --check web --hold-down 0s")).succeeds();
        }
        for way in Way::all() {
            self.becomes(way, ["up", "up", "up"]);
        }
    }

    /// Returns the reals of a way, in order.
    fn reals(&self, way: Way) -> Vec<Value> {
        let stats = self.lab.director.xvs("--output json stats").succeeds().json();
        let services = stats["services"].as_array().expect("a list");
        let is_it = |service: &&Value| service["address"] == way.service().to_string();
        let service = services.iter().find(is_it).expect("the service");
        service["reals"].as_array().expect("a list").clone()
    }

    /// Waits until the reals of a way have these states.
    #[track_caller]
    fn becomes(&self, way: Way, expected: [&str; 3]) -> Vec<Value> {
        eventually(&format!("{} is {expected:?}", way.name()), || {
            let reals = self.reals(way);
            let states: Vec<&str> =
                reals.iter().map(|real| real["health"]["health"].as_str().unwrap_or("none")).collect();
            if states == expected { Ok(reals) } else { Err(format!("{states:?}: {reals:#?}")) }
        })
    }

    /// Checks that no request of clients goes to the first real, and none fails.
    #[track_caller]
    fn avoids_first(&self, way: Way) {
        let spread = requests(&self.lab.client, way, 30);
        assert!(!spread.contains(&"real1".to_owned()), "{}: {spread:?}", way.name());
    }

    /// Checks that a fault makes the first real fail with this result in these ways, and in no others.
    #[track_caller]
    fn fails(&self, ways: impl Fn(Way) -> bool, result: &[&str]) {
        let began = Instant::now();
        for way in Way::all() {
            if !ways(way) {
                continue;
            }
            let reals = self.becomes(way, ["down", "up", "up"]);
            let last = &reals[0]["health"]["last"];
            let code = last["code"].as_str().unwrap_or_default();
            assert!(result.contains(&code), "{}: {last}", way.name());
            assert_eq!(reals[0]["effective_weight"], 0, "{}", way.name());
        }
        assert!(began.elapsed() < FOUND + Duration::from_secs(1), "it took {:?}", began.elapsed());
        for way in Way::all() {
            if ways(way) { self.avoids_first(way) } else { drop(self.becomes(way, ["up", "up", "up"])) }
        }
    }

    #[track_caller]
    fn recovers(&self) {
        for way in Way::all() {
            self.becomes(way, ["up", "up", "up"]);
        }
    }
}

/// Sends requests from a client, and returns the names of the reals that answered.
#[track_caller]
fn requests(client: &Client, way: Way, count: usize) -> Vec<String> {
    let line = format!(
        "for i in $(seq {count}); do curl --silent --show-error --fail --max-time 1 http://{}/; done",
        way.service()
    );
    let outcome = client.exec(["sh", "-ec", &line]).succeeds();
    outcome.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_real_whose_server_ends_leaves_by_every_way_and_returns() {
    let mut scene = Scene::new("");
    scene.check("http");
    scene.nginx[0].stop();
    scene.fails(|_| true, &["L4CON"]);
    scene.lab.director.xvs("real list").succeeds().says("L4CON").says("down");
    scene.nginx[0] = scene.lab.reals[0].start_nginx(&Method::real_ports());
    scene.recovers();
    let events = scene.lab.director.xvs("events").succeeds();
    let downs = events.stdout.lines().filter(|line| line.contains(r#""to":"down""#)).count();
    assert_eq!(downs, Way::all().count(), "{events}");
}

#[test]
fn a_server_that_hangs_is_down() {
    let scene = Scene::new("");
    scene.check("http");
    // The worker accepts connections, or the kernel does that for it.
    let signal = |name: &str| {
        scene.lab.reals[0].exec(["pkill", name, "--parent", &scene.nginx[0].id().to_string()]).succeeds();
    };
    signal("-STOP");
    scene.fails(|_| true, &["L7TOUT", "L4TOUT"]);
    signal("-CONT");
    scene.recovers();
}

#[test]
fn a_wrong_status_or_body_is_down() {
    let scene = Scene::new("");
    let page = |real: usize, text: &str| {
        let path = scene.lab.reals[real].path("www").join("upload");
        fs::create_dir_all(&path).expect("the lab's folder is writable");
        fs::write(path.join("health"), text).expect("the lab's folder is writable");
    };
    (0..3).for_each(|real| page(real, "all is well"));
    scene.check("http --path /upload/health --status 200 --body all.is.well");
    page(0, "out of order");
    scene.fails(|_| true, &["L7RSP"]);
    page(0, "all is well");
    scene.recovers();
    fs::remove_file(scene.lab.reals[0].path("www").join("upload/health")).expect("it is there");
    scene.fails(|_| true, &["L7STS"]);
}

#[test]
fn only_probes_by_path_find_a_missing_vip_and_a_tunnel_that_is_down() {
    let scene = Scene::new("");
    scene.check("http");
    let real = &scene.lab.reals[0];
    // A real that forwards packets for a VIP that it lacks must not appear healthy through another real.
    real.sysctl("ipv4/ip_forward", "1");
    real.sysctl("ipv6/conf/all/forwarding", "1");
    let is_direct = |way: Way| matches!(way.method, Method::Dr | Method::Tun);
    let device = real.sh(&format!("ip -oneline address show to {VIP}")).succeeds();
    let device = device.stdout.split_whitespace().nth(1).expect("the device of the VIP").to_owned();
    real.ip(&format!("address delete {VIP}/32 dev {device}"));
    real.ip(&format!("address delete {VIP6}/128 dev {device}"));
    scene.fails(is_direct, &["L4TOUT", "L4CON"]);
    scene.lab.director.xvs("check add near http --via direct").succeeds();
    let dr = Way { method: Method::Dr, six: false };
    let run = format!("check run near tcp {} {}", dr.service(), dr.reals()[0]);
    scene.lab.director.xvs(&run).succeeds().says("L7OK");
    scene.lab.director.xvs(&run.replace("near", "web")).fails(1).says("connect");
    real.ip(&format!("address add {VIP}/32 dev {device}"));
    real.ip(&format!("address add {VIP6}/128 dev {device} nodad"));
    scene.recovers();
}
