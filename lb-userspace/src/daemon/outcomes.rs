// SPDX-License-Identifier: MIT OR Apache-2.0
//! Outcomes of changes, and of reads of the config file: what an operator is told of by the metrics.
#![forbid(unsafe_code)]

use std::time::{SystemTime, UNIX_EPOCH};

use lb_model::failure::Failure;

/// Counts since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outcomes {
    /// Changes of services that were carried out, that of the start included.
    pub applied: u64,
    /// Changes that were refused as wrong input; nothing was written.
    pub refused: u64,
    /// Changes and updates that failed: of the maps or of the state file.
    pub failed: u64,
    /// The config file, if one was read.
    pub config: Option<ConfigOutcome>,
}

/// Outcome of reads of the config file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConfigOutcome {
    /// Whether the file was in order, and its services could be applied, when it was last read.
    pub is_good: bool,
    /// Time of the last read after which that was so, in seconds since 1970; 0 if there was none.
    pub last_good: u64,
}

impl Outcomes {
    /// Counts a change.
    pub(super) const fn note<T>(&mut self, result: &Result<T, Failure>) {
        match result {
            Ok(_) => self.applied += 1,
            Err(failure) if failure.exit_code() == WRONG_INPUT => self.refused += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// Counts an update that failed, such as that of next hops.
    pub(super) const fn note_failure(&mut self) {
        self.failed += 1;
    }

    /// Notes that the config file was read, and whether its services are in force.
    pub(super) fn note_config(&mut self, is_good: bool) {
        let config = self.config.get_or_insert_default();
        config.is_good = is_good;
        if is_good {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            config.last_good = now.map_or(0, |now| now.as_secs());
        }
    }
}

/// Exit code of wrong input.
const WRONG_INPUT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_does_not_change_the_time_of_the_last_good_one() {
        let mut outcomes = Outcomes::default();
        outcomes.note_config(true);
        let good = outcomes.config.unwrap().last_good;
        outcomes.note_config(false);
        assert!(good > 0);
        assert_eq!(outcomes.config, Some(ConfigOutcome { is_good: false, last_good: good }));
        outcomes.note(&Ok(()));
        outcomes.note::<()>(&Err(Failure::wrong_input("a typo")));
        outcomes.note::<()>(&Err(Failure::failed("no memory")));
        outcomes.note_failure();
        assert_eq!((outcomes.applied, outcomes.refused, outcomes.failed), (1, 1, 2));
    }
}
