// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames that travel through the lab, and what each of them costs the CPU that sends it: with all that it
//! causes there.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use lb_tests_ebpf::{NONE, Order};
use nix::{
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use super::{
    cables::{CLIENT, DIRECTOR_MAC, FRONT, VIP},
    frame,
};
use crate::{
    lab::Host,
    packet::{self, net::Link},
};

/// Flows that take turns.
const FLOWS: u32 = 1000;
/// Frames that are sent at a time, as a driver's poll would bring them.
const BATCH: u32 = 64;

/// The programs that send and sink.
pub struct Live {
    ebpf: Ebpf,
    order: Array<MapData, Order>,
    sunk: PerCpuArray<MapData, u64>,
}

/// The results of live frames.
#[derive(Clone, Copy, Debug)]
pub struct Travelled {
    /// Nanoseconds for each frame.
    pub each: f64,
    /// The share that arrived.
    pub arrived: f64,
}

impl Live {
    /// Loads the programs.
    pub fn load(object: &Path) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(object).with_context(|| object.display().to_string())?;
        for name in ["live", "sink"] {
            program(&mut ebpf, name)?.load()?;
        }
        let order = ebpf.take_map("ORDER").context("ORDER")?.try_into()?;
        let sunk = ebpf.take_map("SUNK").context("SUNK")?.try_into()?;
        Ok(Self { ebpf, order, sunk })
    }

    /// Makes datagrams end at an interface.
    pub fn sink_at(&mut self, host: &Host, device: &str) -> Result<()> {
        let sink = program(&mut self.ebpf, "sink")?;
        host.run(|| sink.attach(device, XdpMode::Driver))
            .with_context(|| format!("sink at {device} of {}", host.name()))?;
        Ok(())
    }

    /// Sends datagrams of this length from the client to a port of the VIP, out of the client's interface,
    /// with one CPU.
    pub fn send(
        &mut self,
        client: &Host,
        port: u16,
        bytes: usize,
        frames: u32,
        cpu: usize,
    ) -> Result<Travelled> {
        let datagram = packet::udp((CLIENT, 0), (VIP, port))
            .data(vec![0; bytes - 42])
            .without_checksum()
            .link(Link { to: DIRECTOR_MAC, from: [2, 0, 0, 0, 0xf, 2] })
            .bytes();
        let device = client.run(|| if_nametoindex(FRONT))?;
        let order = Order {
            frame: frame::words(&datagram[..64]),
            flows: FLOWS,
            services: 1,
            first_service: 0,
            sum: 0,
            packets: 1,
            step: 1,
            learn: 0,
            next: 0,
            last: NONE,
            missed: 0,
            device,
        };
        self.order.set(0, order, 0)?;
        let before = self.sunk()?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let length = u32::try_from(datagram.len())?;
        let context = [0, length, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        let live = program(&mut self.ebpf, "live")?;
        let took = client.run(|| -> Result<Duration> {
            let options = TestRunOptions {
                data_in: Some(&datagram),
                ctx_in: Some(&context),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            };
            let mut cpus = CpuSet::new();
            cpus.set(cpu)?;
            // Of this thread, which ends with this.
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            let now = || clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
            let began = now()?;
            live.test_run(options).context("BPF_PROG_TEST_RUN with live frames")?;
            Ok(now()?.saturating_sub(began))
        })?;
        let arrived = f64::from(u32::try_from(self.sunk()? - before)?) / f64::from(frames);
        Ok(Travelled { each: took.as_secs_f64() * 1e9 / f64::from(frames), arrived })
    }

    fn sunk(&self) -> Result<u64> {
        Ok(self.sunk.get(&0, 0)?.iter().sum())
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?.try_into()?)
}
