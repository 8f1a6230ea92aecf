// SPDX-License-Identifier: MIT OR Apache-2.0
//! Namespaces and cables between them, gone when the test is.

use std::{
    fs::File,
    future::Future,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};

static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// A network namespace; deleted on drop, and every interface in it.
pub struct Netns {
    name: String,
}

impl Netns {
    /// A namespace with nothing but `lo`, which is up.
    #[track_caller]
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "namespace tests need root: run them with sudo");
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("xvs-user-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let netns = Self { name };
        netns.ip("link set lo up");
        // New addresses are usable, and listed, at once.
        netns.run(|| std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap());
        // A new namespace inherits this from the machine.
        netns.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap());
        netns
    }

    /// Runs `ip` with `arguments` in the namespace; panics with its output if it fails.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        run("ip", &all)
    }

    /// Lays a cable (a veth pair) from `here` to the interface `there` of `other`; both ends are up, with
    /// their link-local addresses, so that nothing more happens by itself.
    #[track_caller]
    pub fn cable(&self, here: &str, other: &Self, there: &str) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.name));
        let ends = [(self, here), (other, there)];
        for (netns, interface) in ends {
            netns.ip(&format!("link set {interface} up"));
        }
        for (netns, interface) in ends {
            eventually(|| {
                let shown = netns.ip(&format!("-brief address show dev {interface}"));
                if shown.contains(" UP ") && shown.contains("fe80::") { Ok(()) } else { Err(shown) }
            });
        }
    }

    /// Runs `task` on a thread that has joined the namespace, and returns what it returns.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                task()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// As [`Netns::run`], for a future.
    pub fn block_on<T: Send, F: Future<Output = T>>(&self, task: impl FnOnce() -> F + Send) -> T {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(task())
        })
    }

    /// The Ethernet address of an interface, as `ip` prints it.
    #[track_caller]
    pub fn mac(&self, interface: &str) -> String {
        let output = self.ip(&format!("-brief link show dev {interface}"));
        output.split_whitespace().nth(2).unwrap().to_owned()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // A failure does no harm: the name is never used again.
        drop(Command::new("ip").args(["netns", "delete", &self.name]).status());
    }
}

/// Polls until `look` returns `Ok`; panics with its last `Err` after five seconds.
#[track_caller]
pub fn eventually<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(Instant::now() < deadline, "still after five seconds: {last}"),
        }
        #[expect(clippy::disallowed_methods, reason = "the test has nothing else to do")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An Ethernet address as `ip` prints it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
