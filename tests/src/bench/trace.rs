// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cost of a packet while `xvs trace` runs: the tracing build beside the ordinary programs, over the same maps.

use std::{fmt::Write as _, path::Path as File, time::Duration};

use anyhow::{Result, ensure};
use aya::programs::ProgramFd;
use lb_common::{reason::Reason, schema::SampleFilter, wire::Be128};
use lb_dataplane::SampleReader;
use serde::{Deserialize, Serialize};

use super::{
    check,
    choice::{BASE, K},
    frame::{self, Part},
    measure::{Effort, warm},
    plane::Plane,
    report::Report,
    row::{Path, Row, Version},
    stats::Spread,
    trampoline::Trampoline,
};
use crate::packet::net::INGRESS;

/// Number of bytes of a frame that the daemon has copied for the headers.
const HEADERS: u32 = 256;
/// The gate stays open for a measurement.
const LEASE: Duration = Duration::from_hours(1);
/// Nanoseconds between two samples.
const INTERVAL: u64 = 1_000_000;

/// The costs of a row above sending packets back, in nanoseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Traced {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// The ordinary programs.
    pub ordinary: Spread,
    /// The tracing build, when a filter selects no packet.
    pub unselected: Spread,
    /// The tracing build, when all packets are selected, of which one per millisecond is sampled.
    pub sampled: Spread,
}

/// The results of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Results {
    /// The machine, and the effort.
    #[serde(flatten)]
    pub report: Report,
    /// The rows.
    pub traced: Vec<Traced>,
}

/// Measures some rows.
pub fn measure(object: &File, effort: Effort) -> Result<Results> {
    let row = |path, version| BASE.path(path).version(version).flows(K);
    let mut rows: Vec<Row> =
        [Path::Dr, Path::Tun, Path::Nat, Path::NatReply].map(|path| row(path, Version::V4)).into();
    rows.push(row(Path::Dr, Version::V6));
    let traced = rows.iter().map(|row| measure_row(object, effort, row)).collect::<Result<_>>()?;
    Ok(Results { report: Report::here(effort.rounds, effort.packets), traced })
}

/// Formats the results as a table.
#[must_use]
pub fn markdown(results: &Results) -> String {
    let Report { kernel, machine, rounds, packets, .. } = &results.report;
    let mut page = format!(
        "{machine}, Linux {kernel}; medians of {rounds} rounds of {packets} packets of 64 bytes (IPv6: 80), in \
         nanoseconds above a program that sends each packet back.\n\n\
         | packets | no trace | trace that selects none | trace of all, 1 sample per ms | more per packet |\n\
         |---|---:|---:|---:|---:|\n"
    );
    for Traced { row, ordinary, unselected, sampled } in &results.traced {
        let Row { path, version, .. } = row;
        let more = unselected.median.max(sampled.median) - ordinary.median;
        let _infallible = writeln!(
            page,
            "| {path} {version} | {:.1} | {:.1} | {:.1} | {more:.1} |",
            ordinary.median, unselected.median, sampled.median
        );
    }
    page
}

fn measure_row(object: &File, effort: Effort, row: &Row) -> Result<Traced> {
    let mut trampoline = Trampoline::load(object, row)?;
    let limit = trampoline.own("limit")?;
    let mut plane = Plane::pinned(&row.setup(), row.flows, INGRESS)?;
    let ordinary = plane.director()?;
    let (tracing, mut reader) = plane.tracing()?;
    reader.open(HEADERS, LEASE)?;
    warm(&mut trampoline, row, &limit)?;
    warm(&mut trampoline, row, &ordinary)?;
    let (sender, mut order) = frame::order(row, Part::Measured);
    let packets = effort.packets - effort.packets % order.packets;
    let (mut of_ordinary, mut of_unselected, mut of_sampled) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up the programs that were just loaded.
    for round in 0..=effort.rounds {
        let mut cost = |plane: &mut Plane, program: &ProgramFd| -> Result<f64> {
            let before = plane.counts()?;
            let sent = trampoline.send(sender, &mut order, program, packets)?;
            check::counted(row, packets, &plane.counts()?.since(&before))?;
            Ok(sent.each)
        };
        let ordinary = cost(&mut plane, &ordinary)?;
        reader.begin(0, &nobody())?;
        let unselected = cost(&mut plane, &tracing)?;
        is_selected(&mut reader, 0)?;
        reader.begin(0, &all())?;
        let sampled = cost(&mut plane, &tracing)?;
        is_selected(&mut reader, packets.into())?;
        let limit = trampoline.send(sender, &mut order, &limit, packets)?.each;
        if round > 0 {
            of_ordinary.push(ordinary - limit);
            of_unselected.push(unselected - limit);
            of_sampled.push(sampled - limit);
        }
    }
    Ok(Traced {
        row: *row,
        ordinary: Spread::of(&of_ordinary),
        unselected: Spread::of(&of_unselected),
        sampled: Spread::of(&of_sampled),
    })
}

/// Checks the number of packets that the filter has selected, and empties the buffer.
fn is_selected(reader: &mut SampleReader, packets: u64) -> Result<()> {
    let samples = std::iter::from_fn(|| reader.next_sample()).count();
    let counts = reader.counts(0)?;
    ensure!(
        counts.selected == packets && counts.lost == 0,
        "{counts:?} instead of {packets} selected packets"
    );
    ensure!((samples > 0) == (packets > 0), "{samples} samples of {packets} packets");
    Ok(())
}

/// Returns the filter of a trace of all packets.
fn all() -> SampleFilter {
    SampleFilter {
        interval: INTERVAL,
        burst: INTERVAL,
        reasons: SampleFilter::bits(Reason::ALL),
        snaplen: HEADERS,
        ..SampleFilter::default()
    }
}

/// Returns the filter of a trace of a client that sends nothing.
fn nobody() -> SampleFilter {
    SampleFilter { client: Be128([u64::MAX; 2]), client_mask: Be128([u64::MAX; 2]), ..all() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_larger_difference() {
        let of = |value| Spread::of(&[value]);
        let traced = Traced { row: BASE, ordinary: of(50.0), unselected: of(80.0), sampled: of(82.5) };
        let page = markdown(&Results { report: Report::default(), traced: vec![traced] });
        assert!(page.ends_with("| dr v4 | 50.0 | 80.0 | 82.5 | 32.5 |\n"), "{page}");
    }
}
