// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices besides loopback, in a network namespace that ends with the test.

use std::{panic, process::Command, thread};

use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

/// Runs a test on a thread with a network namespace of its own, which has loopback and one device more, and
/// tells it that device's index.
#[track_caller]
pub fn with_another_device<T: Send>(test: impl FnOnce(u32) -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
            let pair = ["link", "add", "other", "type", "veth", "peer", "name", "end"];
            let added = Command::new("ip").args(pair).output().expect("iproute2 is installed");
            assert!(added.status.success(), "ip {pair:?}: {}", String::from_utf8_lossy(&added.stderr));
            test(if_nametoindex("other").expect("ip has just made it"))
        });
        inside.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}
