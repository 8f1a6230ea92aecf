// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! What programs tell of their way with a packet, when they are loaded to.
//!
//! The director is loaded with [`Mode::FORWARD`], which is frozen before the verifier sees it: what tracing and dry runs take is
//! not in its programs. `xvs explain` and the tests load a copy of their own over the same maps.

use super::layout;

/// What the programs do besides forwarding, or do not: a part of [`super::Settings`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mode(pub u64);
layout!(Mode, size: 8, align: 8);

impl Mode {
    /// Forward, and nothing else.
    pub const FORWARD: Self = Self(0);
    /// Write down each step in [`Trace`].
    pub const TRACE: Self = Self(1);
    /// The same, and write to no other map: tables and counters stay as they are.
    pub const DRY: Self = Self(3);

    /// Whether steps are written down.
    #[inline(always)]
    #[must_use]
    pub const fn traces(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether nothing but steps is written.
    #[inline(always)]
    #[must_use]
    pub const fn is_dry(self) -> bool {
        self.0 & 2 != 0
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $variant:ident = $number:literal;)*) => {
        /// What a program found or did, and in the comments: the two numbers that go with it.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Step { $($(#[$doc])* $variant = $number,)* }

        impl Step {
            /// The step of that number, if there is one.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

steps! {
    /// Went on in another program: its number, 0.
    Program = 1;
    /// Found a service: its id, 0.
    Service = 2;
    /// Looked at a slot of a hashing scheduler's table: its number, its entry.
    Slot = 3;
    /// The slot was moved: its base, since when.
    Move = 4;
    /// Took a turn of a rotating scheduler: the position, 0.
    Turn = 5;
    /// Drew a random number: it, 0.
    Random = 6;
    /// A real is above its thresholds: its id, 0.
    Overloaded = 7;
    /// The scheduler chose: the real's id or what it says instead, 0.
    Scheduled = 8;
    /// Found the flow: its real, its state.
    Flow = 9;
    /// The flow is not written down: 0, 0.
    NoFlow = 10;
    /// Wrote the flow down: its real, its state.
    RecordFlow = 11;
    /// Wrote down what changed about the flow: its real, its state.
    UpdateFlow = 12;
    /// Found the real that a client is kept on: the real, until when.
    Client = 13;
    /// Kept a client on a real: the real, until when.
    RecordClient = 14;
    /// Found the reals of a destination: the first of them, the second.
    Locality = 15;
    /// Wrote down the reals of a destination: the first of them, the second.
    RecordLocality = 16;
    /// Found what the first fragment's decision was: the real, 1 if it was a reply.
    Fragment = 17;
    /// Nothing is known of a first fragment: 0, 0.
    NoFragment = 18;
    /// Wrote down the decision on a first fragment: the real, 1 if it was a reply.
    RecordFragment = 19;
    /// Found whose the replies of a nat real are: the service, the real; in a table of flows neither is known.
    Source = 20;
    /// Wrote down whose the replies of a flow are: 0, 0.
    RecordReply = 21;
    /// Found how to send to a client: the device, 0.
    WayBack = 22;
    /// Wrote down how to send to a client: the device, 0.
    RecordWayBack = 23;
    /// The client spoke to the nat real itself: when, 0.
    Direct = 24;
    /// Wrote down that a client speaks to a nat real itself: when, 0.
    RecordDirect = 25;
    /// Forgot that a client spoke to a nat real itself: 0, 0.
    ForgetDirect = 26;
    /// Sends out of another device: its number, 0.
    Redirect = 27;
    /// Counted a packet to a real: the real, bytes.
    CountIn = 28;
    /// Counted a real's packet back to its client: the real, bytes.
    CountOut = 29;
    /// Counted a flow that began: its real, 0.
    CountFlow = 30;
    /// Counted a packet that is not forwarded: the service, the reason.
    Reason = 31;
    /// Asked whether an ICMP error may be made: 1 if so, 0.
    IcmpBudget = 32;
    /// Counted connections of a real: the real, 0.
    CountLoad = 33;
    /// Found the flow by `fnat` that a packet to the director belongs to: 0, 0.
    Translation = 34;
    /// Tried to take a port of the director for a flow by `fnat`: the port, 0.
    TakeDip = 35;
    /// Gave a port of the director back: the port, 0.
    GiveDipBack = 36;
}

/// A step and what goes with it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Event {
    /// A [`Step`].
    pub step: u32,
    /// What goes with it.
    pub a: u32,
    /// The same.
    pub b: u32,
}
layout!(Event, size: 12, align: 4);

/// The global `TRACE`, of which each copy of the programs has its own: what was done with the last packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trace {
    /// How many steps there were.
    pub count: u32,
    /// How many positions of a rotating scheduler a dry run would have taken.
    pub turns: u32,
    /// How many ports of the director a dry run would have tried.
    pub tries: u32,
    /// The last [`Trace::LENGTH`] steps; step `n` is at `n % LENGTH`.
    pub events: [Event; Self::LENGTH],
}
layout!(Trace, size: 780, align: 4);

impl Trace {
    /// How many steps are kept; a power of two.
    pub const LENGTH: usize = 64;

    /// No step at all.
    pub const EMPTY: Self =
        Self { count: 0, turns: 0, tries: 0, events: [Event { step: 0, a: 0, b: 0 }; Self::LENGTH] };

    /// The steps that were kept, in their order.
    pub fn steps(&self) -> impl Iterator<Item = (Step, u32, u32)> + '_ {
        let count = self.count as usize;
        (count.saturating_sub(Self::LENGTH)..count).filter_map(|number| {
            let Event { step, a, b } = self.events[number % Self::LENGTH];
            Some((Step::from_number(step)?, a, b))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_is_traced_and_forwarding_is_neither() {
        assert!(Mode::DRY.traces() && Mode::DRY.is_dry());
        assert!(Mode::TRACE.traces() && !Mode::TRACE.is_dry());
        assert!(!Mode::FORWARD.traces() && !Mode::FORWARD.is_dry());
    }

    #[test]
    fn the_last_steps_are_kept_in_their_order() {
        let mut trace = Trace::EMPTY;
        for number in 0..70u32 {
            let event = Event { step: Step::Turn as u32, a: number, b: 0 };
            trace.events[trace.count as usize % Trace::LENGTH] = event;
            trace.count += 1;
        }
        let turns: Vec<u32> = trace.steps().map(|(_, a, _)| a).collect();
        assert_eq!(turns, (6..70).collect::<Vec<_>>());
    }
}
