// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flow table in the kernel: two CPUs run packets of more flows than the table has room for, while this process
//! deletes entries through its mapping of the table.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    maps::{Array, Map, MapError, PerCpuArray},
    programs::{ProgramInfo, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    flow_table::{
        Entry, Event, Geometry, Key, KeyWord, Limits, Mixing, Narrow, PLACES, Status, Table, Value, Wide,
        Words as _,
    },
    ids::RealId,
    schema::Timeouts,
    wire::{Be16, Be32, Be128},
};
use lb_dataplane::mapped::MappedArray;
use lb_tests_ebpf::{STORM_BUCKETS, STORM_FLOWS, STORM_REALS, Storm, StormFindings, StormKey};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::artifacts;

/// Packets of one test run.
const BATCH: u32 = 100_000;

/// A table of the test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// Narrow entries.
    Narrow,
    /// Wide entries.
    Wide,
    /// Broken on purpose: without generations.
    Careless,
    /// Broken on purpose: the client of a wide entry is written before its value.
    Hasty,
}

impl Variant {
    /// All variants.
    pub const ALL: [Self; 4] = [Self::Narrow, Self::Wide, Self::Careless, Self::Hasty];

    const fn program(self) -> &'static str {
        match self {
            Self::Narrow => "storm",
            Self::Wide => "storm6",
            Self::Careless => "careless",
            Self::Hasty => "hasty",
        }
    }

    const fn is_wide(self) -> bool {
        matches!(self, Self::Wide | Self::Hasty)
    }
}

/// How crowded the table is.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// The number of flows, a power of two.
    pub flows: u32,
    /// The flows use the first so many buckets.
    pub buckets: u32,
}

/// The results of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Packets.
    pub packets: u64,
    /// Packets that were answered with a real of another flow.
    pub wrong: u64,
    /// Packets that were not answered, because another CPU added the same flow at the same instant.
    pub unknown: u64,
    /// Events of the table, by number.
    pub events: [u64; Event::COUNT],
    /// Deleted entries.
    pub deleted: u64,
    /// Live entries at rest.
    pub live: u64,
    /// Flows with more than one live entry at rest.
    pub twice: u64,
    /// Entries that a CPU claimed and did not finish, or whose value has another generation, at rest.
    pub unfinished: u64,
    /// Reals whose load is not that of their entries at rest.
    pub off: u64,
}

impl Outcome {
    /// Returns whether the table made no mistake.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.wrong + self.twice + self.unfinished + self.off == 0
    }

    /// Returns how often something happened.
    #[must_use]
    pub fn count(&self, event: Event) -> u64 {
        self.events[event as usize]
    }
}

/// The mapped tables, as the daemon sees them.
struct Mapped {
    table: MappedArray,
    loads: MappedArray,
    limits: Limits,
}

impl Mapped {
    fn bucket<K: Key>(&self, number: u32) -> &[AtomicU64] {
        let words = PLACES * K::WORDS;
        &self.table.words()[number as usize * words..][..words]
    }

    fn change(&self, real: RealId, change: u64) {
        self.loads.words()[real.0 as usize].fetch_add(change, Ordering::Relaxed);
    }
}

impl<'a, K: Key> Table<K> for &'a Mapped {
    type Bucket = &'a [AtomicU64];

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn add_load(&self, real: RealId, change: u64) {
        self.change(real, change);
    }

    fn count(&self, _: Event) {}
}

/// Runs packets until a time has passed or `stops_early` and a packet got a wrong real.
///
/// # Errors
/// If the kernel refuses the program or a run of it.
///
/// # Panics
/// If an entry at rest is in a bucket of another flow.
pub fn run(variant: Variant, crowd: Crowd, time: Duration, stops_early: bool) -> Result<Outcome> {
    let mut ebpf = Ebpf::load_file(artifacts::storm()).context("storm.bpf.o")?;
    let random: [u64; 3] = rand::random();
    let mixing = Mixing::new(random);
    let mut storm: Array<_, Storm> = take(&mut ebpf, "STORM")?;
    storm.set(0, Storm { random, mask: u64::from(crowd.flows) - 1 }, 0)?;
    let mut keys: Array<_, StormKey> = take(&mut ebpf, "STORM_KEYS")?;
    for (flow, key) in (0..).zip(crowded(variant, crowd, &mixing)) {
        keys.set(flow, key, 0)?;
    }
    let findings: PerCpuArray<_, StormFindings> = take(&mut ebpf, "STORM_FINDINGS")?;
    let (table, words) = if variant.is_wide() { ("WIDE", Wide::WORDS) } else { ("NARROW", Narrow::WORDS) };
    let mapped = Mapped {
        table: mapped(&mut ebpf, table, words * PLACES * STORM_BUCKETS as usize)?,
        loads: mapped(&mut ebpf, "STORM_LOADS", (STORM_FLOWS * STORM_REALS + 1) as usize)?,
        limits: Limits::of(&Timeouts::DEFAULT),
    };
    let program: &mut Xdp =
        ebpf.program_mut(variant.program()).context("the object lacks a program")?.try_into()?;
    program.load().with_context(|| format!("the kernel refused {}", variant.program()))?;
    let program = &*program;

    let end = AtomicBool::new(false);
    let sum = || -> Result<Outcome> {
        let mut sum = Outcome::default();
        for cpu in findings.get(&0, 0)?.iter() {
            sum.packets += cpu.packets;
            sum.wrong += cpu.wrong;
            sum.unknown += cpu.unknown;
            for (sum, event) in sum.events.iter_mut().zip(cpu.events) {
                *sum += event;
            }
        }
        Ok(sum)
    };
    let deleted = thread::scope(|scope| -> Result<u64> {
        let runners: Vec<_> = (0..2)
            .map(|cpu| {
                scope.spawn({
                    let end = &end;
                    move || send(program, cpu, end)
                })
            })
            .collect();
        let sweeper = scope.spawn(|| {
            let sweep = if variant.is_wide() { sweep::<Wide> } else { sweep::<Narrow> };
            sweep(&mapped, crowd, &end)
        });
        let began = Instant::now();
        while began.elapsed() < time && !(stops_early && sum()?.wrong > 0) {
            thread::sleep(Duration::from_millis(20));
        }
        end.store(true, Ordering::Relaxed);
        for runner in runners {
            runner.join().expect("a runner does not panic")?;
        }
        Ok(sweeper.join().expect("the sweeper does not panic"))
    })?;
    let mut outcome = Outcome { deleted, ..sum()? };
    if variant.is_wide() {
        examine(&mapped, &mut outcome, |word, bucket, at| {
            Wide::of_entry(word, mapped.bucket::<Wide>(bucket), at, &mixing)
        });
    } else {
        examine(&mapped, &mut outcome, |word, bucket, _| {
            Narrow::of_entry(word, bucket, geometry()).expect("an entry is in a bucket of its flow")
        });
    }
    Ok(outcome)
}

/// Has the kernel verify a program, and returns what it tells about it.
///
/// # Errors
/// If the kernel refuses the program.
pub fn verified(program: &str) -> Result<ProgramInfo> {
    let mut ebpf = Ebpf::load_file(artifacts::storm()).context("storm.bpf.o")?;
    let xdp: &mut Xdp = ebpf.program_mut(program).context("the object lacks a program")?.try_into()?;
    xdp.load().with_context(|| format!("the kernel refused {program}"))?;
    Ok(xdp.info()?)
}

/// Returns flows whose buckets are among the first ones. Wide flows differ in the client only.
fn crowded(variant: Variant, crowd: Crowd, mixing: &Mixing) -> Vec<StormKey> {
    let geometry = geometry();
    let is_near = |key: &StormKey| {
        let hash = if variant.is_wide() { wide(mixing, key).hash() } else { narrow(mixing, key).hash() };
        geometry.first(hash) < crowd.buckets && geometry.second(hash) < crowd.buckets
    };
    let ports = |number: u64| if variant.is_wide() { 443 << 32 | 7 << 16 | 1024 } else { number % 50_021 };
    let key = |number: u64| StormKey { client: [0x20, number], ports: ports(number) };
    (0..).map(key).filter(is_near).take(crowd.flows as usize).collect()
}

const fn geometry() -> Geometry {
    Geometry::new(STORM_BUCKETS).expect("the number of buckets is right")
}

fn narrow(mixing: &Mixing, key: &StormKey) -> Narrow {
    Narrow::new(mixing, Be32(key.client[1] as u32), Be16(key.ports as u16), (key.ports >> 16) as u16)
}

fn wide(mixing: &Mixing, key: &StormKey) -> Wide {
    let [port, service, destination] = [0, 16, 32].map(|shift| (key.ports >> shift) as u16);
    Wide::new(mixing, Be128(key.client), Be16(port), service, Be16(destination))
}

/// Runs packets on a CPU until the end.
fn send(program: &Xdp, cpu: usize, end: &AtomicBool) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("cannot run on CPU {cpu}"))?;
    let frame = [0; 64];
    while !end.load(Ordering::Relaxed) {
        let options = TestRunOptions { data_in: Some(&frame), repeat: BATCH, ..TestRunOptions::default() };
        let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
        ensure!(result.return_value == 2, "the program ended with action {}", result.return_value);
    }
    Ok(())
}

/// Deletes entries at random until the end, and returns their number.
fn sweep<K: Key>(mapped: &Mapped, crowd: Crowd, end: &AtomicBool) -> u64 {
    let (mut deleted, mut random) = (0, 1_u64);
    while !end.load(Ordering::Relaxed) {
        for number in 0..crowd.buckets {
            for place in 0..PLACES {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if random >> 60 == 0
                    && let Some((_, entry)) = Entry::at_place::<K>(mapped.bucket::<K>(number), place)
                    && Table::<K>::replace(&mapped, &entry, Value::dead(0))
                {
                    deleted += 1;
                }
            }
        }
    }
    deleted
}

/// Compares the entries at rest with the loads.
fn examine<K: Key + PartialEq>(
    mapped: &Mapped,
    outcome: &mut Outcome,
    key: impl Fn(KeyWord, u32, usize) -> K,
) {
    let mut expected = vec![0_u64; mapped.loads.words().len()];
    let mut hashes = HashSet::new();
    for number in 0..STORM_BUCKETS {
        let bucket = mapped.bucket::<K>(number);
        for place in 0..PLACES {
            let at = K::place(place);
            let (word, value) = (KeyWord(bucket.load(at)), Value(bucket.load(K::value_at(at))));
            if word.is(Status::Empty) || word.is(Status::Live) && value.is_dead() {
                continue;
            }
            if !word.is(Status::Live) || word.generation() != value.generation() {
                outcome.unfinished += 1;
                continue;
            }
            outcome.live += 1;
            let load = &mut expected[value.real().0 as usize];
            *load = load.wrapping_add(value.load());
            outcome.twice += u64::from(!hashes.insert(key(word, number, at).hash()));
        }
    }
    let loads = mapped.loads.words().iter().map(|load| load.load(Ordering::Relaxed));
    outcome.off = loads.zip(expected).filter(|(load, expected)| load != expected).count() as u64;
}

/// Maps an array map into this process, which keeps it after the map is closed here.
fn mapped(ebpf: &mut Ebpf, name: &str, words: usize) -> Result<MappedArray> {
    let Some(Map::Array(map)) = ebpf.map(name) else { bail!("the object lacks the array {name}") };
    MappedArray::new(map.fd(), words).with_context(|| format!("cannot map {name}"))
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T> {
    let map = ebpf.take_map(name).with_context(|| format!("the object lacks the map {name}"))?;
    Ok(map.try_into()?)
}
