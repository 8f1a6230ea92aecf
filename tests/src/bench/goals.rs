// SPDX-License-Identifier: MIT OR Apache-2.0
//! The project's own goals for results, judged by medians of one run.

use std::collections::BTreeMap;

use lb_common::flow_table::{Key as _, Wide};

use super::{
    choice::{BASE, K, M},
    measure::Measured,
    report::Report,
    row::{Choice, Path, Row, Traffic, Version},
};

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The required property.
    pub goal: String,
    /// The row, or the set of rows.
    pub of: String,
    /// The measured value.
    pub figure: f64,
    /// Upper bound of the value.
    pub bound: f64,
    /// The origin of the bound.
    pub because: String,
}

impl Verdict {
    /// Returns whether the goal is met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.figure <= self.bound
    }
}

/// Nanoseconds by which nothing that is equal differs: two medians of one thing do by that much.
const NOISE: f64 = 3.0;

/// Looks results up.
struct Judge<'a> {
    rows: BTreeMap<Row, &'a Measured>,
    verdicts: Vec<Verdict>,
}

impl Judge<'_> {
    fn above(&self, row: Row) -> Option<f64> {
        self.rows.get(&row).map(|measured| measured.above.median)
    }

    fn floor(&self, row: Row, name: &str) -> Option<f64> {
        self.rows.get(&row)?.floors.get(name).map(|floor| floor.median)
    }

    /// Judges that a row costs at most `factor` times the cost of something else, and `more` nanoseconds.
    /// Rows that were not measured are not judged.
    fn at_most(&mut self, goal: &str, row: Row, what: &str, other: Option<f64>, factor: f64, more: f64) {
        if let (Some(figure), Some(other)) = (self.above(row), other) {
            let times =
                if (factor - 1.0).abs() > f64::EPSILON { format!("{factor} × ") } else { String::new() };
            let plus = if more > 0.0 { format!(" + {more}") } else { String::new() };
            let because = format!("{times}{what} {other:.1}{plus}");
            self.push(goal, row.to_string(), figure, factor.mul_add(other, more), because);
        }
    }

    fn push(&mut self, goal: &str, of: String, figure: f64, bound: f64, because: String) {
        self.verdicts.push(Verdict { goal: goal.to_owned(), of, figure, bound, because });
    }
}

/// Returns the verdicts on a report.
#[must_use]
pub fn judge(report: &Report) -> Vec<Verdict> {
    let rows = report.rows.iter().map(|measured| (measured.row, measured)).collect();
    let mut judge = Judge { rows, verdicts: Vec::new() };
    floors(&mut judge);
    methods(&mut judge);
    others(&mut judge);
    memory(&mut judge, report);
    judge.verdicts
}

/// Judges against the least that a balancer can do.
fn floors(judge: &mut Judge<'_>) {
    for flows in [1, K, 100 * K, M, 10 * M] {
        let row = BASE.flows(flows);
        let floor = judge.floor(row, "floor_slots");
        judge.at_most("dr with mh, any number of flows: the floor", row, "slot table", floor, 1.0, 0.0);
    }
    let few = judge.above(BASE);
    judge.at_most("1 M flows: 1.3 × 1 k", BASE.flows(M), "1 k flows", few, 1.3, 0.0);
    for (flows, factor) in [(K, 1.0), (10 * K, 0.7), (100 * K, 0.5), (M, 0.5), (10 * M, 0.45)] {
        let row = BASE.choice(Choice::Wrr).flows(flows);
        let floor = judge.floor(row, "floor_flows");
        let goal = "dr with wrr: a part of an LRU table, less for more flows";
        judge.at_most(goal, row, "LRU flow table", floor, factor, 0.0);
    }
    let row = BASE.choice(Choice::Wrr).traffic(Traffic::SynFlood);
    let floor = judge.floor(row, "floor_flows");
    judge.at_most("SYN flood with wrr: 0.6 × an LRU table", row, "LRU flow table", floor, 0.6, 0.0);
}

/// Judges against `dr`, and IPv6 against IPv4.
fn methods(judge: &mut Judge<'_>) {
    for flows in [K, 100 * K, M] {
        for version in [Version::V4, Version::V6] {
            let dr = BASE.version(version).flows(flows);
            let cost = judge.above(dr);
            judge.at_most("tun with mh: dr + 25 ns", dr.path(Path::Tun), "dr", cost, 1.0, 25.0);
            for path in [Path::Nat, Path::NatReply] {
                judge.at_most("nat with mh: dr + 40 ns", dr.path(path), "dr", cost, 1.0, 40.0);
            }
        }
    }
    for choice in [Choice::MhAuto, Choice::Wrr] {
        for path in [Path::Dr, Path::Tun, Path::Nat, Path::NatReply] {
            for flows in [K, 100 * K, M] {
                let four = BASE.path(path).choice(choice).flows(flows);
                let cost = judge.above(four);
                judge.at_most("IPv6: 1.25 × IPv4", four.version(Version::V6), "IPv4", cost, 1.25, 0.0);
            }
        }
    }
}

/// Judges packets of no service, SYN floods, and many services.
fn others(judge: &mut Judge<'_>) {
    for version in [Version::V4, Version::V6] {
        let base = BASE.version(version);
        let not_ip = base.traffic(Traffic::NotIp);
        judge.at_most("not IP: 15 ns", not_ip, "", Some(0.0), 1.0, 15.0);
        let lookup = judge.floor(BASE.traffic(Traffic::NotOurs), "floor_lookup");
        let not_ours = base.traffic(Traffic::NotOurs);
        judge.at_most("no packet of a service: one lookup", not_ours, "one hash lookup", lookup, 1.0, 0.0);
        for path in [Path::Dr, Path::Tun, Path::Nat] {
            // Of which as many parts of the tables are touched.
            let known = base.path(path).flows(M);
            let cost = judge.above(known);
            let flood = known.traffic(Traffic::SynFlood);
            judge.at_most("SYN flood with mh: as established", flood, "1 M established", cost, 1.0, NOISE);
            let known = known.choice(Choice::Wrr);
            let cost = judge.above(known);
            let flood = known.traffic(Traffic::SynFlood);
            judge.at_most("SYN flood with wrr: 2 × established", flood, "1 M established", cost, 2.0, 0.0);
        }
    }
    for flows in [K, 100 * K] {
        let one = BASE.pool(1, 16).flows(flows);
        let cost = judge.above(one);
        for traffic in [Traffic::OneService, Traffic::Established] {
            let many = one.pool(4096, 16).traffic(traffic);
            judge.at_most("4,096 services: 1.2 × one", many, "one service", cost, 1.2, 0.0);
        }
    }
}

fn memory(judge: &mut Judge<'_>, report: &Report) {
    let row = BASE.flows(M);
    if let Some(measured) = judge.rows.get(&row) {
        let tracked = f64::from(u32::try_from(measured.tracked).unwrap_or(u32::MAX));
        let goal = "entries for established flows with mh: none";
        judge.push(goal, row.to_string(), tracked, 0.0, "none".to_owned());
    }
    let entry = f64::from(u32::try_from(Wide::WORDS * size_of::<u64>()).unwrap_or(u32::MAX));
    let what = "entry of FLOWS".to_owned();
    judge.push("memory of a tracked flow: 32 bytes", what, entry, 32.0, String::new());
    for flood in &report.floods {
        let goal = "active flows that a SYN flood evicts: none";
        let of = format!("{} flows, {} SYNs, {}", flood.flows, flood.syns, flood.choice);
        judge.push(goal, of, f64::from(flood.lost), 0.0, "none".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stats::Spread;

    fn measured(row: Row, above: f64, floors: &[(&str, f64)]) -> Measured {
        let spread = |median| Spread { median, lower: median, upper: median };
        let floors = floors.iter().map(|(name, floor)| ((*name).to_owned(), spread(*floor))).collect();
        Measured { row, limit: spread(40.0), above: spread(above), floors, tracked: 0 }
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound_and_judged_only_if_measured() {
        let rows =
            vec![measured(BASE, 45.0, &[("floor_slots", 45.0)]), measured(BASE.path(Path::Tun), 70.1, &[])];
        let verdicts = judge(&Report { rows, ..Report::default() });
        let of = |row: Row| verdicts.iter().find(|v| v.of == row.to_string()).map(Verdict::is_met);
        assert_eq!(of(BASE), Some(true));
        assert_eq!(of(BASE.path(Path::Tun)), Some(false));
        assert_eq!(of(BASE.path(Path::Nat)), None);
    }
}
