// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frozen states: a cut next to the director, a genuine outage, and a sick director.

use std::{fs, net::UdpSocket, time::Duration};

use lb_tests::lab::{Lab, Method, Way, eventually};

use crate::{
    health::Scene,
    health_pool::{DR, Pool, ready},
    probe_path,
};

/// Waits until the status of the daemon says `text`.
#[track_caller]
fn status_says(lab: &Lab, text: &str) {
    eventually(&format!("the status says: {text}"), || {
        let status = lab.director.xvs("status");
        if status.stdout.contains(text) { Ok(()) } else { Err(status.to_string()) }
    });
}

/// Waits until states are not frozen.
#[track_caller]
fn is_thawed(lab: &Lab) {
    eventually("states are not frozen", || {
        let status = lab.director.xvs("status");
        // The findings of an earlier examination stay in the status until the next one.
        let is_frozen = |line: &str| line.starts_with("problem") && line.contains("frozen");
        if status.stdout.lines().any(is_frozen) { Err(status.to_string()) } else { Ok(()) }
    });
}

#[test]
fn states_freeze_when_nearly_all_targets_fail_at_once() {
    let scene = Scene::new("");
    scene.check("http");
    // As a fault of the director: its own packets to the reals are lost.
    for real in &scene.lab.reals {
        real.sh(
            "nft add table inet lab; add chain inet lab in { type filter hook prerouting priority -300; }; \
             add rule inet lab in meta l4proto tcp drop",
        )
        .succeeds();
    }
    status_says(&scene.lab, "frozen");
    let doctor = scene.lab.director.xvs("--output json doctor").stdout;
    assert!(doctor.contains("checks-frozen") && !doctor.contains("no-healthy-real"), "{doctor}");
    for way in Way::all() {
        let reals = scene.reals(way);
        assert!(reals.iter().all(|real| real["effective_weight"] == 1), "{}: {reals:#?}", way.name());
    }
    for real in &scene.lab.reals {
        real.sh("nft delete table inet lab").succeeds();
    }
    is_thawed(&scene.lab);
    scene.recovers();
}

/// The servers of all reals end: after the freeze, the services follow their policy, and the doctor agrees.
#[test]
fn an_outage_of_all_reals_counts_after_the_freeze() {
    let lab = Lab::new();
    let config = lab.director.path("freeze.toml");
    fs::write(&config, "[director]\nfreeze-for = \"2s\"\n").expect("the lab's folder is writable");
    let mut scene = Scene::within(lab, &format!("--config {}", config.display()));
    scene.check("http");
    for nginx in &mut scene.nginx {
        nginx.stop();
    }
    for way in Way::all() {
        let reals = scene.becomes(way, ["down"; 3]);
        assert!(reals.iter().all(|real| real["effective_weight"] == 0), "{}: {reals:#?}", way.name());
    }
    let events = scene.lab.director.xvs("events").succeeds();
    events.says(r#""event":"frozen""#).says("the failures have lasted, and count now");
    // Exit code 7 of curl: refused, as the policy says.
    let request = format!("curl --silent --max-time 1 http://{}/ || echo $?", DR.service());
    assert_eq!(scene.lab.client.exec(["sh", "-c", &request]).stdout.trim(), "7");
    is_thawed(&scene.lab);
    let doctor = scene.lab.director.xvs("--output json doctor").stdout;
    assert!(doctor.contains("no-healthy-real") && !doctor.contains("checks-frozen"), "{doctor}");
    scene.nginx = scene.lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    scene.recovers();
}

/// The director's end of the path is down. No real of a single service goes down, and the path is made anew.
#[test]
fn a_sick_director_takes_no_real_down_and_mends_its_path() {
    let lab = Lab::new();
    let _daemon = ready(&lab);
    let mut nginx = lab.reals.each_ref().map(|real| real.start_nginx(&Method::real_ports()));
    let timing = "--interval 200ms --timeout 150ms --fall 2 --rise 1";
    lab.director.xvs(&format!("check add web http {timing}")).succeeds();
    let pool = Pool::new(&lab, "tcp", DR);
    pool.use_check("web");
    pool.is_up();
    lab.director.ip("link set xvsp0 down");
    status_says(&lab, "the probe of the director to itself fails");
    // What fell before the canary failed is taken back.
    pool.is_up();
    assert!(pool.requests("http").contains(&"real1".to_owned()), "clients are served");
    is_thawed(&lab);
    pool.is_up();
    nginx[0].stop();
    pool.fails("L4CON", "");
}

/// A datagram of the prober to itself comes back by the director's end of the path. As the prober does, the test sends
/// another one before it concludes anything: a busy host drops packets between the ends of a veth pair.
#[test]
fn the_canary_comes_back() {
    let (lab, _daemon) = probe_path::scene("tcp", "");
    probe_path::with_path(&lab, |path| {
        for turn in 0..3 {
            let (socket, address) = path.canary().expect("the port is free");
            let socket = UdpSocket::from(socket);
            socket.set_nonblocking(false).expect("it is a socket");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("it is not zero");
            socket.connect(address).expect("there is a route");
            let mut buffer = [0; 64];
            let length = eventually("the datagram comes back", || {
                socket.send(b"there and back").map_err(|error| format!("turn {turn}: {error}"))?;
                socket.recv(&mut buffer).map_err(|error| format!("turn {turn}: {error}"))
            });
            assert_eq!(&buffer[..length], b"there and back");
        }
    });
}
