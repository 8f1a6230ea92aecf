// SPDX-License-Identifier: MIT OR Apache-2.0
//! Speed of the daemon, and memory of services, reals and flows.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, hint,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::{
    flow_table::{
        self, Event, Geometry, Inserted, Key as _, Mixing, NARROW_WORDS, Narrow, Newcomer, Pair, Phase, Seen,
        Shape, Table as _, Value,
    },
    ids::RealId,
    schema::{BLOCK, Load, Timeouts},
    wire::{Be16, Be32},
};
use lb_dataplane::{DataPlane, Limits, Options};
use lb_schedule::{Entry, maglev};
use serde::{Deserialize, Serialize};

use super::{stats::Spread, trampoline::cpu_time};
use crate::{
    lab::{Director, Lab, Process, RIPS, Server, VIP},
    object,
};

/// Something that was measured once or a few times.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figure {
    /// The measured quantity.
    pub what: String,
    /// The value.
    pub figure: f64,
    /// Unit of the value.
    pub unit: String,
    /// The upper bound of the value, if there is one.
    pub at_most: Option<f64>,
}

impl Figure {
    fn new(what: impl Into<String>, figure: f64, unit: &str, at_most: Option<f64>) -> Self {
        Self { what: what.into(), figure, unit: unit.to_owned(), at_most }
    }
}

/// Formats the figures as a table.
#[must_use]
pub fn markdown(figures: &[Figure]) -> String {
    let mut page = "| | measured | | at most | |\n|---|---:|---|---:|---|\n".to_owned();
    for Figure { what, figure, unit, at_most } in figures {
        let bound = at_most.map(|bound| bound.to_string()).unwrap_or_default();
        let word = match at_most {
            None => "",
            Some(bound) if figure <= bound => "met",
            Some(_) => "**missed**",
        };
        let _infallible = writeln!(page, "| {what} | {figure:.2} | {unit} | {bound} | {word} |");
    }
    page
}

/// Measures all figures.
pub fn measure() -> Result<Vec<Figure>> {
    let mut figures = tables()?;
    figures.push(sweep()?);
    figures.extend(memory()?);
    figures.extend(daemon()?);
    figures.extend(start()?);
    Ok(figures)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Measures a Maglev table of 1,000 reals: its computation, and the replacement of another table.
fn tables() -> Result<Vec<Figure>> {
    let pool: Vec<Entry> = (1..=1000)
        .map(|id: u32| Entry {
            id: RealId(id),
            address: SocketAddr::new(Ipv4Addr::from_bits(0x0a70_0000 + id).into(), 80),
            weight: 1,
        })
        .collect();
    object::provide();
    let mut plane = DataPlane::load(&Options::default())?;
    let (mut build, mut swap) = (Vec::new(), Vec::new());
    let mut slots = 0;
    for _ in 0..21 {
        let began = Instant::now();
        let table = hint::black_box(maglev::table(hint::black_box(&pool)));
        let entries: Vec<u32> = table.iter().map(|real| real.0).collect();
        build.push(milliseconds(began.elapsed()));
        slots = table.len();
        let began = Instant::now();
        plane.tables().put_table(1, &entries)?;
        swap.push(milliseconds(began.elapsed()));
    }
    let (build, swap) = (Spread::of(&build).median, Spread::of(&swap).median);
    let what = format!("a Maglev table of 1,000 reals, {slots} slots");
    Ok(vec![
        Figure::new(format!("{what}: built and written"), build + swap, "ms", Some(2.0)),
        Figure::new(format!("{what}: built"), build, "ms", None),
        Figure::new(format!("{what}: written, in blocks of {BLOCK}"), swap, "ms", None),
    ])
}

/// Measures a pass over a million flows in an exact flow table ([`lb_common::flow_table`]) of two million places: the
/// keys, the expired flows and the load of each real.
fn sweep() -> Result<Figure> {
    const FLOWS: u32 = 1_000_000;
    const REALS: u32 = 100;
    let shape = Shape {
        mixing: Mixing::new(rand::random()),
        geometry: Geometry::new(1 << 18).context("a power of two")?,
        limits: flow_table::Limits::of(&Timeouts::DEFAULT),
        replaced: Geometry::default(),
    };
    let table = Table { words: vec![0; NARROW_WORDS << 18].into_iter().map(AtomicU64::new).collect(), shape };
    for flow in 0..FLOWS {
        let key = Narrow::new(&shape.mixing, Be32(flow), Be16(flow as u16), 1);
        let value = Value::new(RealId(flow % REALS + 1), Seen::default(), Phase::Established);
        let added = (&table).insert(table.pair(key), &key, value, Seen::default(), Newcomer::Unproven);
        ensure!(added == Inserted::Added, "a table that is half full has no place: {added:?}");
    }
    let mut times = Vec::new();
    for _ in 0..11 {
        let began = cpu_time()?;
        let mut loads = [0_u64; REALS as usize + 1];
        let (mut sum, mut over) = (0_u64, 0);
        for (key, entry) in flow_table::scan::<Narrow>(&table.words, &shape) {
            let value = entry.value();
            loads[value.real().0 as usize] += value.load();
            over += u32::from(value.is_over(&shape.limits, Seen::default(), 0));
            sum += u64::from(key.parts(&shape.mixing).0.0);
        }
        times.push(milliseconds(cpu_time()?.saturating_sub(began)));
        let all = u64::from(FLOWS);
        ensure!(
            sum == all * (all - 1) / 2 && over == 0 && loads[1..].iter().sum::<u64>() == all * Load::ACTIVE,
            "a pass did not see each flow once"
        );
    }
    Ok(Figure::new(
        "CPU time of a pass over a million flows of the exact flow table",
        Spread::of(&times).median,
        "ms",
        Some(20.0),
    ))
}

/// An exact flow table in memory.
struct Table {
    words: Vec<AtomicU64>,
    shape: Shape,
}

impl Table {
    fn pair(&self, key: Narrow) -> Pair<&[AtomicU64]> {
        let bucket = |number: u32| &self.words[number as usize * NARROW_WORDS..][..NARROW_WORDS];
        let (hash, geometry) = (key.hash(), self.shape.geometry);
        Pair { first: bucket(geometry.first(hash)), second: bucket(geometry.second(hash)), line: key.line() }
    }
}

impl<'a> flow_table::Table<Narrow> for &'a Table {
    type Bucket = &'a [AtomicU64];

    fn limits(&self) -> &flow_table::Limits {
        &self.shape.limits
    }

    fn add_load(&self, _: RealId, _: u64) {}

    fn count(&self, _: Event) {}
}

/// Measures the kernel memory of maps, by the difference of two sizes.
fn memory() -> Result<Vec<Figure>> {
    let small = Limits { services: 512, reals: 8192, flows: 1 << 16, flows6: 1 << 16, flow_places: None };
    let before = maps_of(&small)?;
    let of =
        |limits: Limits, more: u32| Ok::<_, anyhow::Error>((maps_of(&limits)? - before) / f64::from(more));
    let more = 1 << 18;
    let services = of(Limits { services: small.services + 1024, ..small }, 1024)?;
    let reals = of(Limits { reals: small.reals + 16_384, ..small }, 16_384)?;
    let flows = of(Limits { flows: small.flows + more, ..small }, more)?;
    let flows6 = of(Limits { flows6: small.flows6 + more, ..small }, more)?;
    let begun = Limits::default().begun();
    let defaults = maps_of(&begun)? / f64::from(1 << 20);
    let full = maps_of(&Limits::default())? / f64::from(1 << 20);
    let figure = |what: &str, figure, unit| Figure::new(format!("kernel memory {what}"), figure, unit, None);
    Ok(vec![
        figure("of all maps, default sizes", defaults, "MiB"),
        figure("of all maps, default sizes, with as many flows as are permitted", full, "MiB"),
        figure("for one more service", services, "bytes"),
        figure("for one more real", reals, "bytes"),
        figure("for one more IPv4 flow, with its share of other tables", flows, "bytes"),
        figure("for one more IPv6 flow, with its share of other tables", flows6, "bytes"),
    ])
}

/// Bytes of all maps of a data plane of those sizes, as the kernel counts them.
fn maps_of(limits: &Limits) -> Result<f64> {
    object::provide();
    let plane = DataPlane::load(&Options { limits: *limits, ..Options::default() })?;
    let mut seen = BTreeSet::new();
    let mut bytes = 0.0;
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        if let (Some(id), Some(memory)) = (of("map_id:"), of("memlock:"))
            && seen.insert(id.to_owned())
        {
            bytes += memory.parse::<f64>()?;
        }
    }
    drop(plane);
    Ok(bytes)
}

const SERVICES: u16 = 4096;
const REALS: usize = 16;
const FIRST_PORT: u16 = 10_000;

/// Returns a config with `services` services, each with `reals` reals of its own.
fn config(services: u16, reals: usize) -> String {
    let mut text = String::new();
    let mut real = 0;
    for number in 0..services {
        let address = SocketAddrV4::new(VIP, FIRST_PORT + number);
        let _infallible = write!(text, "[[service]]\nprotocol = \"tcp\"\naddress = \"{address}\"\n");
        for _ in 0..reals {
            let (rip, port) = (RIPS[real % RIPS.len()], usize::from(FIRST_PORT) + real / RIPS.len());
            let _infallible =
                write!(text, "[[service.real]]\naddress = \"{rip}:{port}\"\nforward = \"nat\"\n");
            real += 1;
        }
    }
    text
}

/// Measures the largest config in a running daemon.
fn daemon() -> Result<Vec<Figure>> {
    let lab = Lab::new();
    let director = &lab.director;
    let sizes = director.path("sizes.toml");
    fs::write(&sizes, "[director]\nmax-services = 4096\nmax-reals = 65536\n")?;
    let all = director.path("all.toml");
    fs::write(&all, config(SERVICES, REALS))?;
    let daemon = director.start_daemon_with(&format!("--config {}", sizes.display()));
    let before = resident(&daemon)?;
    let timed = |line: &str| {
        let began = Instant::now();
        director.xvs(line).succeeds();
        milliseconds(began.elapsed())
    };
    let apply = timed(&format!("apply {}", all.display()));
    director.wait_for_next_hops();
    let grown = resident(&daemon)? - before;
    let edit = timed(&format!("real edit tcp {VIP}:{FIRST_PORT} {}:{FIRST_PORT} --weight 50", RIPS[0]));
    let mut scrapes = Vec::new();
    let mut length = 0;
    for _ in 0..5 {
        let began = Instant::now();
        length = director.metrics().len();
        scrapes.push(milliseconds(began.elapsed()));
    }
    let reals = f64::from(SERVICES) * f64::from(u32::try_from(REALS)?);
    let page = f64::from(u32::try_from(length)?) / f64::from(1 << 20);
    Ok(vec![
        Figure::new("apply of 4,096 services with 16 reals each", apply, "ms", Some(1000.0)),
        Figure::new("a change of one weight among them", edit, "ms", None),
        Figure::new("a scrape of 65,536 reals", Spread::of(&scrapes).median, "ms", Some(200.0)),
        Figure::new("size of the page", page, "MiB", None),
        Figure::new(
            "memory of the daemon per real, with its share of the service",
            grown / reals,
            "bytes",
            None,
        ),
    ])
}

/// Bytes that a process has in memory.
fn resident(process: &Process) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

/// Measures the time from the start of a daemon with 1,000 services to the first answer to a client.
fn start() -> Result<Vec<Figure>> {
    const MANY: u16 = 1000;
    let lab = Lab::new();
    let director = &lab.director;
    let _greeters = lab.reals.each_ref().map(|real| Server::greeter_at_all(real, 10_000..=20_000));
    // A client that asks before the VIP is there would not ask for its Ethernet address again for a second.
    lab.client
        .sh(&format!("ip neighbour replace {VIP} lladdr 02:00:c0:00:02:01 dev eth0 nud permanent"))
        .succeeds();
    let all = director.path("all.toml");
    fs::write(&all, format!("[director]\nmax-services = 1024\n{}", config(MANY, 3)))?;
    let options = format!("--config {}", all.display());
    let (first, mut daemon) = until_answered(&lab, director, &options)?;
    // The programs of a killed daemon stay attached. After a detach, the next daemon starts from scratch,
    // with a state file.
    daemon.stop();
    director.detach();
    let (again, _daemon) = until_answered(&lab, director, &options)?;
    let figure = |what: &str, figure| {
        Figure::new(
            format!("from start to the first answer, 1,000 services, {what}"),
            figure,
            "ms",
            Some(300.0),
        )
    };
    Ok(vec![figure("first start", first), figure("after `xvs detach`", again)])
}

fn until_answered(lab: &Lab, director: &Director, options: &str) -> Result<(f64, Process)> {
    let began = Instant::now();
    let daemon = director.start_daemon_at_once(options);
    let service = SocketAddr::from(SocketAddrV4::new(VIP, FIRST_PORT));
    let answered = lab.client.run(|| {
        while began.elapsed() < Duration::from_secs(30) {
            if TcpStream::connect_timeout(&service, Duration::from_millis(10)).is_ok() {
                return Some(began.elapsed());
            }
        }
        None
    });
    match answered {
        Some(elapsed) => Ok((milliseconds(elapsed), daemon)),
        None => bail!("the first service of a daemon does not answer:\n{}", daemon.log()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_without_a_bound_is_not_judged() {
        let page = markdown(&[
            Figure::new("a", 1.0, "ms", Some(2.0)),
            Figure::new("b", 3.0, "ms", Some(2.0)),
            Figure::new("c", 3.0, "ms", None),
        ]);
        assert!(
            page.contains("| a | 1.00 | ms | 2 | met |")
                && page.contains("| b | 3.00 | ms | 2 | **missed** |"),
            "{page}"
        );
        assert!(page.contains("| c | 3.00 | ms |  |  |"), "{page}");
    }
}
