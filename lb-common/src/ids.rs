// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Ids: types of their own, since a function that takes several numbers must not mix them up.

use core::fmt;

use crate::layout::layout;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(
            /// The number, in the machine's byte order.
            pub u32,
        );

        layout!($name, size: 4, align: 4);

        impl $name {
            /// The id that stands for none.
            pub const NONE: Self = Self(0);

            /// Returns whether this is [`Self::NONE`].
            #[inline(always)]
            #[must_use]
            pub const fn is_none(self) -> bool {
                self.0 == 0
            }

            /// Returns whether the ids are the same; in constant functions, which cannot use `==`.
            #[inline(always)]
            #[must_use]
            pub const fn is(self, other: Self) -> bool {
                self.0 == other.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Id of a real: its index in `REALS`, `LOADS` and the counters. Ids start at 1.
    RealId
}
impl RealId {
    /// The real of a connection that an operator has cut. No real has this id: it is the highest one that fits into a flow
    /// table entry, and beyond the end of `REALS`.
    pub const CUT: Self = Self((1 << 20) - 1);
}

id! {
    /// Id of a service: its index in `POSITIONS` and the counters. Ids start at 1.
    ServiceId
}
id! {
    /// Index of a network interface, as the kernel numbers them within a network namespace, from 1 on.
    IfIndex
}
