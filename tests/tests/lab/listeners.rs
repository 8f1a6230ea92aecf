// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control plane answers although clients hold idle connections.

use std::{
    io::{Read as _, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use lb_tests::lab::{API, Director, METRICS, Stage, VIP};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Maximum time of an answer, regardless of the number of idle connections.
const SOON: Duration = Duration::from_secs(1);
/// Connections to each listener.
const MANY: usize = 1000;

/// Every other connection sends half a head.
fn half_a_head(number: usize, mut stream: impl Write) {
    if number % 2 == 1 {
        // The connection may have ended already.
        let _sent = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ");
    }
}

fn idle_tcp(director: &Director, address: &str) -> Vec<TcpStream> {
    let connect = |number| {
        let stream = TcpStream::connect(address).expect("the lab allows it");
        half_a_head(number, &stream);
        stream
    };
    director.run(|| (0..MANY).map(connect).collect())
}

fn soon<T>(what: &str, task: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = task();
    assert!(began.elapsed() < SOON, "{what} took {:?}", began.elapsed());
    result
}

fn answers(director: &Director, port: u16) {
    soon("status", || director.xvs("status").succeeds());
    soon("a change", || director.xvs(&format!("service add tcp {VIP}:{port}")).succeeds());
    let page = soon("metrics", || director.metrics());
    assert!(page.contains("xvs_build_info"));
    let asked = soon("the API for agents", || {
        director
            .sh(&format!("curl --silent --output /dev/null --write-out %{{http_code}} http://{API}/v1/roles"))
    });
    assert!(asked.stdout.starts_with('4'), "{asked}");
}

#[test]
fn a_thousand_idle_connections_to_each_listener_stop_nothing() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mut stage = Stage::new();
    stage.daemon.stop();
    stage.daemon = stage.lab.director.start_daemon_for_agents();
    let director = &stage.lab.director;

    let metrics = idle_tcp(director, METRICS);
    answers(director, 1);
    let api = idle_tcp(director, API);
    answers(director, 2);
    let connect = |number| {
        let stream = UnixStream::connect(director.socket()).unwrap();
        half_a_head(number, &stream);
        stream
    };
    let unix: Vec<UnixStream> = (0..MANY).map(connect).collect();
    answers(director, 3);

    // The server closes a connection without a request after five seconds.
    let began = Instant::now();
    for stream in [metrics.last(), api.last()].into_iter().flatten() {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let ended = (&mut &*stream).read(&mut [0; 64]);
        assert!(ended.is_ok_and(|bytes| bytes == 0) && began.elapsed() < Duration::from_secs(8));
    }
    drop((metrics, api, unix));
    answers(director, 4);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let stage = Stage::new();
    let director = &stage.lab.director;
    let file = director.path("large");
    // One byte too many.
    std::fs::File::create(&file).unwrap().set_len((64 << 20) + 1).unwrap();
    let (socket, file) = (director.socket(), file.display().to_string());
    let line = format!(
        "curl --silent --unix-socket {} -X PUT -T {file} http://xvs/v1/config?name=x",
        socket.display()
    );
    director.sh(&line).succeeds().says("the body of /v1/config has more than 67108864 bytes");
    director.xvs("status").succeeds();
}
