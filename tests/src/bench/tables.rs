// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results as tables and as a plot, for docs/performance.md. Nothing there is typed by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    choice::BASE,
    goals::Verdict,
    measure::Measured,
    report::Report,
    row::{Choice, Path, Row, Traffic, Version},
};
use crate::plot::{Axes, Line, svg};

/// Formats the costs by method and their parts in Markdown, and the missed goals.
#[must_use]
pub fn markdown(report: &Report, verdicts: &[Verdict]) -> String {
    let Report { kernel, machine, rounds, packets, .. } = report;
    let limits: Vec<f64> = report.rows.iter().map(|measured| measured.limit.median).collect();
    let (least, most) =
        limits.iter().fold((f64::MAX, 0.0_f64), |(a, b), &limit| (a.min(limit), b.max(limit)));
    let mut page = format!(
        "{machine}; Linux {kernel}; medians of {rounds} rounds of {packets} packets.\n\
         Returning an unmodified packet takes {least:.0} to {most:.0} ns there; all figures below are in addition to that.\n"
    );
    page += &by_flows(report);
    page += &stages(report);
    page += &missed(verdicts);
    page
}

/// Formats all other rows, the floors and all goals, for a page of their own.
#[must_use]
pub fn details(report: &Report, verdicts: &[Verdict]) -> String {
    [others(report), floors(report), judged(verdicts)].concat().trim_start().to_owned()
}

/// Formats known flows and SYN floods: a line for each path, a column for each number of flows.
fn by_flows(report: &Report) -> String {
    let of: BTreeMap<Row, &Measured> = report.rows.iter().map(|measured| (measured.row, measured)).collect();
    let usual = |row: &&Row| (row.services, row.reals) == (BASE.services, BASE.reals);
    let known: BTreeSet<u32> = of
        .keys()
        .filter(usual)
        .filter(|row| row.traffic == Traffic::Established)
        .map(|row| row.flows)
        .collect();
    let mut page = "\n### ns above the limit, one service, 100 reals\n\n| | ".to_owned();
    for flows in &known {
        let _infallible = write!(page, "{} | ", short(*flows));
    }
    page += "SYN flood | short connections |\n|---|";
    page += &"---:|".repeat(known.len() + 2);
    page.push('\n');
    for version in Version::ALL {
        for choice in Choice::ALL {
            for path in Path::ALL {
                let row = BASE.version(*version).choice(*choice).path(*path);
                let once = [Traffic::SynFlood, Traffic::NewFlow].map(|traffic| row.traffic(traffic));
                let cells: Vec<Option<&&Measured>> = known
                    .iter()
                    .map(|flows| of.get(&row.flows(*flows)))
                    .chain(once.iter().map(|row| of.get(row)))
                    .collect();
                if cells.iter().any(Option::is_some) {
                    let _infallible = write!(page, "| `{path}` {choice} {version} | ");
                    for cell in cells {
                        page += &cell.map(|m| format!("{:.0}", m.above.median)).unwrap_or_default();
                        page += " | ";
                    }
                    page.truncate(page.trim_end().len());
                    page.push('\n');
                }
            }
        }
    }
    page
}

/// Formats the parts of the cost, as far as two rows differ in one respect.
fn stages(report: &Report) -> String {
    let cost = |row: Row| report.rows.iter().find(|measured| measured.row == row).map(|m| m.above.median);
    let dr = BASE;
    let tracked = dr.choice(Choice::Wrr);
    let many = |row: Row| row.flows(super::choice::M);
    let stages = [
        ("entering the program, and reading the EtherType", dr.traffic(Traffic::NotIp), None),
        ("`dr` as a whole: parsing, service, slot, real, rewriting, counting", dr, None),
        (
            "a packet of no service: parsing, and the lookups that exclude it",
            dr.traffic(Traffic::NotOurs),
            None,
        ),
        (
            "a service without reals: parsing, service, slot, and counting a reason",
            dr.traffic(Traffic::NoReal),
            None,
        ),
        ("`tun`: the outer header", dr.path(Path::Tun), Some(dr)),
        ("`nat`: addresses, ports, checksums, the return path", dr.path(Path::Nat), Some(dr)),
        (
            "replies of `nat`: the lookup of their service, and the same rewriting",
            dr.path(Path::NatReply),
            Some(dr),
        ),
        ("redirection to another interface", dr.redirected(), Some(dr)),
        ("IPv6: longer addresses", dr.version(Version::V6), Some(dr)),
        ("a tracked flow, 1 k flows: its entry is found", tracked, Some(dr)),
        ("a tracked flow, 1 M flows: its entry is not in the CPU's caches", many(tracked), Some(many(dr))),
        (
            "a new flow in a full table: an entry is added, and another one evicted",
            tracked.traffic(Traffic::SynFlood),
            Some(many(tracked)),
        ),
        ("an ICMP error about a flow", dr.traffic(Traffic::IcmpError), None),
    ];
    let mut page =
        "\n### What the cost is made of (IPv4, one service, 100 reals, 1 k flows)\n\n| | ns |\n|---|---:|\n"
            .to_owned();
    for (what, row, than) in stages {
        let more = than.map_or(Some(0.0), cost);
        if let (Some(whole), Some(rest)) = (cost(row), more) {
            let sign = if than.is_some() { "+" } else { "" };
            let _infallible = writeln!(page, "| {what} | {sign}{:.0} |", (whole - rest).max(0.0));
        }
    }
    page
}

/// Writes a text into a page, between the comments with the section's name; returns the text alone if there
/// is no such place.
#[must_use]
pub fn put(page: Option<String>, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let Some(page) = page else { return text.to_owned() };
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match parts {
        Some((before, after)) => format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()),
        None => text.to_owned(),
    }
}

/// Formats all other rows.
fn others(report: &Report) -> String {
    let mut page = "\n### Other rows\n\n| | ns above the limit | quartiles |\n|---|---:|---|\n".to_owned();
    let listed = [Traffic::Established, Traffic::SynFlood, Traffic::NewFlow];
    for Measured { row, above, .. } in &report.rows {
        let is_usual = (row.services, row.reals) == (BASE.services, BASE.reals) && !row.redirect;
        if is_usual && listed.contains(&row.traffic) {
            continue;
        }
        let _infallible =
            writeln!(page, "| {row} | {:.1} | {:.1} to {:.1} |", above.median, above.lower, above.upper);
    }
    page
}

fn floors(report: &Report) -> String {
    let mut page =
        "\n### Against the floors\n\n| | ns | floor | ns | ratio |\n|---|---:|---|---:|---:|\n".to_owned();
    for Measured { row, above, floors, .. } in &report.rows {
        for (name, floor) in floors {
            let ratio = above.median / floor.median;
            let _infallible =
                writeln!(page, "| {row} | {:.1} | {name} | {:.1} | {ratio:.2} |", above.median, floor.median);
        }
    }
    page
}

/// Formats the table of verdicts.
#[must_use]
pub fn judged(verdicts: &[Verdict]) -> String {
    format!("\n### Goals\n\n{}", table(verdicts))
}

/// Formats the number of goals that are met, and the table of the others.
fn missed(verdicts: &[Verdict]) -> String {
    let missed: Vec<Verdict> = verdicts.iter().filter(|verdict| !verdict.is_met()).cloned().collect();
    let met = verdicts.len() - missed.len();
    let mut page = format!("\n### Goals\n\n{met} of {} goals are met.", verdicts.len());
    if !missed.is_empty() {
        page += " The others:\n\n";
        page += &table(&missed);
    }
    page
}

fn table(verdicts: &[Verdict]) -> String {
    let mut page = "| goal | of | measured | at most | because | |\n|---|---|---:|---:|---|---|\n".to_owned();
    for verdict in verdicts {
        let Verdict { goal, of, figure, bound, because } = verdict;
        let word = if verdict.is_met() { "met" } else { "**missed**" };
        let _infallible = writeln!(page, "| {goal} | {of} | {figure:.1} | {bound:.1} | {because} | {word} |");
    }
    page
}

/// Formats a number of flows: 1, 1 k, 1 M.
fn short(flows: u32) -> String {
    match flows {
        0 => "once".to_owned(),
        1..1000 => flows.to_string(),
        1000..1_000_000 => format!("{} k", flows / 1000),
        _ => format!("{} M", flows / 1_000_000),
    }
}

/// Plots the cost by number of flows.
#[must_use]
pub fn plot(report: &Report) -> String {
    const COLOURS: [&str; 8] =
        ["#1e8449", "#2471a3", "#c0392b", "#e67e22", "#7d3c98", "#17202a", "#909497", "#d4ac0d"];
    let curve = |name: String, pick: &dyn Fn(&Measured) -> Option<f64>| {
        let points: BTreeMap<u32, f64> =
            report.rows.iter().filter_map(|m| Some((m.row.flows, pick(m)?))).collect();
        let points = points.into_iter().map(|(flows, cost)| (f64::from(flows).log10(), cost)).collect();
        Line { name, colour: "", points }
    };
    let ways = [
        (Path::Dr, Choice::MhAuto),
        (Path::Tun, Choice::MhAuto),
        (Path::Nat, Choice::MhAuto),
        (Path::NatReply, Choice::MhAuto),
        (Path::Dr, Choice::Wrr),
    ];
    let mut lines: Vec<Line> = ways
        .into_iter()
        .map(|(path, choice)| {
            let row = BASE.path(path).choice(choice);
            curve(format!("{path} {choice}"), &|m| {
                (m.row == row.flows(m.row.flows)).then_some(m.above.median)
            })
        })
        .collect();
    for (name, choice) in [("floor_slots", Choice::MhAuto), ("floor_flows", Choice::Wrr)] {
        let row = BASE.choice(choice);
        lines.push(curve(name.to_owned(), &|m| {
            (m.row == row.flows(m.row.flows)).then(|| m.floors.get(name).map(|floor| floor.median))?
        }));
    }
    lines.retain(|line| !line.points.is_empty());
    for (line, colour) in lines.iter_mut().zip(COLOURS) {
        line.colour = colour;
    }
    let most = lines.iter().flat_map(|line| &line.points).fold(100.0_f64, |most, (_, cost)| most.max(*cost));
    let marks: Vec<f64> = (0..=5).map(|n| f64::from(n) * (most / 500.0).ceil() * 100.0).collect();
    let axes = Axes {
        title: "What a packet costs the director (IPv4, known flows)",
        x: "flows that take turns, as a power of ten",
        y: "ns above XDP_TX",
        x_marks: &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        y_marks: &marks,
    };
    svg(&axes, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missed_goals_are_in_the_summary() {
        let verdict = |goal: &str, figure| Verdict {
            goal: goal.to_owned(),
            of: "row".to_owned(),
            figure,
            bound: 2.0,
            because: "floor".to_owned(),
        };
        let (fast, slow) = (verdict("fast", 1.0), verdict("slow", 3.0));
        let page = missed(&[fast.clone(), slow.clone()]);
        assert!(
            page.contains("1 of 2 goals are met") && page.contains("| slow |") && !page.contains("| fast |")
        );
        assert!(missed(std::slice::from_ref(&fast)).ends_with("1 of 1 goals are met."));
        let page = details(&Report::default(), &[fast, slow]);
        assert!(page.contains("| fast |") && page.contains("| slow |"), "{page}");
    }

    #[test]
    fn a_page_keeps_what_is_around_a_text() {
        let page = "above\n<!-- rows -->\nold\n<!-- /rows -->\nbelow\n".to_owned();
        assert_eq!(put(Some(page), "rows", "new\n"), "above\n<!-- rows -->\nnew\n<!-- /rows -->\nbelow\n");
        assert_eq!(put(Some("nothing".to_owned()), "rows", "new\n"), "new\n");
        assert_eq!(put(None, "rows", "new\n"), "new\n");
    }
}
