// SPDX-License-Identifier: MIT OR Apache-2.0
//! Summary of the lines that are not carried over: one line per block, the worst first.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use super::{Imported, Kind, Left, Place};

/// Number of different words or reasons that a line names.
const NAMED: usize = 6;

/// Returns a line for each block with lines that are not carried over.
#[must_use]
pub fn summary(imported: &Imported) -> Vec<String> {
    // Lines outside of blocks are combined, by file.
    let mut blocks: BTreeMap<(Place, Option<&str>), Vec<&Left>> = BTreeMap::new();
    for left in &imported.left {
        let key = match &left.block {
            Some(block) => (block.place.clone(), Some(block.text.as_str())),
            None => (Place { file: Arc::clone(&left.place.file), line: 0 }, None),
        };
        blocks.entry(key).or_default().push(left);
    }
    let mut lines: Vec<(Kind, String)> = Vec::new();
    for ((place, name), left) in blocks {
        let kinds: BTreeSet<Kind> = left.iter().map(|left| left.kind).collect();
        let Some(worst) = kinds.first().copied() else { continue };
        let file = place.file.display();
        let parts: Vec<String> = kinds.into_iter().filter_map(|kind| part(kind, name, &left)).collect();
        let line = match name {
            Some(name) => format!("{file}:{}: {name}: {}", place.line, parts.join("; ")),
            None => format!("{file}: {}", parts.join("; ")),
        };
        lines.push((worst, line));
    }
    lines.sort_by_key(|(worst, _)| *worst);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Returns the summary of one kind of loss in a block.
fn part(kind: Kind, block: Option<&str>, left: &[&Left]) -> Option<String> {
    let lost = left.iter().any(|left| left.kind == Kind::Service);
    let mut of_kind: Vec<&&Left> = left.iter().filter(|left| left.kind == kind).collect();
    let first = *of_kind.first()?;
    let lines = of_kind.len();
    Some(match (kind, block) {
        // The service is lost with all of its lines: one reason is enough.
        (Kind::Service, Some(_)) => match of_kind.iter().find(|left| is_head(left)) {
            Some(head) if lines > 1 => format!("{} ({lines} lines)", head.why),
            Some(head) => head.why.clone(),
            None => some(distinct(of_kind.iter().map(|left| left.why.clone()))),
        },
        (Kind::Real, Some(_)) if lost => return None,
        (Kind::Real, Some(_)) => {
            // The real's own line has its name.
            of_kind
                .retain(|left| left.text.starts_with("real_server") || left.text.starts_with("sorry_server"));
            let named = |left: &&&Left| {
                let name = left.text.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
                format!("{name}: {}", left.why)
            };
            match of_kind.len() {
                0 => format!("{}: {}", first.text, first.why),
                1 => format!("real {}", named(&of_kind[0])),
                count => format!("{count} reals ({})", some(of_kind.iter().map(named))),
            }
        }
        (Kind::Health | Kind::Setting, Some(_)) if lines == 1 => format!("{}: {}", first.text, first.why),
        (Kind::Health, Some(_)) => format!("health checks ({})", reasons(&of_kind)),
        (Kind::Setting, Some(_)) => format!(
            "{lines} settings ({})",
            some(of_kind.iter().map(|left| format!("{}: {}", left.text, left.why)))
        ),
        (Kind::Rest, Some(_)) if lines == 1 => first.why.clone(),
        (Kind::Rest, Some(_)) => format!("{} ({lines} lines)", first.why),
        (_, None) if lines == 1 => format!("line {}: {}: {}", first.place.line, first.text, first.why),
        (_, None) => {
            format!("{lines} lines, such as line {}: {}: {}", first.place.line, first.text, first.why)
        }
    })
}

/// Returns whether this is the first line of its block.
fn is_head(left: &Left) -> bool {
    left.block.as_ref().is_some_and(|block| block.place == left.place)
}

/// Returns each item of a list once, in order.
fn distinct(all: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut seen = BTreeSet::new();
    all.filter(move |one| seen.insert(one.clone()))
}

/// Returns each reason in lines with the first words of its lines: of many equal reals, one reason remains.
fn reasons(left: &[&&Left]) -> String {
    let whys: Vec<String> = distinct(left.iter().map(|left| left.why.clone())).collect();
    some(whys.into_iter().map(|why| {
        let lines: Vec<&&Left> = left.iter().filter(|left| left.why == why).copied().collect();
        format!("{}: {why}", counted(&lines))
    }))
}

/// Returns the first words of lines, with counts.
fn counted(left: &[&&Left]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for left in left {
        let word = left.text.split_whitespace().next().unwrap_or_default();
        match counts.iter_mut().find(|(other, _)| *other == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    some(counts.into_iter().map(
        |(word, count)| {
            if count > 1 { format!("{count} × {word}") } else { word.to_owned() }
        },
    ))
}

/// Returns the first items of a list.
fn some(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    let more = all.len().saturating_sub(NAMED);
    let mut text = all.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}
