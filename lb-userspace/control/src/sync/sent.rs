// SPDX-License-Identifier: MIT OR Apache-2.0
//! The announcements that a director has sent, by the place of the flow in the flow table.
#![forbid(unsafe_code)]

use lb_common::flow_table::{Limits, Seen, Value};

/// The last announcement of the flow in a place of the table: 4 bytes.
///
/// | bits | content |
/// |---|---|
/// | 0–7 | generation of the entry |
/// | 8–11 | number of its state |
/// | 12 | 1 |
/// | 13–31 | time of the announcement, the lower 19 bits of a [`Seen`] |
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sent(u32);

impl Sent {
    const STATE: u32 = 8;
    const KNOWN: u32 = 1 << 12;
    const TIME: u32 = 13;
    const TIMES: u32 = (1 << (32 - Self::TIME)) - 1;

    fn new(value: Value, now: Seen) -> Self {
        let state = value.phase().state() as u32;
        let time = now.number() as u32 & Self::TIMES;
        Self(value.generation() as u32 | state << Self::STATE | Self::KNOWN | time << Self::TIME)
    }

    /// Returns whether this is the announcement of the same entry in the same state.
    fn is_of(self, value: Value) -> bool {
        (self.0 ^ Self::new(value, Seen::default()).0) << (32 - Self::TIME) == 0
    }

    /// Returns the time since the announcement, in units of [`Seen`], modulo 9.7 hours.
    fn age(self, now: Seen) -> u32 {
        (now.number() as u32).wrapping_sub(self.0 >> Self::TIME) & Self::TIMES
    }
}

/// The announcements of a flow table.
#[derive(Debug, Default)]
pub struct SentFlows {
    places: Vec<Sent>,
    /// Interval of repetitions in units of [`Seen`], 0 for a quarter of the timeout.
    refresh: u32,
}

impl SentFlows {
    /// The longest interval between two announcements of a flow in units of [`Seen`]: 4 hours.
    const LONGEST: u32 = 4 * 3600 * 1000 / 67;

    /// Creates the memory of a table with this number of places. `refresh` is the interval of repetitions in units of
    /// [`Seen`]; `None` stands for a quarter of each flow's timeout.
    #[must_use]
    pub fn new(places: u32, refresh: Option<u32>) -> Self {
        let refresh = refresh.map_or(0, |refresh| refresh.clamp(1, Self::LONGEST));
        Self { places: vec![Sent::default(); places as usize], refresh }
    }

    /// Returns whether the flow in a place must be announced: it has begun, its state has changed, or it was announced a
    /// quarter of its timeout ago. Flows that other directors have announced, and flows that have timed out, are not
    /// announced.
    #[must_use]
    pub fn is_due(&self, place: usize, value: Value, limits: &Limits, now: Seen) -> bool {
        if value.is_announced() || value.is_over(limits, now, 0) {
            return false;
        }
        let Some(sent) = self.places.get(place) else { return false };
        if !sent.is_of(value) {
            return true;
        }
        let refresh = if self.refresh == 0 {
            (limits.of_phase(value.phase_number()) / 4).clamp(1, Self::LONGEST)
        } else {
            self.refresh
        };
        sent.age(now) >= refresh
    }

    /// Notes the announcement of the flow in a place.
    pub fn note(&mut self, place: usize, value: Value, now: Seen) {
        if let Some(sent) = self.places.get_mut(place) {
            *sent = Sent::new(value, now);
        }
    }

    /// Forgets all announcements: each living flow will be announced again.
    pub fn forget(&mut self) {
        self.places.fill(Sent::default());
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{flow_table::Phase, ids::RealId, schema::Timeouts};

    use super::*;

    fn limits() -> Limits {
        Limits::of(&Timeouts::DEFAULT)
    }

    fn value(phase: Phase, seen: u64, generation: u64) -> Value {
        Value::new(RealId(1), Seen::from_number(seen), phase).at_generation(generation)
    }

    #[test]
    fn a_flow_is_announced_at_its_begin_its_changes_and_each_quarter_of_its_timeout() {
        let (mut sent, limits) = (SentFlows::new(16, None), limits());
        let at = |second: u64| Seen::from_number(5000 + second * 1000 / 67);
        let begun = value(Phase::NewEstablished, 5000, 3);
        assert!(sent.is_due(7, begun, &limits, at(0)));
        sent.note(7, begun, at(0));
        assert!(!sent.is_due(7, begun, &limits, at(1)));
        let proven = value(Phase::Established, 5010, 3);
        assert!(!sent.is_due(7, proven, &limits, at(1)), "the state is the same");
        assert!(sent.is_due(7, value(Phase::Established, 5010, 4), &limits, at(1)), "another flow");
        let closed = value(Phase::FinWait, 5010, 3);
        assert!(sent.is_due(7, closed, &limits, at(1)));
        assert!(!sent.is_due(7, proven, &limits, at(223)));
        assert!(sent.is_due(7, proven, &limits, at(227)), "a quarter of 900 s");
        sent.note(7, closed, at(300));
        assert!(!sent.is_due(7, value(Phase::FinWait, 5000 + 4477, 3), &limits, at(328)));
        assert!(
            sent.is_due(7, value(Phase::FinWait, 5000 + 4477, 3), &limits, at(332)),
            "a quarter of 120 s"
        );
    }

    #[test]
    fn neither_announced_nor_ended_flows_are_announced() {
        let (sent, limits) = (SentFlows::new(16, None), limits());
        let living = value(Phase::Established, 5000, 1);
        let now = Seen::from_number(5000);
        assert!(sent.is_due(0, living, &limits, now));
        assert!(!sent.is_due(0, living.with_announced(true), &limits, now));
        assert!(!sent.is_due(0, living, &limits, Seen::from_number(5000 + 14_000)));
        assert!(!sent.is_due(16, living, &limits, now), "no such place");
    }

    #[test]
    fn the_time_of_an_announcement_wraps_around() {
        let (mut sent, limits) = (SentFlows::new(1, Some(100)), limits());
        let now = (1 << 19) - 10;
        let flow = |seen: u64| value(Phase::Established, seen, 255);
        sent.note(0, flow(now), Seen::from_number(now));
        assert!(!sent.is_due(0, flow(now + 50), &limits, Seen::from_number(now + 99)));
        assert!(sent.is_due(0, flow(now + 50), &limits, Seen::from_number(now + 100)));
        sent.forget();
        assert!(sent.is_due(0, flow(now), &limits, Seen::from_number(now)));
    }
}
