// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deliberate differences, as the tables of docs/migrate.md list them.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../../docs/migrate.md");

/// Returns the cases in the first column of the table under a heading: `h02` or `258-288`, with commas
/// between.
pub fn listed(heading: &str) -> BTreeSet<String> {
    let (_, section) =
        PAGE.split_once(&format!("### {heading}\n")).expect("the heading is in docs/migrate.md");
    let section = section.split("\n#").next().unwrap_or(section);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cell = |row: &str| row.split('|').nth(1).unwrap_or_default().to_owned();
    rows.flat_map(|row| cell(row).split(',').flat_map(cases).collect::<Vec<_>>()).collect()
}

fn cases(text: &str) -> Vec<String> {
    let text = text.trim();
    let number = |text: &str| text.trim().parse::<usize>().ok();
    match text.split_once('-').and_then(|(first, last)| Some(number(first)?..=number(last)?)) {
        Some(range) => range.map(|case| case.to_string()).collect(),
        None => vec![text.to_owned()],
    }
}
