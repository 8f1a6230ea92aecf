// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that the figures of docs/sizing.md are those of the code and of docs/performance.md.

use std::collections::BTreeMap;

use lb_common::{
    flow_table::WIDE_WORDS,
    schema::{
        Block, CachedService, CachedSource, Client, ClientKey, Counters, FlowKey, Fragment, FragmentKey,
        Load, Locality, LocalityKey, MapName, MoveBlock, Real, ReasonCounts, ReturnPath, Service, ServiceKey,
        SnatLease, Source,
    },
    wire::{Be32, Be128},
};

use super::{Limits, sizes};

const PAGE: &str = include_str!("../../../../docs/sizing.md");
const PERFORMANCE: &str = include_str!("../../../../docs/performance.md");

/// Returns the bytes of a key and of a value of the maps on the page.
fn shapes() -> BTreeMap<String, [usize; 2]> {
    /// The key of an array.
    type Index = u32;
    macro_rules! shapes {
        ($($map:ident: $key:ty => $value:ty,)+) => {
            [$((MapName::$map.to_string(), [size_of::<$key>(), size_of::<$value>()])),+].into()
        };
    }
    shapes! {
        Flows: Index => [u64; WIDE_WORDS],
        Bindings: FlowKey<Be32> => SnatLease,
        Bindings6: FlowKey<Be128> => SnatLease,
        Replies: FlowKey<Be32> => Source<Be32>,
        Replies6: FlowKey<Be128> => Source<Be128>,
        ReturnPaths: Be32 => ReturnPath,
        ReturnPaths6: Be128 => ReturnPath,
        Clients: ClientKey => Client,
        Localities: LocalityKey => Locality,
        Fragments: FragmentKey<Be32> => Fragment<Be32>,
        Fragments6: FragmentKey<Be128> => Fragment<Be128>,
        Services: ServiceKey<Be32> => Service,
        Services6: ServiceKey<Be128> => Service,
        Reals: Index => Real,
        Loads: Index => Load,
        Tables: Index => Block,
        Moves: Index => MoveBlock,
        Translations: FlowKey<Be32> => FlowKey<Be32>,
        Translations6: FlowKey<Be128> => FlowKey<Be128>,
        Counters: Index => Counters,
        Reasons: Index => ReasonCounts,
        ServiceCache: Index => CachedService<Be32>,
        ServiceCache6: Index => CachedService<Be128>,
        SourceCache: Index => CachedSource<Be32>,
        SourceCache6: Index => CachedSource<Be128>,
    }
}

/// Returns the number in a cell.
fn number(cell: &str) -> usize {
    let digits: String = cell.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{cell:?} has no number"))
}

/// Returns the rows that begin with the name of a map.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `") && !line.starts_with("| `max"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
        .collect()
}

#[test]
fn tables_of_maps_are_those_of_the_code() {
    let shapes = shapes();
    let entries: BTreeMap<String, u32> =
        sizes(&Limits::default()).into_iter().map(|(map, size)| (map.to_string(), size)).collect();
    let rows = rows();
    assert_eq!(rows.len(), shapes.len(), "maps on the page: {rows:#?}");
    for row in rows {
        let name = row[0];
        let [key, value] = shapes[name];
        assert_eq!(number(row[1]), entries[name] as usize, "entries of {name}");
        match row[2..] {
            [_, shown_key, shown_value] => {
                assert_eq!([number(shown_key), number(shown_value)], [key, value], "key and value of {name}");
            }
            [shown_value, total] => {
                assert_eq!(number(shown_value), value, "value of {name}");
                assert_eq!(number(total), value * entries[name] as usize, "bytes of {name} for each CPU");
            }
            _ => panic!("a row of another shape: {row:?}"),
        }
    }
}

#[test]
fn figures_are_those_of_the_benchmark() {
    for (measured, quoted) in [
        ("kernel memory for one more service", "| `max-services` | 512 |"),
        ("kernel memory for one more real", "| `max-reals` | 8,192 |"),
        (
            "kernel memory for one more IPv4 flow, with its share of other tables",
            "| `max-flows` | 1,048,576 |",
        ),
        (
            "kernel memory for one more IPv6 flow, with its share of other tables",
            "| `max-flows6` | 262,144 |",
        ),
    ] {
        let row = PERFORMANCE.lines().find_map(|line| line.strip_prefix(&format!("| {measured} | ")));
        let figure = row.and_then(|row| row.split(" | ").next()).expect("the benchmark measures it");
        let figure: f64 = figure.parse().expect("a number");
        let row = PAGE.lines().find_map(|line| line.strip_prefix(quoted)).expect("a row for each size");
        let quoted = number(row.split(" | ").next().expect("a figure"));
        assert_eq!(format!("{figure:.0}"), quoted.to_string(), "{measured}");
    }
}
