// SPDX-License-Identifier: MIT OR Apache-2.0
//! Columns of the screen: which fit, and how wide they are.
#![forbid(unsafe_code)]

use super::{rows::service_word, view::View};
use crate::api::live::{LiveReal, LiveService, Load};

/// A column: its name, its least width, whether it is a number, and its rank. Columns of high rank are left out on
/// narrow screens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub name: &'static str,
    pub width: usize,
    pub is_number: bool,
    rank: u8,
}

const fn text(name: &'static str, width: usize, rank: u8) -> Column {
    Column { name, width, is_number: false, rank }
}

const fn number(name: &'static str, width: usize, rank: u8) -> Column {
    Column { name, width, is_number: true, rank }
}

/// Columns of services. The second one takes the remaining width.
pub(super) const SERVICES: [Column; 10] = [
    text("STATE", 10, 0),
    text("SERVICE", 16, 0),
    text("SCHED", 5, 9),
    number("SERVING", 7, 4),
    number("NEW/S", 5, 3),
    number("IN P/S", 6, 1),
    number("IN B/S", 7, 5),
    number("OUT P/S", 7, 7),
    number("OUT B/S", 7, 6),
    number("ACTIVE", 6, 2),
];

/// Columns of reals. The second one takes the remaining width.
pub(super) const REALS: [Column; 12] = [
    text("STATE", 11, 0),
    text("REAL", 16, 0),
    text("HOW", 5, 9),
    number("WEIGHT", 6, 5),
    number("NEW/S", 5, 3),
    number("IN P/S", 6, 1),
    number("IN B/S", 7, 6),
    number("OUT P/S", 7, 8),
    number("OUT B/S", 7, 7),
    number("ACTIVE", 6, 2),
    number("SINCE", 5, 10),
    text("LAST RESULT", 16, 4),
];

/// Space between columns.
pub(super) const GAP: usize = 1;

/// Returns the numbers of the columns that fit into a width, and the width of each. The column `NAME` gets what is
/// left, up to `name`; the last text column gets the rest.
pub(super) fn fit(all: &[Column], width: usize, name: usize) -> Vec<(usize, usize)> {
    /// Number of the column that grows.
    const NAME: usize = 1;
    let mut shown: Vec<usize> = (0..all.len()).collect();
    let needed = |shown: &[usize]| -> usize {
        shown.iter().map(|column| all[*column].width).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    let want = name.saturating_sub(all[NAME].width);
    // A name that is cut is worse than a missing column of high rank.
    while needed(&shown) + want > width && shown.iter().any(|column| all[*column].rank > 3)
        || needed(&shown) > width && shown.len() > NAME + 1
    {
        let Some(worst) = (0..shown.len()).max_by_key(|place| all[shown[*place]].rank) else { break };
        shown.remove(worst);
    }
    let left = width.saturating_sub(needed(&shown));
    let last = shown.last().copied().filter(|column| !all[*column].is_number).unwrap_or(NAME);
    let for_name = if last == NAME { left } else { left.min(want) };
    let widths = shown.iter().map(|column| {
        let own = all[*column].width;
        let more = match *column {
            NAME => for_name,
            column if column == last => left - for_name,
            _ => 0,
        };
        (*column, (own + more).min(width))
    });
    widths.collect()
}

/// Returns the texts of the rates, in the order of the columns.
fn rates(view: &View, load: &Load) -> [String; 6] {
    let units = view.units;
    [
        units.count(load.connections),
        units.count(load.packets_in),
        units.bytes(load.bytes_in),
        units.count(load.packets_out),
        units.bytes(load.bytes_out),
        load.active.map_or_else(|| "-".to_owned(), |active| units.count(active)),
    ]
}

/// Returns the cells of a service.
pub(super) fn service(view: &View, service: &LiveService) -> Vec<String> {
    let word = service_word(service);
    let mut cells = vec![
        format!("{} {word}", symbol(word)),
        service.name.clone(),
        service.scheduler.clone(),
        format!("{}/{}", service.state.serving, service.reals.len()),
    ];
    cells.extend(rates(view, &service.load));
    cells
}

/// Returns the cells of a real.
pub(super) fn real(view: &View, real: &LiveReal) -> Vec<String> {
    let state = &real.state;
    let weight = if state.weight == state.effective_weight {
        state.weight.to_string()
    } else {
        format!("{}/{}", state.effective_weight, state.weight)
    };
    let backup = if real.backup { " backup" } else { "" };
    let mut cells = vec![
        format!("{} {}", symbol(&state.word), state.word),
        format!("{}{backup}", real.address),
        real.forward.to_string(),
        weight,
    ];
    cells.extend(rates(view, &real.load));
    cells.push(match state.since_seconds {
        0 => "-".to_owned(),
        since => lb_model::text::duration(view.age(since)),
    });
    let last = state.unreachable.as_deref().or(state.last.as_deref());
    cells.push(last.unwrap_or("-").to_owned());
    cells
}

/// Returns the symbol of a state: shapes differ, so that colours are not needed.
pub(super) fn symbol(word: &str) -> &'static str {
    match word {
        "up" => "●",
        "degraded" | "checking" => "▲",
        "draining" | "drained" | "weight 0" => "◐",
        "disabled" | "standby" | "no reals" => "○",
        _ => "✖",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_every_width() {
        for all in [&SERVICES[..], &REALS] {
            for width in 40..200 {
                let fitted = fit(all, width, 26);
                let total: usize =
                    fitted.iter().map(|(_, width)| width).sum::<usize>() + GAP * (fitted.len() - 1);
                assert!(total <= width, "{width}: {fitted:?}");
                assert!(fitted.len() >= 3, "{width}: a rate is shown: {fitted:?}");
            }
            assert_eq!(fit(all, 160, 26).len(), all.len());
        }
    }
}
