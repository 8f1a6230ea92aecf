// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health checks: a real that fails leaves the rotation by every method, and returns.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use lb_tests::{
    artifacts::is_full,
    lab::{Client, Lab, Method, Process, VIP, VIP6, Way, eventually},
};
use serde_json::Value;

use crate::health_pool::{findings, is_told_down};

/// Timing of the checks: a failure is found within fall × interval + timeout.
const TIMING: &str = "--interval 200ms --timeout 150ms --fall 2 --rise 1";
/// Longest time until a failure is found, with a second for a busy machine.
const FOUND: Duration = Duration::from_millis(2 * 200 + 150 + 1000);

/// Reals that are ready for every method and version, nginx on each, the daemon, and a service for each way.
pub struct Scene {
    pub lab: Lab,
    pub nginx: [Process; 3],
    daemon: Process,
}

impl Scene {
    pub fn new(options: &str) -> Self {
        Self::within(Lab::new(), options)
    }

    pub fn within(lab: Lab, options: &str) -> Self {
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
        Self { lab, nginx, daemon }
    }

    /// Adds a check and applies it to every service; the reals are up by it.
    pub fn check(&self, definition: &str) {
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
    pub fn reals(&self, way: Way) -> Vec<Value> {
        let stats = self.lab.director.xvs("--output json stats").succeeds().json();
        let services = stats["services"].as_array().expect("a list");
        let is_it = |service: &&Value| service["address"] == way.service().to_string();
        let service = services.iter().find(is_it).expect("the service");
        service["reals"].as_array().expect("a list").clone()
    }

    /// Waits until the reals of a way have these states.
    #[track_caller]
    pub fn becomes(&self, way: Way, expected: [&str; 3]) -> Vec<Value> {
        eventually(&format!("{} is {expected:?}", way.name()), || {
            let reals = self.reals(way);
            let states: Vec<&str> =
                reals.iter().map(|real| real["health"].as_str().unwrap_or("none")).collect();
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
    pub fn fails(&self, ways: impl Fn(Way) -> bool, result: &[&str]) {
        let began = now_ms();
        for way in Way::all() {
            if !ways(way) {
                continue;
            }
            let reals = self.becomes(way, ["down", "up", "up"]);
            let last = &reals[0]["last_result"];
            let code = last["code"].as_str().unwrap_or_default();
            assert!(result.contains(&code), "{}: {last}", way.name());
            assert_eq!(reals[0]["effective_weight"], 0, "{}", way.name());
        }
        // By the daemon's own time of each change: the commands of this test take longer on a busy machine.
        for event in self.lab.director.xvs("events").succeeds().stdout.lines() {
            let event: Value = serde_json::from_str(event).expect("a JSON object a line");
            let at = event["time_ms"].as_u64().expect("a number");
            if at >= began && event["to"] == "down" {
                assert!(at - began < FOUND.as_millis() as u64, "after {} ms: {event}", at - began);
            }
        }
        for way in Way::all() {
            if ways(way) { self.avoids_first(way) } else { drop(self.becomes(way, ["up", "up", "up"])) }
        }
        let found = findings(&self.lab.director);
        for way in Way::all() {
            assert_eq!(is_told_down(&found, way), ways(way), "{}: {found:#?}", way.name());
        }
    }

    #[track_caller]
    pub fn recovers(&self) {
        for way in Way::all() {
            self.becomes(way, ["up", "up", "up"]);
        }
    }
}

/// Returns the time in milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    now.as_millis() as u64
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
    // A busy machine may add a time-out, which is an event of its own.
    let is_of_the_end = |line: &&str| line.contains(r#""to":"down""#) && line.contains("L4CON");
    let downs = events.stdout.lines().filter(is_of_the_end).count();
    assert_eq!(downs, Way::all().count(), "{events}");
}

#[test]
fn a_server_that_hangs_is_down() {
    let scene = Scene::new("");
    scene.check("http");
    hangs(&scene);
}

/// Stops the server of the first real for a while.
pub fn hangs(scene: &Scene) {
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
    answers_wrongly(&Scene::new(""));
}

/// Lets the first real answer with a wrong body, then with a wrong status. Adds the check.
pub fn answers_wrongly(scene: &Scene) {
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
    loses_vip(&scene);
    loses_tunnels(&scene);
}

/// Loses the tunnels to the first real for a while.
pub fn loses_tunnels(scene: &Scene) {
    let rule = "add table bridge lab; add chain bridge lab pass { type filter hook forward priority 0; }; \
                add rule bridge lab pass oifname real1 ip protocol 4 drop; \
                add rule bridge lab pass oifname real1 ip6 nexthdr 41 drop";
    scene.lab.switch.sh(&format!("nft {rule}")).succeeds();
    scene.fails(|way| way.method == Method::Tun, &["L4TOUT", "L4CON"]);
    scene.lab.switch.sh("nft delete table bridge lab").succeeds();
    scene.recovers();
}

/// Takes the VIPs from the first real for a while, which forwards packets.
pub fn loses_vip(scene: &Scene) {
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

/// One dr service with the three reals, whose pages a test changes; checks by path find them up.
fn small_scene(options: &str) -> Scene {
    let scene = Scene::new("");
    page(&scene, 0..3, "well");
    let director = &scene.lab.director;
    director.xvs(&format!("check add web http --path /upload/health --body well {TIMING}")).succeeds();
    director.xvs(&format!("service edit tcp {} --check web {options}", DR.service())).succeeds();
    scene.becomes(DR, ["up", "up", "up"]);
    scene
}

/// The service of the tests of one service.
const DR: Way = Way { method: Method::Dr, six: false };

/// Writes the page that the check reads on these reals.
fn page(scene: &Scene, reals: std::ops::Range<usize>, text: &str) {
    for real in &scene.lab.reals[reals] {
        let folder = real.path("www").join("upload");
        fs::create_dir_all(&folder).expect("the lab's folder is writable");
        fs::write(folder.join("health"), text).expect("the lab's folder is writable");
    }
}

/// Waits until the pool of the service is in that state.
#[track_caller]
fn pool_becomes(scene: &Scene, mode: &str) {
    eventually(&format!("the pool is {mode}"), || {
        let stats = scene.lab.director.xvs("--output json stats").succeeds().json();
        let services = stats["services"].as_array().expect("a list").clone();
        let service = services.iter().find(|service| service["address"] == DR.service().to_string());
        let health = service.expect("the service")["health"].clone();
        if health["mode"] == mode { Ok(()) } else { Err(health.to_string()) }
    });
}

#[test]
fn a_pool_that_is_all_down_follows_its_policy() {
    let scene = small_scene("--hold-down 0s --on-all-down reject");
    // Exit code 7 of curl: refused; 28: no answer in time.
    let request = || {
        let line = format!("curl --silent --max-time 1 http://{}/ || echo $?", DR.service());
        scene.lab.client.exec(["sh", "-c", &line]).stdout.trim().to_owned()
    };
    page(&scene, 0..3, "sick");
    pool_becomes(&scene, "all-down");
    // Port unreachable ends an attempt to connect at once; without it, the client waits.
    assert_eq!(request(), "7");
    scene.lab.director.xvs(&format!("service edit tcp {} --on-all-down drop", DR.service())).succeeds();
    assert_eq!(request(), "28");
    scene.lab.director.xvs(&format!("service edit tcp {} --on-all-down all", DR.service())).succeeds();
    pool_becomes(&scene, "ignored");
    assert_eq!(requests(&scene.lab.client, DR, 10).len(), 10);
    page(&scene, 0..1, "well");
    pool_becomes(&scene, "normal");
    assert_eq!(requests(&scene.lab.client, DR, 10), vec!["real1"; 10]);
}

#[test]
fn a_backup_real_serves_only_without_others_and_a_minimum_ignores_health() {
    let scene = small_scene("--hold-down 0s");
    let (service, reals) = (DR.service(), DR.reals());
    scene.lab.director.xvs(&format!("real edit tcp {service} {} --backup", reals[2])).succeeds();
    let spread = requests(&scene.lab.client, DR, 30);
    assert!(!spread.contains(&"real3".to_owned()), "{spread:?}");
    page(&scene, 0..2, "sick");
    pool_becomes(&scene, "backup");
    assert_eq!(requests(&scene.lab.client, DR, 10), vec!["real3"; 10]);
    page(&scene, 0..1, "well");
    pool_becomes(&scene, "normal");
    assert_eq!(requests(&scene.lab.client, DR, 10), vec!["real1"; 10]);
    scene.lab.director.xvs(&format!("service edit tcp {service} --min-healthy 100%")).succeeds();
    pool_becomes(&scene, "with-backup");
    scene.lab.director.xvs(&format!("real edit tcp {service} {} --backup=false", reals[2])).succeeds();
    pool_becomes(&scene, "ignored");
    let spread = requests(&scene.lab.client, DR, 60);
    assert!(
        ["real1", "real2", "real3"].iter().all(|real| spread.contains(&(*real).to_owned())),
        "{spread:?}"
    );
}

#[test]
fn a_real_that_flaps_is_held_down_longer_each_time() {
    let scene = small_scene("--hold-down 1s");
    let mut waits = Vec::new();
    for _ in 0..3 {
        page(&scene, 0..1, "sick");
        scene.becomes(DR, ["down", "up", "up"]);
        let began = Instant::now();
        page(&scene, 0..1, "well");
        scene.becomes(DR, ["up", "up", "up"]);
        waits.push(began.elapsed().as_millis());
    }
    // 1, 2 and 4 s, less the time until the command shows the failure.
    assert!(waits[0] > 500 && waits[1] > 1500 && waits[2] > 3500, "{waits:?}");
    assert!(waits[2] < 6000, "{waits:?}");
}

#[test]
fn states_survive_the_daemon_and_a_new_real_waits_for_its_first_success() {
    let mut scene = small_scene("--hold-down 0s");
    page(&scene, 0..1, "sick");
    scene.becomes(DR, ["down", "up", "up"]);
    assert_eq!(scene.daemon.stop(), Some(0));
    scene.daemon = scene.lab.director.start_daemon();
    let reals = scene.reals(DR);
    assert_eq!(reals[0]["effective_weight"], 0, "{reals:#?}");
    assert_eq!((&reals[1]["effective_weight"], &reals[2]["effective_weight"]), (&1.into(), &1.into()));
    scene.avoids_first(DR);
    scene.becomes(DR, ["down", "up", "up"]);
    // The config file gives the check another name, and no event tells of a state that is as before.
    let config = scene.lab.director.xvs("export").succeeds().stdout;
    assert_eq!(scene.daemon.stop(), Some(0));
    let file = scene.lab.reals[0].path("renamed.toml");
    fs::write(&file, config.replace("\"web\"", "\"page\"")).expect("the lab's folder is writable");
    scene.daemon = scene.lab.director.start_daemon_with(&format!("--config {}", file.display()));
    let reals = scene.becomes(DR, ["down", "up", "up"]);
    assert_eq!((&reals[0]["checks"][0], &reals[0]["effective_weight"]), (&"page".into(), &0.into()));
    eventually("the real is probed under the new name", || {
        let reals = scene.reals(DR);
        if reals[0]["last_result"]["code"] == "L7RSP" { Ok(()) } else { Err(format!("{reals:#?}")) }
    });
    let events = scene.lab.director.xvs("events").succeeds().stdout;
    assert!(!events.contains(r#""event":"health""#), "{events}");
    // The operator's states are separate from health.
    let (service, first, second) = (DR.service(), DR.reals()[0], DR.reals()[1]);
    scene.lab.director.xvs(&format!("real disable tcp {service} {second}")).succeeds();
    assert_eq!(requests(&scene.lab.client, DR, 10), vec!["real3"; 10]);
    scene.lab.director.xvs("real list").succeeds().says("disabled");
    scene.lab.director.xvs(&format!("real enable tcp {service} {second}")).succeeds();
    scene.lab.director.xvs(&format!("real remove tcp {service} {first}")).succeeds();
    scene.lab.director.xvs(&format!("real add tcp {service} {first}")).succeeds();
    assert_eq!(scene.reals(DR)[2]["effective_weight"], 0, "it is sick");
    page(&scene, 0..1, "well");
    scene.becomes(DR, ["up", "up", "up"]);
}

/// Sends requests for two seconds, each on a new connection, and checks that none fails.
#[track_caller]
fn no_request_fails(client: &Client, way: Way) {
    let url = format!("http://{}/", way.service());
    let wrk = ["wrk", "-t1", "-c16", "-d2s", "--timeout", "1", "-H", "Connection: close", &url];
    let report = client.exec(wrk).succeeds();
    for word in ["Socket errors", "Non-2xx"] {
        assert!(!report.stdout.contains(word), "{}: {report}", way.name());
    }
    assert!(!report.stdout.contains(" 0 requests in"), "{}: {report}", way.name());
}

#[test]
fn no_request_that_starts_after_a_failure_was_found_fails() {
    let mut scene = Scene::new("");
    scene.check("http");
    let rounds = if is_full() { 20 } else { 1 };
    for round in 0..rounds {
        let real = round % 3;
        scene.nginx[real].stop();
        for way in Way::all().filter(|way| is_full() || !way.six) {
            let mut expected = ["up"; 3];
            expected[real] = "down";
            scene.becomes(way, expected);
            no_request_fails(&scene.lab.client, way);
        }
        scene.nginx[real] = scene.lab.reals[real].start_nginx(&Method::real_ports());
        scene.recovers();
        for way in Way::all().filter(|way| is_full() || !way.six) {
            no_request_fails(&scene.lab.client, way);
        }
    }
}
