// SPDX-License-Identifier: MIT OR Apache-2.0
//! `real_server`: meaning of its words.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::{
    super::{Block, Imported, Kind},
    check::Checker,
    lines::Said,
    number::{socket, unsigned},
    schedule::{Schedule, switch},
    silent::silent,
    way::{Taken, Way},
};
use lb_model::MAX_WEIGHT;

/// A `real_server`.
#[derive(Clone, Debug)]
pub struct Real {
    /// Line of the real.
    pub said: Said,
    /// Address; port 0 if none is given.
    pub address: SocketAddr,
    /// Method.
    pub way: Way,
    /// Weight.
    pub weight: Option<u32>,
    /// Thresholds.
    pub upper: u32,
    pub lower: u32,
    /// The real serves if too few others are healthy.
    pub backup: bool,
    /// Schedule of the checkers.
    pub schedule: Schedule,
    /// Connections of the real stay on it while it is down.
    pub inhibit: Option<(Said, bool)>,
    /// Checkers.
    pub checkers: Vec<Checker>,
    /// Lines of its block.
    pub lines: Vec<Said>,
}

impl Real {
    /// Parses the words after `real_server` or `sorry_server`.
    ///
    /// # Errors
    /// If the real is invalid; the message has the reason.
    pub fn new(said: &Said, words: &[&str], way: Way) -> Result<Self, String> {
        let wrong = || format!("{} is no address with a port", words.join(" "));
        let address = words.first().and_then(|ip| socket(ip, words.get(1).copied())).ok_or_else(wrong)?;
        Ok(Self {
            said: said.clone(),
            address,
            way,
            weight: None,
            upper: 0,
            lower: 0,
            backup: false,
            schedule: Schedule::default(),
            inhibit: None,
            checkers: Vec::new(),
            lines: Vec::new(),
        })
    }

    /// Parses a line of the real's block.
    pub fn take(&mut self, said: &Said, words: &[&str]) -> Taken {
        let value = words.get(1).copied().unwrap_or_default();
        let wrong = |what: &str| {
            Taken::No(format!("{value} is no {what}: keepalived ignores the line"), Kind::Setting)
        };
        match words[0] {
            "weight" => match unsigned(value, 0, MAX_WEIGHT, true) {
                Some(weight) => self.weight = Some(weight),
                None => return wrong("weight"),
            },
            "uthreshold" => match unsigned(value, 0, u32::MAX, true) {
                Some(upper) => self.upper = upper,
                None => return wrong("threshold"),
            },
            "lthreshold" => match unsigned(value, 0, u32::MAX, true) {
                Some(lower) => self.lower = lower,
                None => return wrong("threshold"),
            },
            "lvs_method" => return self.way.take(words),
            "inhibit_on_failure" => match switch(words) {
                Some(inhibit) => self.inhibit = Some((said.clone(), inhibit)),
                None => return wrong("switch"),
            },
            _ => {
                let taken = self.schedule.take(said, words).or_else(|| silent(words));
                let unknown =
                    || Taken::No("keepalived 2.2.7 does not know it here".to_owned(), Kind::Setting);
                return taken.unwrap_or_else(unknown);
            }
        }
        Taken::Yes
    }

    /// Returns the lines of the real, without those of its checkers.
    pub fn own_lines(&self) -> impl Iterator<Item = &Said> {
        std::iter::once(&self.said).chain(&self.lines)
    }

    /// Lists the whole real as not carried over.
    pub fn leave(&self, imported: &mut Imported, block: &Block, why: &str) {
        for (place, text) in self.own_lines().chain(self.checkers.iter().flat_map(Checker::all_lines)) {
            imported.leave(place, text, why, Kind::Real, Some(block));
        }
    }
}
