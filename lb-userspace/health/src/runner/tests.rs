// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the threads, with real servers on the loopback interface.
#![forbid(unsafe_code)]

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use lb_model::{
    Endpoint, Forward, Protocol, RealKey, ServiceId, Tunnel,
    check::{Check, CheckType, Period, Timing, Via},
    health::{Health, ResultCode},
};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, UdpSocket},
    time::timeout,
};

use super::*;
use crate::{
    engine::{Cause, EventKind},
    path::{PathTarget, PingSocket},
};

/// Time for anything to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn check(via: Via) -> Check {
    let timing =
        Timing { interval: Period::from_millis(200), timeout: Period::from_millis(200), ..Timing::default() };
    Check { via, timing, ..Check::new(CheckType::Tcp) }
}

/// Returns the target at an address, which is that of the VIP too.
fn target(check: &Check, address: SocketAddr) -> Target {
    let service = Endpoint { protocol: Protocol::Tcp, address };
    let real = RealKey { address, forward: Forward::Tun, tunnel: Tunnel::Ipip };
    Target {
        key: TargetKey::new("web".parse().unwrap(), check, service, real),
        check: Arc::new(check.clone()),
        vip: address,
        services: [ServiceId::Endpoint(service)].into(),
        hold_down: Period::default(),
        real_id: 7,
        forward: Forward::Tun,
    }
}

fn no_path() -> io::Result<Box<dyn PathSockets>> {
    Err(io::Error::other("there is no path here"))
}

/// Waits until a target has a health.
async fn wait_for(handle: &Handle, target: &Target, health: Health) -> TargetState {
    let mut changes = handle.changes();
    let wait = async {
        loop {
            let snapshot = handle.snapshot();
            match snapshot.states.get(&target.key) {
                Some(state) if state.health == health => return state.clone(),
                _ => changes.changed().await.unwrap(),
            }
        }
    };
    timeout(PATIENCE, wait).await.unwrap()
}

/// Ordinary sockets, and what was asked for.
#[derive(Default)]
struct Record {
    made: Mutex<Vec<(PathTarget, SocketAddr, Option<String>)>>,
    released: Mutex<Vec<SocketAddr>>,
    canary_fails: AtomicBool,
}

struct Sockets(Arc<Record>, SocketAddr);

impl Sockets {
    fn make(&self, target: &PathTarget, kind: Type) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, kind.nonblocking(), None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let local = socket.local_addr()?.as_socket().unwrap();
        let thread = thread::current().name().map(str::to_owned);
        self.0.made.lock().unwrap().push((target.clone(), local, thread));
        Ok(socket)
    }
}

impl PathSockets for Sockets {
    fn tcp(&mut self, target: &PathTarget) -> io::Result<Socket> {
        self.make(target, Type::STREAM)
    }

    fn udp(&mut self, target: &PathTarget) -> io::Result<Socket> {
        self.make(target, Type::DGRAM)
    }

    fn ping(&mut self, _: &PathTarget) -> io::Result<PingSocket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn release(&mut self, _: &PathTarget, local: SocketAddr, is_ping: bool) {
        assert!(!is_ping);
        // The socket is closed: its port can be bound again.
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().bind(&local.into()).unwrap();
        self.0.released.lock().unwrap().push(local);
    }

    fn canary(&mut self) -> Option<io::Result<(Socket, SocketAddr)>> {
        // Nothing listens on port 1.
        let port = if self.0.canary_fails.load(Ordering::Relaxed) { 1 } else { self.1.port() };
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), None);
        Some(socket.map(|socket| (socket, SocketAddr::new(self.1.ip(), port))))
    }
}

#[tokio::test]
async fn a_direct_target_goes_up_and_down_and_up_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Runner::start(no_path, vec![]).unwrap();
    let mut events = handle.events();
    let target = target(&check(Via::Direct), address);
    handle.plan(vec![target.clone()]);
    let state = wait_for(&handle, &target, Health::Up).await;
    assert_eq!(state.last.map(|last| last.code), Some(ResultCode::L4Ok));
    drop(listener);
    handle.hint(Suspect::Real(address));
    let state = wait_for(&handle, &target, Health::Down).await;
    assert!(state.is_silent);
    let _listener = TcpListener::bind(address).await.unwrap();
    wait_for(&handle, &target, Health::Up).await;
    let mut turns = Vec::new();
    while turns.len() < 3 {
        let event = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        if let EventKind::Turned { to, .. } = event.kind {
            turns.push(to);
        }
    }
    assert_eq!(turns, [Health::Up, Health::Down, Health::Up]);
    let mut changes = handle.changes();
    handle.plan(vec![]);
    let gone = async {
        while !handle.snapshot().states.is_empty() {
            changes.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    let totals = &handle.snapshot().totals.checks[&target.key.name];
    assert!(totals.runs[&ResultCode::L4Ok] >= 3 && totals.runs[&ResultCode::L4Connection] >= 3);
}

#[tokio::test]
async fn probes_by_path_have_a_thread_with_sockets_of_the_data_plane() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mirror = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let echo = mirror.local_addr().unwrap();
    let mirror = tokio::spawn(async move {
        let mut buffer = [0; 64];
        loop {
            let (length, from) = mirror.recv_from(&mut buffer).await.unwrap();
            mirror.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    let record = Arc::new(Record::default());
    let starts = Arc::new(AtomicUsize::new(0));
    let maker = {
        let (record, starts) = (Arc::clone(&record), Arc::clone(&starts));
        move || {
            starts.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Sockets(Arc::clone(&record), echo)) as Box<dyn PathSockets>)
        }
    };
    let handle = Runner::start(maker, vec![]).unwrap();
    let direct = target(&check(Via::Direct), address);
    handle.plan(vec![direct.clone()]);
    wait_for(&handle, &direct, Health::Up).await;
    assert_eq!(starts.load(Ordering::Relaxed), 0, "the thread of the path is not needed yet");

    let by_path = target(&check(Via::Path), address);
    handle.plan(vec![direct, by_path.clone()]);
    wait_for(&handle, &by_path, Health::Up).await;
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    assert_eq!(handle.snapshot().frozen, None);
    record.canary_fails.store(true, Ordering::Relaxed);
    let mut changes = handle.changes();
    let frozen = async {
        while handle.snapshot().frozen.is_none() {
            changes.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, frozen).await.unwrap();
    let why = handle.snapshot().frozen.clone().unwrap().why;
    assert!(matches!(&why, Cause::Canary(why) if why.contains(":1: ")), "{why:?}");

    mirror.abort();
    drop(handle);
    let made = record.made.lock().unwrap().clone();
    for (target, _, thread) in &made {
        assert_eq!((target.vip, target.real_id, thread.as_deref()), (address, 7, Some("xvs-path")));
        assert_eq!(target.forward, Forward::Tun);
    }
    let made: Vec<_> = made.into_iter().map(|(_, local, _)| local).collect();
    assert_eq!(made, *record.released.lock().unwrap(), "each port is released once");
}

#[tokio::test]
async fn without_a_path_there_is_no_verdict() {
    let address = "127.0.0.1:9".parse().unwrap();
    let handle = Runner::start(no_path, vec![]).unwrap();
    let target = target(&check(Via::Path), address);
    let (steps, _) = channel(8);
    for _ in 0..3 {
        let result = handle.run_once(target.clone(), steps.clone()).await;
        assert_eq!(result.code, ResultCode::SocketError);
        assert_eq!(result.text, "cannot probe by path: there is no path here");
    }
}

#[tokio::test]
async fn a_single_probe_tells_its_steps_and_changes_no_state() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Runner::start(no_path, vec![]).unwrap();
    let (steps, mut lines) = channel(8);
    let result = handle.run_once(target(&check(Via::Direct), address), steps).await;
    assert_eq!(result.code, ResultCode::L4Ok);
    assert_eq!(lines.recv().await, Some(format!("connect to {address} …")));
    assert!(lines.recv().await.unwrap().starts_with("connected after "));
    assert!(lines.recv().await.unwrap().starts_with("L4OK after "));
    assert_eq!(lines.recv().await, None);
    assert!(handle.snapshot().states.is_empty());
}

#[tokio::test]
async fn an_impossible_definition_is_no_verdict() {
    let handle = Runner::start(no_path, vec![]).unwrap();
    let check = Check {
        command: vec!["/bin/true".into()],
        user: Some("no-such-user".into()),
        ..Check::new(CheckType::Exec)
    };
    let (steps, _) = channel(8);
    let result = handle.run_once(target(&check, "192.0.2.9:80".parse().unwrap()), steps).await;
    assert_eq!((result.code, &*result.text), (ResultCode::SocketError, "there is no user no-such-user"));
}

#[test]
fn a_failed_preparation_is_reported() {
    let refused = Runner::start_prepared(|| Err(io::ErrorKind::PermissionDenied.into()), no_path, vec![]);
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}
