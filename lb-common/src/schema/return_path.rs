// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Return paths of most clients, in 8 bytes each. A lookup takes two array accesses; a least-recently-used
//! table would cost one cache miss or several.
//!
//! Most clients arrive by few routers. `ROUTER_PATHS` has the return path by each router once, and
//! `CACHED_PATHS` has the router of each client. A client is in `RETURN_PATHS` instead if its entry in
//! `CACHED_PATHS` belongs to another client that is still active, or if its router's entry in `ROUTER_PATHS`
//! belongs to another router.

use super::{ReturnPath, Timeouts, layout};
use crate::packet::Ip;
use crate::ticks::Tick;

/// Value of `ROUTER_PATHS`, an array by [`RouterPath::index`]. The programs write it, and never free it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RouterPath {
    /// [`RouterPath::FREE`]; the number of CPUs that tried to claim the entry while one writes it;
    /// [`RouterPath::READY`] or more.
    pub state: u64,
    /// The return path.
    pub way: ReturnPath,
    /// Zero.
    pub reserved: u32,
}
layout!(RouterPath, size: 32, align: 8);

impl RouterPath {
    /// State of a free entry.
    pub const FREE: u64 = 0;
    /// State of an entry that is complete, and not written again.
    pub const READY: u64 = 1 << 32;
    /// Number of entries.
    pub const COUNT: u32 = 256;

    /// Returns the index of a return path, never 0: that stands for no entry ([`crate::flow_table::Value::gateway`]).
    #[inline(always)]
    #[must_use]
    pub const fn index(way: &ReturnPath) -> u32 {
        let [a, b, c] = way.to_client.0;
        let mixed = a ^ b.rotate_left(11) ^ c.rotate_left(22) ^ way.ifindex.0 ^ way.tags.0.rotate_left(7);
        let hash = mixed.wrapping_mul(0x9e37_79b1) as u64;
        1 + ((hash * (Self::COUNT as u64 - 1)) >> 32) as u32
    }

    /// Number of places that a return path of tracked flows may have.
    pub const TRIES: u32 = 8;

    /// Returns the place to try in step `step` for the return path of tracked flows: [`Self::index`], and those after it.
    #[inline(always)]
    #[must_use]
    pub const fn place(way: &ReturnPath, step: u32) -> u32 {
        let number = Self::index(way) + step;
        if number < Self::COUNT { number } else { number - (Self::COUNT - 1) }
    }
}

/// Value of `CACHED_PATHS` and `CACHED_PATHS6`, arrays by [`CachedPath::index`]: one word, so that it is
/// written and read as a whole.
///
/// | bits   | meaning                                                             |
/// |-------:|---------------------------------------------------------------------|
/// | 0–31   | the client: its IPv4 address, or 32 bits of a hash of its IPv6 address |
/// | 32–39  | index in `ROUTER_PATHS`                                                 |
/// | 40–55  | time of the client's last packet, in [`CachedPath::seconds`]              |
/// | 56     | 1 if the entry is in use                                            |
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CachedPath(pub u64);
layout!(CachedPath, size: 8, align: 8);

impl CachedPath {
    /// Number of bits of an index.
    pub const BITS: u32 = 17;
    /// Number of entries.
    pub const COUNT: u32 = 1 << Self::BITS;
    /// Seconds after which the time of an active client is written again.
    pub const REFRESH: u32 = 16;
    const SECONDS: u32 = 0xffff;

    /// Returns the entry of a client that arrived by a gateway.
    #[inline(always)]
    #[must_use]
    pub const fn new(client: u32, gateway: u32, seconds: u32) -> Self {
        Self(1 << 56 | (seconds as u64) << 40 | (gateway as u64 & 0xff) << 32 | client as u64)
    }

    /// Returns the index of a client, and its name in the entry. Eight consecutive addresses, from a multiple
    /// of eight on, have eight consecutive entries, which are a line of a CPU's cache: clients often come
    /// from networks in which every address is in use.
    #[inline(always)]
    pub fn index(client: impl Ip, seed: u64) -> (u32, u32) {
        let (hash, last, name) = client.near(seed);
        (hash >> (32 - Self::BITS + 3) << 3 | last, name)
    }

    /// Returns the time in units of about a second (1,024 ticks), which wraps around after 18 hours.
    #[inline(always)]
    #[must_use]
    pub const fn seconds(tick: Tick) -> u32 {
        tick.0 >> 10 & Self::SECONDS
    }

    /// Returns whether the entry is that of this client.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(self, client: u32) -> bool {
        self.0 >> 56 == 1 && self.0 as u32 == client
    }

    /// Returns whether the entry is in use.
    #[inline(always)]
    #[must_use]
    pub const fn is_taken(self) -> bool {
        self.0 != 0
    }

    /// Returns the index in `ROUTER_PATHS`.
    #[inline(always)]
    #[must_use]
    pub const fn gateway(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff
    }

    /// Returns whether the client was silent for longer than any flow lives, so that another client may get
    /// the entry. Never true if a timeout exceeds the range of [`CachedPath::seconds`].
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self, seconds: u32, timeouts: &Timeouts) -> bool {
        let silence = self.silent_for(seconds);
        silence > timeouts.tcp.0 >> 10 && silence > timeouts.tcp_fin.0 >> 10 && silence > timeouts.udp.0 >> 10
    }

    /// Returns the time since the client's last packet, in [`CachedPath::seconds`].
    #[inline(always)]
    #[must_use]
    pub const fn silent_for(self, seconds: u32) -> u32 {
        seconds.wrapping_sub((self.0 >> 40) as u32) & Self::SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Be32, Be128, MacPair, Tags};
    use crate::{ids::IfIndex, ticks::Ticks};

    #[test]
    fn a_word_says_what_it_was_told() {
        let near = CachedPath::new(0xdead_beef, 200, 0xfff0);
        assert!(near.is_of(0xdead_beef) && !near.is_of(0xdead_beee) && near.is_taken());
        assert_eq!((near.gateway(), near.silent_for(0xfff0), near.silent_for(5)), (200, 0, 21));
        assert!(!CachedPath::default().is_taken() && !CachedPath::default().is_of(0));
    }

    #[test]
    fn a_place_is_given_up_when_the_longest_lived_flow_has_ended() {
        let near = CachedPath::new(1, 2, 0xfff0);
        let at = |seconds: u32, timeouts: &Timeouts| near.is_over((0xfff0 + seconds) & 0xffff, timeouts);
        let [tcp, tcp_fin, udp] = [900 << 10, 120 << 10, 2000 << 10];
        assert!(!at(0, &Timeouts::DEFAULT));
        let timeouts = Timeouts { tcp: Ticks(tcp), tcp_fin: Ticks(tcp_fin), udp: Ticks(udp) };
        assert!(!at(2000, &timeouts) && at(2001, &timeouts));
        let timeouts = Timeouts { tcp: timeouts.udp, tcp_fin: timeouts.tcp_fin, udp: timeouts.tcp };
        assert!(!at(2000, &timeouts) && at(2001, &timeouts));
        // More than a day, which 16 bits of seconds cannot distinguish from an hour.
        let timeouts = Timeouts { tcp: Ticks(90_000 << 10), ..timeouts };
        assert!(![0, 2001, 30_000, 0xffff].iter().any(|&seconds| at(seconds, &timeouts)));
    }

    #[test]
    fn places_spread() {
        let v4 = |n: u32| CachedPath::index(Be32((0x0a00_0000 + n).to_be()), 0).0;
        let v6 = |n: u32| CachedPath::index(Be128([0xfd_u64, u64::from(n).to_be()]), 0).0;
        for place in [&v4 as &dyn Fn(u32) -> u32, &v6] {
            let mut places: std::vec::Vec<u32> = (0..1000).map(place).collect();
            places.sort_unstable();
            places.dedup();
            assert!(places.len() > 950, "{}", places.len());
            assert!(places.iter().all(|place| *place < CachedPath::COUNT));
        }
        let way = |n: u32| ReturnPath {
            ifindex: IfIndex(2),
            to_client: MacPair([n, 0x0102, 0x0304]),
            tags: Tags::NONE,
        };
        let mut places: std::vec::Vec<u32> = (0..16).map(|n| RouterPath::index(&way(n))).collect();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 10 && places.iter().all(|place| *place < RouterPath::COUNT), "{places:?}");
    }
}
