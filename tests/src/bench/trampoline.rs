// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs that send, and the clock.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_tests_ebpf::{Ends, Order};
use nix::time::{ClockId, clock_gettime};

use super::{floor, frame, plane, row::Row};
use crate::packet::Action;

/// Room for a frame that has grown.
const LARGEST: usize = 4096;

/// The object of the benchmark, loaded.
pub struct Trampoline {
    ebpf: Ebpf,
    order: Array<MapData, Order>,
    ends: Array<MapData, Ends>,
    target: ProgramArray<MapData>,
    /// Buckets of the flow table of the floors.
    buckets: u32,
}

/// The results of sent packets.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Nanoseconds for each.
    pub each: f64,
    /// XDP action of the last packet.
    pub action: Action,
    /// The last frame as it left.
    pub frame: Vec<u8>,
}

impl Trampoline {
    /// Loads the object, with room for the flows of a row.
    pub fn load(object: &Path, row: &Row) -> Result<Self> {
        let known = if floor::beside(row).is_empty() { 1 } else { plane::room(row.flows) };
        // The size to which the table grows with so many flows.
        let buckets = floor::buckets(if row.flows == 0 { known } else { row.flows.saturating_mul(2) });
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("ENDS", row.flows.max(1))
            .map_max_entries("FLOOR_FLOWS", known)
            .map_max_entries("FLOOR_VIPS", 8192)
            .map_max_entries("FLOOR_TABLE_FLOWS", buckets)
            .map_max_entries("FLOOR_WIDE_FLOWS", buckets)
            .load_file(object)
            .with_context(|| format!("cannot load {}", object.display()))?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("the kernel refused {name}"))?;
        }
        Ok(Self {
            order: take(&mut ebpf, "ORDER")?,
            ends: take(&mut ebpf, "ENDS")?,
            target: take(&mut ebpf, "TARGET")?,
            buckets,
            ebpf,
        })
    }

    /// Returns the number of buckets of the flow table of the floors.
    #[must_use]
    pub const fn buckets(&self) -> u32 {
        self.buckets
    }

    /// Returns an array map of the floors.
    pub fn array<V: Pod>(&mut self, name: &'static str) -> Result<Array<MapData, V>> {
        take(&mut self.ebpf, name)
    }

    /// Returns a hash map of the floors.
    pub fn hash<K: Pod, V: Pod>(&mut self, name: &'static str) -> Result<HashMap<MapData, K, V>> {
        take(&mut self.ebpf, name)
    }

    /// Returns one of the trampoline's own programs, to be measured.
    pub fn own(&self, name: &str) -> Result<ProgramFd> {
        Ok(self.program(name)?.fd()?.try_clone()?)
    }

    fn program(&self, name: &str) -> Result<&Xdp> {
        let program = self.ebpf.program(name).with_context(|| format!("the object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Returns the headers of the packets of the first `turns` turns.
    pub fn ends(&self, turns: u32) -> Result<Vec<Ends>> {
        (0..turns).map(|turn| Ok(self.ends.get(&turn, 0)?)).collect()
    }

    /// Sends packets to a program, by one of the trampoline's own programs. `order` returns with the
    /// progress.
    pub fn send(&mut self, program: &str, order: &mut Order, to: &ProgramFd, packets: u32) -> Result<Sent> {
        self.target.set(0, to, 0).context("tail call into the program under test")?;
        self.order.set(0, *order, 0)?;
        let mut frame = vec![0; LARGEST];
        let first = vec![0; frame::length(program)];
        let options = TestRunOptions {
            data_in: Some(&first),
            data_out: Some(&mut frame),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let program = self.program(program)?;
        // This thread's time on its CPU, which is not that of others who ran meanwhile; the kernel's own
        // figure is in whole nanoseconds.
        let began = cpu_time()?;
        let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
        let took = cpu_time()?.saturating_sub(began);
        frame.truncate(result.data_size_out as usize);
        let then = self.order.get(&0, 0)?;
        ensure!(
            then.missed == order.missed,
            "{} packets did not reach the program",
            then.missed - order.missed
        );
        *order = then;
        let each = took.as_secs_f64() * 1e9 / f64::from(packets);
        Ok(Sent { each, action: Action::of(result.return_value), frame })
    }
}

/// Returns the time that this thread has had a CPU.
pub fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T> {
    let map = ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))?;
    Ok(map.try_into()?)
}
