// SPDX-License-Identifier: MIT OR Apache-2.0
//! One network namespace.

use std::{fs::File, panic, process::Command, thread};

use nix::sched::{CloneFlags, setns};

/// A named namespace; `ip netns exec NAME` enters it. The lab's folder deletes it.
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Creates the namespace.
    #[track_caller]
    pub(super) fn create(name: String) -> Self {
        let added = Command::new("ip").args(["netns", "add", &name]).output().expect("iproute2 is installed");
        let said = String::from_utf8_lossy(&added.stderr);
        assert!(added.status.success(), "ip netns add {name}: {said}(network namespaces need root)");
        let file = File::open(format!("/run/netns/{name}")).expect("ip netns has just made it");
        Self { name, file }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `task` on a thread inside.
    ///
    /// Sockets and child processes stay in the namespace that they were made in. (`ip netns exec`
    /// would also give a child another /sys, without our bpffs.)
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.file);
                task()
            });
            inside.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })
    }

    /// Starts `task` on a thread inside.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let file = self.file.try_clone().expect("a file handle more");
        thread::spawn(move || {
            enter(&file);
            task()
        })
    }
}

fn enter(namespace: &File) {
    setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter its own namespace");
}
