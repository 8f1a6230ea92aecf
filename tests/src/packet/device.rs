// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices besides loopback, in a network namespace that ends with the test.

use std::{panic, process::Command, thread};

use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

/// Devices of the director besides loopback.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// One that frames may be redirected to.
    pub other: u32,
    /// An interface that accepts no frames from XDP until a test permits it.
    pub closed: u32,
}

/// Gives this thread its own network namespace, which has loopback and a pair of interfaces, and ends with
/// the thread.
#[track_caller]
pub fn enter_another() -> Devices {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
    let pair = ["link", "add", "other", "type", "veth", "peer", "name", "end"];
    let added = Command::new("ip").args(pair).output().expect("iproute2 is installed");
    assert!(added.status.success(), "ip {pair:?}: {}", String::from_utf8_lossy(&added.stderr));
    let index = |name| if_nametoindex(name).expect("ip has just made it");
    Devices { other: index("other"), closed: index("end") }
}

/// Runs a test on a thread with its own network namespace, which has loopback and one more interface, and
/// passes the test the ifindex of that interface.
#[track_caller]
pub fn with_another_device<T: Send>(test: impl FnOnce(u32) -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| test(enter_another().other));
        inside.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}
