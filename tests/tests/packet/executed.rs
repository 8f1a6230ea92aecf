// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number of instructions, lookups and calls for one packet, by path, against a budget in the repository.
//!
//! A budget is what the programs needed when it was written, on Linux 6.18; a change that needs more fails here, and says
//! so by changing the budget. Older kernels inline less.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsFd as _,
    slice,
};

use lb_model::{
    Forward::{self, Dr, Fnat, Nat, Tun},
    Scheduler::{self, Mh, Wrr},
};
use lb_tests::{
    executed::{Executed, Machine},
    packet::{
        CLIENT, DIP_END, Frame, RealServer, SERVICE, TestPlane, net::INGRESS, tcp, tcp_service, udp,
        udp_service, version,
    },
};
use serde::Deserialize;

/// The most instructions, lookups in arrays and calls of functions of the kernel, by IP version and path.
const BUDGET: &str = include_str!("../../../lb-ebpf/packet-budget.json");

#[derive(Deserialize)]
struct Budget {
    ipv4: BTreeMap<String, [u32; 3]>,
    ipv6: BTreeMap<String, [u32; 3]>,
}

/// An address that is neither a VIP nor a real.
const OTHER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 80);

/// A client whose network is not that of an address of the director.
const FAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 40_000);

/// A path of packets through the programs.
struct Path {
    name: &'static str,
    method: Forward,
    scheduler: Scheduler,
    /// Frames that come before.
    before: Vec<Frame>,
    frame: Frame,
}

impl Path {
    fn new(
        name: &'static str,
        method: Forward,
        scheduler: Scheduler,
        before: &[Frame],
        frame: Frame,
    ) -> Self {
        Self { name, method, scheduler, before: before.to_vec(), frame }
    }

    /// Runs the frames on the programs of the kernel and on those of a machine, and returns what the last one took. A
    /// frame that begins no flow is sent twice, so that the caches of the CPU have what they are to have.
    fn count(&self) -> Executed {
        let real = RealServer::by(self.method, 1);
        let services = [tcp_service().by(self.scheduler), udp_service().by(self.scheduler)];
        let mut plane = TestPlane::new(&services.map(|service| service.real(self.method, real)));
        let mut machine = Machine::new(plane.director().fd().expect("it is loaded").as_fd(), INGRESS);
        let mut last = None;
        let warm = (!self.name.ends_with("syn")).then_some(&self.frame);
        for frame in self.before.iter().chain(warm).chain([&self.frame]) {
            let (executed, got) = (machine.run(&frame.bytes()), plane.run(frame));
            assert_eq!(executed.frame, got.frame, "{}: the machine differs from the kernel", self.name);
            last = Some(executed);
        }
        last.expect("there is a frame")
    }
}

/// Returns the paths whose packets are counted.
fn paths() -> Vec<Path> {
    let syn = tcp(CLIENT, SERVICE).syn();
    let data = || tcp(CLIENT, SERVICE).data("some data");
    let datagram = || udp(CLIENT, SERVICE).data([1; 40]);
    let (nat, fnat) = (RealServer::by(Nat, 1), RealServer::by(Fnat, 1));
    let reply = |to| tcp(nat.0, to).data("an answer");
    let opened = slice::from_ref(&syn);
    let all = [
        Path::new("dr", Dr, Mh, &[], tcp(FAR, SERVICE).data("some data")),
        Path::new("dr of a neighbour", Dr, Mh, &[], data()),
        Path::new("dr udp", Dr, Mh, &[], datagram()),
        Path::new("dr syn", Dr, Mh, &[data()], syn.clone()),
        Path::new("tun", Tun, Mh, &[], data()),
        Path::new("nat", Nat, Mh, &[], data()),
        Path::new("dr tracked", Dr, Wrr, opened, data()),
        Path::new("dr tracked syn", Dr, Wrr, &[], syn.clone()),
        Path::new("tun tracked", Tun, Wrr, opened, data()),
        Path::new("nat tracked", Nat, Wrr, opened, data()),
        Path::new("fnat", Fnat, Wrr, opened, data()),
        Path::new("fnat syn", Fnat, Wrr, &[], syn.clone()),
        Path::new("nat reply", Nat, Mh, &[syn.clone(), data()], nat.answers(reply(CLIENT))),
        Path::new("nat tracked reply", Nat, Wrr, &[syn.clone(), data()], nat.answers(reply(CLIENT))),
        Path::new("fnat reply", Fnat, Wrr, &[syn.clone(), data()], fnat.answers(reply(DIP_END))),
        Path::new("not ours", Dr, Mh, &[], tcp(CLIENT, OTHER)),
    ];
    all.into()
}

#[test]
fn a_packet_takes_no_more_than_its_budget() {
    let budget: Budget = serde_json::from_str(BUDGET).expect("packet-budget.json");
    let budget = if version::is_six() { budget.ipv6 } else { budget.ipv4 };
    let mut over = false;
    let mut report = String::new();
    for path in paths() {
        let executed = path.count();
        let counted = [executed.instructions, executed.arrays, executed.calls.len() as u32];
        let allowed = budget.get(path.name).copied().unwrap_or_default();
        let is_over = counted.iter().zip(allowed).any(|(counted, allowed)| *counted > allowed);
        over |= is_over;
        let mark = if is_over { " OVER" } else { "" };
        let line =
            format!("{:<20} {counted:?} of {allowed:?}{mark} {}\n", path.name, executed.calls.join(" "));
        report.push_str(&line);
    }
    assert!(!over, "instructions, lookups in arrays, calls:\n{report}");
}
