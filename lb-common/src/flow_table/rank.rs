// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The rank of entries: whose place a new flow gets.

use super::{Key, KeyWord, Limits, PLACES, Phase, Seen, Value, Words, opaque::opaque};

/// The flow that needs a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Newcomer {
    /// A flow that a packet begins. It never evicts a proven flow.
    Unproven,
    /// A proven flow that comes from another table.
    Proven,
    /// A flow that another director has announced. It never evicts a living flow.
    #[cfg(not(target_arch = "bpf"))]
    Announced,
}

impl Newcomer {
    /// Returns the ranks of live entries, by phase.
    const fn ranks(self) -> u64 {
        let mut ranks = 0;
        let mut number = 0;
        while number < Phase::ALL.len() {
            let rank = match Phase::ALL[number] {
                Phase::Dead => Best::FREE,
                #[cfg(not(target_arch = "bpf"))]
                _ if matches!(self, Self::Announced) => 0,
                Phase::SynReceived | Phase::NewUdp | Phase::Close => 3,
                Phase::NewEstablished | Phase::FinWait => 2,
                Phase::Udp | Phase::Established => match self {
                    Self::Proven => 1,
                    #[cfg(not(target_arch = "bpf"))]
                    Self::Announced => 0,
                    Self::Unproven => 0,
                },
            };
            ranks |= rank << (4 * number);
            number += 1;
        }
        ranks
    }
}

/// The best place of a bucket for a new flow.
///
/// | bits | content |
/// |---|---|
/// | 0–2 | 7 less the place's number in the order of the search |
/// | 3–26 | the entry's age |
/// | 27–29 | its rank |
/// | 32–35 | the number of places of the bucket that living flows hold |
/// | 36–39 | the number of those that proven flows hold |
///
/// | rank | entry |
/// |---:|---|
/// | 7 | free, or expired and not established |
/// | 6, 5, 4 | expired |
/// | 3 | a client that has sent only SYNs, or datagrams in one window; reset |
/// | 2 | established, all packets in one window; closing |
/// | 1 | proven, for a proven newcomer |
/// | 0 | proven, for an unproven newcomer; living, for an announced one; claimed by another CPU |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Best(
    /// The packed fields.
    pub u64,
);

impl Best {
    /// Rank of a free place.
    const FREE: u64 = 7;
    /// This rank and higher ones: the place is free or its flow has expired.
    const VACANT: u64 = 4;
    const RANK: u32 = 27;
    const AGE: u32 = 3;
    const HELD: u32 = 32;
    const FIRM: u32 = 36;
    /// Living flows in the first bucket from which on the second one is considered, although the first has room: two
    /// buckets that are filled evenly lose fewer flows.
    const NEARLY_FULL: u64 = 6;

    /// Returns the rank of the entry at the place.
    #[inline(always)]
    #[must_use]
    pub const fn rank(self) -> u64 {
        self.0 >> Self::RANK & 7
    }

    const fn rank_and_age(self) -> u32 {
        self.0 as u32 >> Self::AGE
    }

    /// Returns the number of places that living flows hold.
    #[inline(always)]
    #[must_use]
    pub const fn held(self) -> u64 {
        self.0 >> Self::HELD & 15
    }

    /// Returns the number of places that proven flows hold.
    #[inline(always)]
    #[must_use]
    pub const fn firm(self) -> u64 {
        self.0 >> Self::FIRM & 15
    }

    /// Returns the number of the place in the order of the search.
    #[inline(always)]
    #[must_use]
    pub const fn place(self) -> usize {
        7 - (self.0 & 7) as usize
    }

    /// Returns whether the place suffices without a look into the second bucket.
    #[inline(always)]
    #[must_use]
    pub const fn suffices(self) -> bool {
        self.rank() >= Self::VACANT && self.held() < Self::NEARLY_FULL
    }

    /// Returns whether the place in the second bucket is better than this one in the first bucket: of two vacant
    /// places that in the emptier bucket, else the one of higher rank, else the one in the bucket with fewer proven
    /// flows, else the older one.
    #[inline(always)]
    #[must_use]
    pub const fn is_worse_than(self, second: Self) -> bool {
        if self.rank() >= Self::VACANT && second.rank() >= Self::VACANT {
            second.held() < self.held()
        } else if self.rank() == second.rank() && self.firm() != second.firm() {
            second.firm() < self.firm()
        } else {
            second.rank_and_age() > self.rank_and_age()
        }
    }
}

/// Returns the rank and the age of an entry, without branches.
#[inline(always)]
pub(super) fn rank_and_age(
    word: KeyWord,
    value: Value,
    now: Seen,
    newcomer: Newcomer,
    limits: &Limits,
) -> (u64, u64) {
    const UNPROVEN: u64 = Newcomer::Unproven.ranks();
    const PROVEN: u64 = Newcomer::Proven.ranks();
    #[cfg(not(target_arch = "bpf"))]
    const ANNOUNCED: u64 = Newcomer::Announced.ranks();
    let ranks = match newcomer {
        Newcomer::Unproven => UNPROVEN,
        Newcomer::Proven => PROVEN,
        #[cfg(not(target_arch = "bpf"))]
        Newcomer::Announced => ANNOUNCED,
    };
    let status = word.status_number();
    // Bits 0 and 1 of the status: empty 00, busy 01, live 10, killed 11.
    let is_live = opaque(status >> 1 & !status & 1);
    let is_empty = opaque(!(status >> 1 | status) & 1);
    // An entry that another CPU is replacing has two generations.
    let mixed = opaque((word.0 ^ value.0) & Value::GENERATION);
    let is_whole = opaque(mixed.wrapping_sub(1) >> 63);
    let phase = value.phase_number();
    let age = opaque(now.number().wrapping_sub(value.seen().number()) & ((1 << Seen::BITS) - 1));
    // An age beyond the highest one is a time ahead of `now`.
    let age = age & opaque(age >> (Seen::BITS - 1)).wrapping_sub(1);
    let is_over = opaque(u64::from(limits.of_phase(phase)).wrapping_sub(age) >> 63);
    let rank = (opaque(ranks >> (4 * phase)) & 7 | is_over << 2) & is_live.wrapping_neg();
    let rank = (rank | Best::FREE & is_empty.wrapping_neg()) & is_whole.wrapping_neg();
    (rank, age)
}

/// Returns the best place of a bucket for a new flow. The computation has no branches: the highest of one number per
/// entry wins.
#[inline(always)]
pub fn best<B: Words, K: Key>(
    bucket: B,
    line: usize,
    now: Seen,
    newcomer: Newcomer,
    limits: &Limits,
) -> Best {
    let (mut best, mut held, mut firm) = (0_u64, 0, 0);
    for number in 0..PLACES {
        let at = K::variable_place(line ^ number);
        let word = KeyWord(bucket.load(at));
        let value = Value(bucket.load(K::value_at(at)));
        let (rank, age) = rank_and_age(word, value, now, newcomer, limits);
        let is_vacant = opaque(rank >> 2 & 1);
        held += 1 - is_vacant;
        // Rank 0 or 1.
        firm += 1 - opaque((rank >> 1 | rank >> 2) & 1);
        let score = rank << Best::RANK | age << Best::AGE | (PLACES - 1 - number) as u64;
        // A place that may not be taken counts as nothing.
        let is_zero = opaque(rank.wrapping_sub(1) >> 63);
        let difference = (score & is_zero.wrapping_sub(1)).wrapping_sub(best);
        best = best.wrapping_add(difference & opaque(difference >> 63).wrapping_sub(1));
    }
    Best(firm << Best::FIRM | held << Best::HELD | best)
}
