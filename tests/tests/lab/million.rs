// SPDX-License-Identifier: MIT OR Apache-2.0
//! One million tracked flows: memory, duration of a sweep, correct counts, and no delay of packets or
//! changes.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::{
    maps::MapData,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use aya_obj::programs::XdpAttachType;
use lb_dataplane::PinDir;
use lb_tests::{
    lab::{Director, Lab, Method, RIPS, VIP, eventually},
    packet::frame,
};

const PORT: u16 = 7000;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
const FLOWS: u32 = 1_000_000;
/// Maximum time of nearly every packet in the director while the daemon sweeps.
const NO_GAP: Duration = Duration::from_millis(1);
/// Maximum time of any packet. A sweep takes longer than this, and a time slice of another process does not.
const LONGEST: Duration = Duration::from_millis(50);

/// Times that packets spent in the director.
#[derive(Debug, Default)]
struct Gaps {
    packets: usize,
    late: usize,
    longest: Duration,
}

impl Gaps {
    fn add(&mut self, took: Duration) {
        self.packets += 1;
        self.late += usize::from(took > NO_GAP);
        self.longest = self.longest.max(took);
    }

    /// Fails if packets waited for the daemon. The kernel may stop any packet for a time slice of another
    /// process.
    #[track_caller]
    fn are_none(&self) {
        assert!(self.late <= 2 + self.packets / 10_000 && self.longest < LONGEST, "{self:?}");
    }
}

/// Clients of the flows: addresses from 198.18.0.0/15, which RFC 2544 reserves for benchmarks.
pub struct Flood {
    /// The program, and when it was opened: the daemon may have replaced it since.
    program: (Xdp, Instant),
    pin: PathBuf,
    packet: Vec<u8>,
}

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const FIN: u8 = 0x01;

impl Flood {
    /// Time after which the program is opened again. The daemon moves the flows that a replaced program has added for
    /// longer than this.
    const FRESH: Duration = Duration::from_millis(10);

    pub fn new(director: &Director, service: SocketAddrV4) -> Self {
        let pin = director.bpffs().join("director");
        let from = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 0), 0);
        Self {
            program: (Self::open(&pin), Instant::now()),
            pin,
            packet: frame::tcp(from, service).syn().bytes(),
        }
    }

    /// Begins the flows with these numbers. The table grows meanwhile, from 45 percent on; it is never filled to a half, as
    /// it would be by clients that begin more flows while it grows: from there on, some flows find no place.
    pub fn establish(&mut self, director: &Director, from: u32, to: u32) {
        for flow in from..to {
            if flow % 1000 == 0 {
                eventually("the table has grown", || {
                    let places = places(director);
                    if flow < places / 100 * 48 { Ok(()) } else { Err(format!("{places} places")) }
                });
            }
            self.send(flow, SYN);
            self.send(flow, ACK);
        }
    }

    fn open(pin: &Path) -> Xdp {
        Xdp::from_pin(pin, XdpAttachType::Interface).expect("the daemon has pinned it")
    }

    /// Sends a packet of a flow, and returns the time that the director took.
    pub fn send(&mut self, flow: u32, flags: u8) -> Duration {
        if self.program.1.elapsed() > Self::FRESH {
            self.program = (Self::open(&self.pin), Instant::now());
        }
        // Ten thousand ports of a hundred clients. The checksums are not verified: dr does not change the
        // bytes that they cover.
        let (client, port) = (flow / 10_000, 1024 + flow % 10_000);
        self.packet[28..30].copy_from_slice(&(client as u16).to_be_bytes());
        self.packet[34..36].copy_from_slice(&(port as u16).to_be_bytes());
        self.packet[47] = flags;
        let options = TestRunOptions { data_in: Some(&self.packet), repeat: 1, ..TestRunOptions::default() };
        let done = self.program.0.test_run(options).expect("BPF_PROG_TEST_RUN takes the frame");
        assert_eq!(done.return_value, 4, "XDP_REDIRECT: it goes to a real");
        done.duration
    }
}

/// Returns the number of places of the flow table.
pub fn places(director: &Director) -> u32 {
    PinDir::at(&director.bpffs()).flow_places().expect("the daemon has pinned it")
}

/// Returns the memory that the kernel accounts to a pinned map, in bytes.
fn memory(director: &Director, map: &str) -> u64 {
    let map = MapData::from_pin(director.bpffs().join("maps").join(map)).expect("the map is pinned");
    let info =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd())).expect("/proc");
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:")).expect("fdinfo has it");
    line.trim().parse().expect("a number")
}

fn metric(director: &Director, name: &str) -> f64 {
    let page = director.metrics();
    let line = page.lines().find_map(|line| line.strip_prefix(name)).expect("the metric is there");
    line.trim().parse().expect("a number")
}

/// Returns the number of tracked flows.
pub fn flows(director: &Director) -> u64 {
    let status = director.xvs("--output json status").succeeds().stdout;
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    status["flows"].as_u64().expect("a number")
}

/// Edits while sixteen clients read the metrics in a loop, each of which counts a million flows. An edit may
/// wait for one count or one sweep, each of which takes 0.3 to 0.7 s, but not for sixteen of them.
#[expect(clippy::print_stdout, reason = "it is here to show something")]
fn edits_go_first(director: &Director) {
    let stop = AtomicBool::new(false);
    let mut edits = Vec::new();
    let scrapes = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    director.metrics();
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for weight in 1..=20 {
            let began = Instant::now();
            let real = RIPS[0];
            director.xvs(&format!("real edit tcp {SERVICE} {real} --weight {}", 100 + weight % 2)).succeeds();
            edits.push(began.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
    });
    edits.sort();
    println!("20 edits beside 16 scrapers took {edits:?}; {scrapes:?} scrapes meanwhile");
    assert!(edits.iter().all(|took| *took < Duration::from_secs(4)), "{edits:?}");
}

#[test]
fn a_million_flows_are_swept_without_a_pause() {
    let lab = Lab::new();
    let director = &lab.director;
    let config = director.path("config.toml");
    fs::write(&config, "[director]\nmax-flows = 1500000\n").unwrap();
    let _daemon = director.start_daemon_with(&format!("--config {}", config.display()));
    director.serve("tcp", PORT, "wlc", Method::Dr, PORT);

    let mut flood = Flood::new(director, SERVICE);
    let began = Instant::now();
    flood.establish(director, 0, FLOWS);
    let filled = began.elapsed();
    let stats = director.stats();
    let service = stats.service("tcp", PORT);
    assert_eq!(service.count.new_flows, u64::from(FLOWS));
    assert_eq!(flows(director), u64::from(FLOWS), "nobody was evicted");
    // wlc has given all reals the same share.
    for real in &service.reals {
        let share = u64::from(FLOWS) / 3;
        assert!(real.count.new_flows.abs_diff(share) <= 1, "{real:?}");
    }

    edits_go_first(director);

    // Until a sweep that began after the last flow has ended.
    let (mut gaps, began) = (Gaps::default(), Instant::now());
    let mut sweeps = Vec::new();
    while sweeps.len() < 2 && began.elapsed() < Duration::from_mins(1) {
        for flow in 0..20_000 {
            gaps.add(flood.send(flow * 37 % FLOWS, ACK));
        }
        let seconds = metric(director, "xvs_sweep_seconds ");
        if sweeps.last() != Some(&seconds) {
            sweeps.push(seconds);
        }
    }
    let counted: u64 = {
        let stats = director.stats();
        stats.service("tcp", PORT).reals.iter().map(|real| real.count.active_flows).sum()
    };
    let bytes = memory(director, "FLOWS");
    assert_eq!(places(director), 1 << 21, "the table has grown");
    println!(
        "{FLOWS} flows: {bytes} bytes of FLOWS, {} for each of 1,500,000 that fit; filled in {filled:?}; \
         sweeps took {sweeps:?} s; {counted} are counted as active; \
         packets meanwhile: {gaps:?}",
        bytes / 1_500_000
    );
    assert_eq!(counted, u64::from(FLOWS), "the sweep has counted all of them");
    assert!(sweeps.iter().all(|seconds| *seconds < 10.0), "{sweeps:?}");
    gaps.are_none();

    director.xvs("timeouts --tcp 3s").succeeds();
    let mut gaps = Gaps::default();
    gaps.add(flood.send(7, SYN));
    let began = Instant::now();
    eventually("idle flows end", || {
        // A connection that continues is not among them.
        for _ in 0..20_000 {
            gaps.add(flood.send(7, ACK));
        }
        let left = flows(director);
        if left == 1 { Ok(()) } else { Err(format!("{left} flows are left")) }
    });
    println!("all ended within {:?}; packets meanwhile: {gaps:?}", began.elapsed());
    gaps.are_none();
}
