// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! An exact hash table of tracked flows in one array of atomic words.
//!
//! CPUs add, find, update and evict entries while the daemon deletes entries of the same array, without
//! locks and without waiting. The code is generic over the array ([`Words`]): an array map of the kernel, the daemon's mapping of
//! it, or memory of a test. docs/decisions/0021-flow-table.md gives the reasons and the measurements.
//!
//! # Layout
//!
//! A bucket has [`PLACES`] entries, and a flow may be in two buckets ([`Geometry`]). An entry is a key word
//! ([`KeyWord`]), the rest of the key if the key is wide, and a value word ([`Value`]):
//!
//! | key | entry | rest of the key |
//! |---|---|---|
//! | [`Narrow`]: IPv4 client, its port, number of the service | 16 bytes | none: the key word and the number of the bucket determine the key |
//! | [`Wide`]: IPv6 client, its port, id of the service, destination port | 32 bytes | the address |
//!
//! # Protocol
//!
//! 1. **Find** ([`find`]): a key word, then its value. The value counts only if its generation is that of the key word.
//! 2. **Update** ([`Table::replace`]): a compare-and-exchange of the value, otherwise nothing.
//! 3. **Insert** ([`Table::insert`]): claim a place by a compare-and-exchange of the key word to "busy" with the next
//!    generation; exchange the value, which returns what was evicted; look for the same key in all places of both
//!    buckets; a compare-and-exchange from busy to live. Of two CPUs that insert the same flow at least one sees the
//!    other, because each publishes its key word before it looks, and that exchange decides.
//! 4. **Delete** ([`Table::replace`] by [`Value::dead`]): the same exchange. A dead entry is free.
//!
//! Only the CPU that claimed generation g of a place writes a value with that generation, or a compare-and-exchange
//! from such a value. Hence a key word and a value of the same generation belong together, regardless of the order in
//! which a CPU reads them. Each change of a live value is one atomic exchange, and its author counts exactly that
//! change, so that the numbers of connections are exact.

mod entry;
mod kernel;
mod key;
mod mixing;
mod opaque;
mod phase;
mod protocol;
mod rank;
#[cfg(not(target_arch = "bpf"))]
mod scan;
mod value;
mod words;

#[cfg(test)]
mod tests;

pub use entry::{Entry, KeyWord, Status, find, find_in};
pub use kernel::MapWords;
pub use key::{Geometry, Key, NARROW_WORDS, Narrow, Pair, Shape, WIDE_WORDS, Wide};
pub use mixing::Mixing;
pub use phase::{Limits, Phase, Seen};
pub use protocol::{ATTEMPTS, Event, Inserted, Table, count_rivals, settle};
pub use rank::{Best, Newcomer, best};
#[cfg(not(target_arch = "bpf"))]
pub use scan::{Recovered, scan, scan_some};
pub use value::Value;
pub use words::Words;

/// Entries of a bucket.
pub const PLACES: usize = 8;
