// SPDX-License-Identifier: MIT OR Apache-2.0
//! The effects of announced connections, and their numbers.
#![forbid(unsafe_code)]

/// The effect of an announced connection or template on this director.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It has a new entry.
    Added,
    /// It has replaced an announced entry.
    Replaced,
    /// Packets at this director have renewed the entry, which stays as it is.
    Own,
    /// The director finds its real without an entry: its slot is steady and has this real, or the service tracks no
    /// flows.
    Untracked,
    /// No service has its VIP, port and protocol. It waits for one.
    NoService,
    /// Its service has no such real. It waits for one.
    NoReal,
    /// It is in a state that flows of xvs do not have, as one that an application helper expects.
    State,
    /// The service of the template has no persistence.
    NotPersistent,
    /// Its real is reached by `fnat`, and the SNAT address is not one of this director, or is not announced.
    NoSnat,
    /// A persistence engine made the template: xvs has none.
    Engine,
    /// Announced connections have their share of the flow table.
    Share,
    /// The flow table has no place for it.
    Full,
}

impl Effect {
    /// All effects.
    pub const ALL: [Self; 12] = [
        Self::Added,
        Self::Replaced,
        Self::Own,
        Self::Untracked,
        Self::NoService,
        Self::NoReal,
        Self::State,
        Self::NotPersistent,
        Self::NoSnat,
        Self::Engine,
        Self::Share,
        Self::Full,
    ];

    /// Returns the name in metrics and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Replaced => "replaced",
            Self::Own => "own",
            Self::Untracked => "untracked",
            Self::NoService => "no_service",
            Self::NoReal => "no_real",
            Self::State => "state",
            Self::NotPersistent => "not_persistent",
            Self::NoSnat => "no_snat",
            Self::Engine => "engine",
            Self::Share => "share",
            Self::Full => "full",
        }
    }

    /// Returns whether a change of the services may change the effect: a service or real may come, or the slot of a
    /// connection without an entry may get another real.
    #[must_use]
    pub const fn may_wait(self) -> bool {
        matches!(self, Self::NoService | Self::NoReal | Self::Untracked)
    }

    /// Returns whether the connection stays on its real at this director.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::Added | Self::Replaced | Self::Own | Self::Untracked)
    }
}

/// Numbers of announced connections by effect.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Effects([u64; Effect::ALL.len()]);

impl Effects {
    /// Counts an effect.
    pub const fn count(&mut self, effect: Effect) {
        self.0[effect as usize] += 1;
    }

    /// Adds the numbers of `other`.
    pub fn add(&mut self, other: &Self) {
        for (number, more) in self.0.iter_mut().zip(other.0) {
            *number += more;
        }
    }

    /// Subtracts from the number of an effect, for connections that are applied again.
    pub const fn subtract(&mut self, effect: Effect, number: u64) {
        let place = &mut self.0[effect as usize];
        *place = place.saturating_sub(number);
    }

    /// Returns the number of an effect.
    #[must_use]
    pub const fn of(&self, effect: Effect) -> u64 {
        self.0[effect as usize]
    }

    /// Returns the effects with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Effect, u64)> {
        Effect::ALL.into_iter().zip(self.0)
    }

    /// Returns the number of connections that stay on their reals.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.iter().filter(|(effect, _)| effect.is_kept()).map(|(_, number)| number).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_numbered_in_their_order() {
        for (number, effect) in Effect::ALL.into_iter().enumerate() {
            assert_eq!(effect as usize, number);
        }
        let mut effects = Effects::default();
        effects.count(Effect::Own);
        effects.count(Effect::Full);
        effects.add(&effects.clone());
        assert_eq!((effects.of(Effect::Own), effects.kept()), (2, 2));
    }
}
