// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Flow tables in maps.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array};
use lb_common::{
    flow_table::{
        Event, Inserted, Key, Limits, MapWords, NARROW_WORDS, Newcomer, Pair, Seen, Table, Value, WIDE_WORDS,
        Words,
    },
    ids::RealId,
    schema::Timeouts,
};

/// An array map that userspace maps into its memory.
pub type Shared<T, const N: usize> = Array<T, N, { BPF_F_MMAPABLE as usize }>;

/// The ages at which flows expire.
pub static LIMITS: Limits = Limits::of(&Timeouts::DEFAULT);

pub type NarrowWords = MapWords<'static, NARROW_WORDS>;
pub type WideWords = MapWords<'static, WIDE_WORDS>;

/// A bucket in a map's value.
pub trait InMap: Words {
    /// The map's value.
    type Memory;

    /// Returns the bucket in a map's value.
    fn of(value: *mut Self::Memory) -> Self;

    /// Returns the pointer to the map's value.
    fn pointer(self) -> *mut Self::Memory;
}

impl<const N: usize> InMap for MapWords<'_, N> {
    type Memory = [u64; N];

    #[inline(always)]
    fn of(value: *mut [u64; N]) -> Self {
        Self::new(value)
    }

    #[inline(always)]
    fn pointer(self) -> *mut [u64; N] {
        self.as_ptr()
    }
}

/// Parts of a program that a table needs.
pub trait Surroundings {
    /// Which entries the flows of the table evict.
    const NEWCOMER: Newcomer;

    /// Adds to the load of a real.
    fn add_load(real: RealId, change: u64);

    /// Counts an event.
    fn count(event: Event);
}

/// A flow table in maps.
pub trait InMaps: Table<Self::Key> + Default {
    /// The key of a flow.
    type Key: Key;

    /// Adds the entry of a flow in a global function.
    fn insert_out_of_line(
        &self,
        pair: Pair<Self::Bucket>,
        key: &Self::Key,
        value: Value,
        now: Seen,
    ) -> Inserted;
}

/// Adds to a number that all CPUs share.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn add(number: *mut u64, change: u64) {
    // SAFETY: a value of this map, checked for null.
    unsafe {
        core::arch::asm!("lock *(u64 *)({number} + 0) += {change}", number = in(reg) number, change = in(reg) change);
    }
}

/// Adds to a number that all CPUs share.
#[cfg(not(target_arch = "bpf"))]
pub fn add(_: *mut u64, _: u64) {
    unreachable!("the programs run in the kernel only")
}

/// Declares a table: its type, that of its keys and buckets, its surroundings, and the names of its global functions.
macro_rules! in_maps {
    ($table:ident: $key:ty, $bucket:ty, $around:ty, [$best:ident, $rivals:ident, $settle:ident, $insert:ident]) => {
        /// A flow table.
        #[derive(Default)]
        pub struct $table;

        impl $crate::table::InMaps for $table {
            type Key = $key;

            #[inline(always)]
            fn insert_out_of_line(
                &self,
                pair: lb_common::flow_table::Pair<$bucket>,
                key: &$key,
                value: lb_common::flow_table::Value,
                now: lb_common::flow_table::Seen,
            ) -> lb_common::flow_table::Inserted {
                use $crate::table::InMap as _;
                let (first, second) = (pair.first.pointer(), pair.second.pointer());
                lb_common::flow_table::Inserted::unpacked($insert(
                    first.cast(),
                    second.cast(),
                    key,
                    value.0,
                    now.number() as u32,
                ))
            }
        }

        impl lb_common::flow_table::Table<$key> for $table {
            type Bucket = $bucket;

            #[inline(always)]
            fn limits(&self) -> &lb_common::flow_table::Limits {
                &$crate::table::LIMITS
            }

            #[inline(always)]
            fn add_load(&self, real: lb_common::ids::RealId, change: u64) {
                <$around as $crate::table::Surroundings>::add_load(real, change);
            }

            #[inline(always)]
            fn count(&self, event: lb_common::flow_table::Event) {
                <$around as $crate::table::Surroundings>::count(event);
            }

            #[inline(always)]
            fn best(
                &self,
                bucket: $bucket,
                line: usize,
                now: lb_common::flow_table::Seen,
                _: lb_common::flow_table::Newcomer,
            ) -> lb_common::flow_table::Best {
                use $crate::table::InMap as _;
                lb_common::flow_table::Best($best(bucket.pointer().cast(), line as u32, now.number() as u32))
            }

            #[inline(always)]
            fn count_rivals(&self, pair: lb_common::flow_table::Pair<$bucket>, key: &$key) -> u64 {
                use $crate::table::InMap as _;
                $rivals(pair.first.pointer().cast(), pair.second.pointer().cast(), key)
            }

            #[inline(always)]
            fn settle(&self, pair: lb_common::flow_table::Pair<$bucket>, key: &$key, mine: usize) -> u64 {
                use $crate::table::InMap as _;
                $settle(pair.first.pointer().cast(), pair.second.pointer().cast(), key, mine as u32)
            }
        }

        /// Returns the best place of a bucket.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $best(bucket: *mut $crate::table::Bucket<$bucket>, line: u32, now: u32) -> u64 {
            use lb_common::flow_table::{self, Key as _};
            if bucket.is_null() {
                return 0;
            }
            let bucket = <$bucket as $crate::table::InMap>::of(bucket.cast());
            let (line, now) = (line as usize & <$key>::LINES, flow_table::Seen::from_number(now.into()));
            flow_table::best::<_, $key>(
                bucket,
                line,
                now,
                <$around as $crate::table::Surroundings>::NEWCOMER,
                &$crate::table::LIMITS,
            )
            .0
        }

        /// Returns the number of entries with the key word of a flow.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $rivals(
            first: *mut $crate::table::Bucket<$bucket>,
            second: *mut $crate::table::Bucket<$bucket>,
            key: *const $key,
        ) -> u64 {
            // SAFETY: the verifier accepts only null or memory of the type's size as an argument.
            let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
            if first.is_null() || second.is_null() {
                return 0;
            }
            lb_common::flow_table::count_rivals($crate::table::pair_of::<$bucket>(first, second, key), key)
        }

        /// Decides between CPUs that insert the same flow.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $settle(
            first: *mut $crate::table::Bucket<$bucket>,
            second: *mut $crate::table::Bucket<$bucket>,
            key: *const $key,
            mine: u32,
        ) -> u64 {
            // SAFETY: as above.
            let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
            if first.is_null() || second.is_null() {
                return 0;
            }
            let pair = $crate::table::pair_of::<$bucket>(first, second, key);
            lb_common::flow_table::settle(pair, key, mine as usize)
        }

        /// Adds the entry of a flow.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $insert(
            first: *mut $crate::table::Bucket<$bucket>,
            second: *mut $crate::table::Bucket<$bucket>,
            key: *const $key,
            value: u64,
            now: u32,
        ) -> u64 {
            use lb_common::flow_table::{Inserted, Seen, Table as _, Value};
            let newcomer = <$around as $crate::table::Surroundings>::NEWCOMER;
            // SAFETY: as above.
            let Some(key) = (unsafe { key.as_ref() }) else { return Inserted::Unknown.packed() };
            if first.is_null() || second.is_null() {
                return Inserted::Unknown.packed();
            }
            let pair = $crate::table::pair_of::<$bucket>(first, second, key);
            $table.insert(pair, key, Value(value), Seen::from_number(now.into()), newcomer).packed()
        }
    };
}

/// Memory of a bucket, as an argument of a global function.
#[repr(C)]
pub struct Bucket<B: InMap> {
    words: B::Memory,
}

/// Returns the buckets of a flow by the arguments of a global function.
#[inline(always)]
pub fn pair_of<B: InMap>(first: *mut Bucket<B>, second: *mut Bucket<B>, key: &impl Key) -> Pair<B> {
    Pair { first: B::of(first.cast()), second: B::of(second.cast()), line: key.line() }
}
