// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Traces: the steps of the programs with a packet, if the programs are loaded to trace.
//!
//! The director is loaded with [`Mode::FORWARD`], which is frozen before the verifier runs: its programs
//! contain no code for traces and dry runs. `xvs explain` and the tests load a copy of the programs over the
//! same maps.

use super::layout;

/// The mode of the programs, a part of [`super::Settings`]: forwarding, tracing or a dry run.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mode(pub u64);
layout!(Mode, size: 8, align: 8);

impl Mode {
    /// Forwards packets, and traces nothing.
    pub const FORWARD: Self = Self(0);
    /// Forwards packets, and traces each step in [`Trace`].
    pub const TRACE: Self = Self(1);
    /// Traces each step, and writes to no other map: tables and counters do not change.
    pub const DRY: Self = Self(3);

    /// Returns whether steps are traced.
    #[inline(always)]
    #[must_use]
    pub const fn traces(self) -> bool {
        self.0 & 1 != 0
    }

    /// Returns whether only steps are written.
    #[inline(always)]
    #[must_use]
    pub const fn is_dry(self) -> bool {
        self.0 & 2 != 0
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $variant:ident = $number:literal;)*) => {
        /// A step of a program: its finding or action, and in the comments the two numbers of the [`Event`].
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Step { $($(#[$doc])* $variant = $number,)* }

        impl Step {
            /// Returns the step with this number, if it exists.
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
    /// Continued in another program: its number, 0.
    Program = 1;
    /// Found a service: its id, 0.
    Service = 2;
    /// Read a slot of a hashing scheduler's table: its number, its entry.
    Slot = 3;
    /// The slot is in transition: its base, since when.
    Move = 4;
    /// Took a turn of a rotating scheduler: the position, 0.
    Turn = 5;
    /// Drew a random number: the number, 0.
    Random = 6;
    /// A real is above its thresholds: its id, 0.
    Overloaded = 7;
    /// The scheduler chose: the real's id or the result that replaces it, 0.
    Scheduled = 8;
    /// Found the flow: its real, its state.
    Flow = 9;
    /// The flow has no flow table entry: 0, 0.
    NoFlow = 10;
    /// Added a flow table entry: its real, its state.
    RecordFlow = 11;
    /// Updated a flow table entry: its real, its state.
    UpdateFlow = 12;
    /// Found the real on which persistence keeps a client: the real, until when.
    Client = 13;
    /// Recorded a client's persistence: the real, until when.
    RecordClient = 14;
    /// Found the reals of a destination: the first of them, the second.
    Locality = 15;
    /// Recorded the reals of a destination: the first of them, the second.
    RecordLocality = 16;
    /// Found the decision on the first fragment: the real, 1 if it was a reply.
    Fragment = 17;
    /// The first fragment is unknown: 0, 0.
    NoFragment = 18;
    /// Recorded the decision on a first fragment: the real, 1 if it was a reply.
    RecordFragment = 19;
    /// Found the service of a nat real's replies: the service, the real; 0, 0 if found in `REPLIES`.
    Source = 20;
    /// Recorded the service of the replies of a flow: 0, 0.
    RecordReply = 21;
    /// Found the return path to a client: the interface, 0.
    ReturnPath = 22;
    /// Recorded the return path to a client: the interface, 0.
    RecordWayBack = 23;
    /// The client contacted the nat real directly: when, 0.
    Direct = 24;
    /// Recorded that a client contacts a nat real directly: when, 0.
    RecordDirect = 25;
    /// Deleted the mark of a direct contact: 0, 0.
    ForgetDirect = 26;
    /// Sends out of another interface: its number, 0.
    Redirect = 27;
    /// Counted a packet to a real: the real, bytes.
    CountIn = 28;
    /// Counted a real's packet back to its client: the real, bytes.
    CountOut = 29;
    /// Counted a flow that began: its real, 0.
    CountFlow = 30;
    /// Counted a packet that is not forwarded: the service, the reason.
    Reason = 31;
    /// Checked the limit of ICMP errors: 1 if an error may be made, 0.
    IcmpBudget = 32;
    /// Adjusted the connection counts of a real: the real, 0.
    CountLoad = 33;
    /// Found the `fnat` flow that a packet to the director belongs to: 0, 0.
    Translation = 34;
    /// Tried to reserve a SNAT port for a `fnat` flow: the port, 0.
    TakeDip = 35;
    /// Released a SNAT port: the port, 0.
    GiveDipBack = 36;
}

/// A step and its two numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Event {
    /// The step, a [`Step`].
    pub step: u32,
    /// The first number of the step.
    pub a: u32,
    /// The second number of the step.
    pub b: u32,
}
layout!(Event, size: 12, align: 4);

/// Value of the global `TRACE`, of which each copy of the programs has its own: the steps of the last packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trace {
    /// Number of steps.
    pub count: u32,
    /// Number of positions of a rotating scheduler that a dry run would have taken.
    pub turns: u32,
    /// Number of SNAT ports that a dry run would have tried.
    pub tries: u32,
    /// The last [`Trace::LENGTH`] steps; step `n` is at `n % LENGTH`.
    pub events: [Event; Self::LENGTH],
}
layout!(Trace, size: 780, align: 4);

impl Trace {
    /// Number of steps that are kept; a power of two.
    pub const LENGTH: usize = 64;

    /// A trace without steps.
    pub const EMPTY: Self =
        Self { count: 0, turns: 0, tries: 0, events: [Event { step: 0, a: 0, b: 0 }; Self::LENGTH] };

    /// Returns the kept steps in their order.
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
