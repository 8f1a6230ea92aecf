// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rows of services and reals: which are shown, in which order.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use crate::{
    api::live::{LiveReal, LiveService, Load},
    cli::filter::Filter,
};

/// Order of the rows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Sort {
    /// By name or address
    #[default]
    Name,
    /// By state: the worst first
    State,
    /// By packets per second, in and out
    Packets,
    /// By bytes per second, in and out
    Bytes,
    /// By new connections per second
    New,
    /// By active connections
    Active,
}

impl Sort {
    /// Returns the next order, for the key `s`.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Name => Self::State,
            Self::State => Self::Packets,
            Self::Packets => Self::Bytes,
            Self::Bytes => Self::New,
            Self::New => Self::Active,
            Self::Active => Self::Name,
        }
    }

    /// Returns the name in the head of the screen.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Packets => "packets/s",
            Self::Bytes => "bytes/s",
            Self::New => "new/s",
            Self::Active => "active",
        }
    }

    /// Returns the key of a row: the largest first.
    const fn key(self, load: &Load, badness: usize) -> Reverse<u64> {
        Reverse(match self {
            Self::Name => 0,
            Self::State => badness as u64,
            Self::Packets => load.packets_in.saturating_add(load.packets_out),
            Self::Bytes => load.bytes_in.saturating_add(load.bytes_out),
            Self::New => load.connections,
            Self::Active => match load.active {
                Some(active) => active,
                None => 0,
            },
        })
    }
}

/// Returns how bad a state of a real is: 0 is good.
pub(super) fn badness(word: &str) -> usize {
    match word {
        "up" => 0,
        "standby" => 1,
        "drained" | "draining" | "weight 0" | "disabled" => 2,
        "checking" => 3,
        _ => 4,
    }
}

/// Returns the word for the state of a service.
pub(super) fn service_word(service: &LiveService) -> &'static str {
    let all = service.reals.len();
    let wrong = service.reals.iter().filter(|real| badness(&real.state.word) >= 3).count();
    match service.state.serving {
        0 if all == 0 => "no reals",
        0 => "down",
        _ if wrong > 0 => "degraded",
        _ => "up",
    }
}

/// Returns the services that are shown, in order. A service is shown if it passes, or one of its reals does.
pub(super) fn services<'a>(
    all: &'a [LiveService],
    filter: &Filter,
    sort: Sort,
    is_reversed: bool,
) -> Vec<&'a LiveService> {
    let passes = |service: &&LiveService| {
        let texts = [service.name.as_str(), &service.scheduler, service_word(service)];
        filter.is_empty()
            || filter.passes(&texts)
            || service.reals.iter().any(|real| passes(service, real, filter))
    };
    let mut rows: Vec<&LiveService> = all.iter().filter(passes).collect();
    let badness = |service: &LiveService| match service_word(service) {
        "up" => 0,
        "degraded" => 1,
        _ => 2,
    };
    rows.sort_by_key(|service| sort.key(&service.load, badness(service)));
    if is_reversed {
        rows.reverse();
    }
    rows
}

fn passes(service: &LiveService, real: &LiveReal, filter: &Filter) -> bool {
    let address = real.address.to_string();
    let last = real.state.last.as_deref().unwrap_or_default();
    filter.passes(&[&service.name, real.forward.as_str(), &address, &real.state.word, last])
}

/// Returns the reals of a service that are shown, in order.
pub(super) fn reals<'a>(
    service: &'a LiveService,
    filter: &Filter,
    sort: Sort,
    is_reversed: bool,
) -> Vec<&'a LiveReal> {
    let shown = service.reals.iter().filter(|real| filter.is_empty() || passes(service, real, filter));
    let mut rows: Vec<&LiveReal> = shown.collect();
    rows.sort_by_key(|real| sort.key(&real.load, badness(&real.state.word)));
    if is_reversed {
        rows.reverse();
    }
    rows
}
