// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of the daemon and of the tab while the status page is open for long.

use std::{
    fs,
    net::SocketAddrV4,
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    artifacts::is_full,
    lab::{Browser, Lab, Method, Process, RIPS, VIP},
};
use serde_json::json;

/// Address of the page, inside the director's namespace.
const PAGE: &str = "127.0.0.1:9472";
/// Growth of memory that is allowed: a leak of one event a second exceeds it in the full test.
const GROWTH: f64 = 1.25;

/// Returns the number of nodes below the list of changes.
const LISTED: &str = "
    const walker = document.createTreeWalker(document.getElementById('changes'));
    let nodes = 0;
    while (walker.nextNode()) nodes += 1;
    return nodes;
";

/// Sizes of the daemon and of the tab.
#[derive(Debug)]
struct Size {
    /// Memory of the daemon, in kB.
    daemon: f64,
    /// Memory of the page's scripts after a collection of garbage, in kB.
    heap: f64,
    /// Number of nodes of the page's documents, those that are detached too, without the list of the last changes,
    /// which has an end of its own.
    nodes: f64,
}

impl Size {
    fn now(daemon: &Process, browser: &Browser<'_>) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it runs");
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        browser.devtools("HeapProfiler.collectGarbage", &json!({}));
        let number = |command: &str, field: &str| {
            let all = browser.devtools(command, &json!({}));
            all[field].as_f64().unwrap_or_else(|| panic!("{field}: {all}"))
        };
        let listed = browser.run(LISTED).as_f64().expect("a number");
        Self {
            daemon: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
            heap: number("Runtime.getHeapUsage", "usedSize") / 1024.0,
            nodes: number("Memory.getDOMCounters", "nodes") - listed,
        }
    }
}

#[test]
fn neither_the_daemon_nor_the_tab_grows_while_the_page_is_open() {
    let (warm, long) = if is_full() { (120, 240) } else { (5, 10) };
    let lab = Lab::new();
    let _nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[Method::Nat.real_port()]));
    let director = &lab.director;
    let daemon = director.start_daemon_with(&format!("--http {PAGE}"));
    let (port, real_port) = (Method::Nat.port(), Method::Nat.real_port());
    director.serve("tcp", port, "rr", Method::Nat, real_port);
    let browser = Browser::start(director);
    browser.look(1440, 900, "light");
    browser.open(&format!("http://{PAGE}/"));
    browser.until("document.querySelectorAll('tr.real').length === 3");

    // Rates and states change with each event. The list of changes is full before the first measurement.
    let run = |seconds: u64| {
        let began = Instant::now();
        let mut orders = ["disable", "enable"].into_iter().cycle();
        while began.elapsed() < Duration::from_secs(seconds) {
            let order = orders.next().expect("a cycle has no end");
            director.xvs(&format!("real {order} tcp {VIP}:{port} {}:{real_port}", RIPS[2])).succeeds();
            lab.client.requests(SocketAddrV4::new(VIP, port), 20).is_complete(20);
            thread::sleep(Duration::from_millis(700));
        }
    };
    run(warm);
    let before = Size::now(&daemon, &browser);
    run(long);
    let after = Size::now(&daemon, &browser);
    println!("after {warm} s {before:?}, {long} s later {after:?}");
    for (what, before, after) in [
        ("memory of the daemon", before.daemon, after.daemon),
        ("memory of the tab", before.heap, after.heap),
        ("nodes of the tab", before.nodes, after.nodes),
    ] {
        assert!(after < before * GROWTH, "{what}: {before}, {long} s later {after}");
    }
    browser.until("document.querySelectorAll('tr.real').length === 3");
}
