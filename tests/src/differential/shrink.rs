// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shortest history that still makes a difference: events that do not matter go, then bytes, then values
//! of bytes.

use std::fmt;

use super::{
    scene::Scene,
    trial::{Bench, Difference, Event},
};
use crate::packet::judge;

/// Maximum number of attempts with a history.
const PATIENCE: usize = 2_000;
/// The shortest frame that the kernel runs a program on.
const ETHERNET: usize = 14;

/// A shortened history, and the difference that it causes.
pub struct Shrunk {
    /// The history.
    pub events: Vec<Event>,
    /// The difference.
    pub difference: Difference,
    /// The services, at the end.
    pub scene: String,
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{} events:", self.scene, self.events.len())?;
        for event in &self.events {
            match event {
                Event::Frame(frame, device) => write!(f, "by device {device}:\n{}", judge::decode(frame))?,
                Event::Change(desired) => writeln!(f, "the operator wants {desired:?}")?,
                Event::Age => writeln!(f, "all changes were long ago")?,
            }
        }
        write!(f, "\n{}", self.difference)
    }
}

/// Returns the first difference that a history causes, if any.
fn replay(bench: &mut Bench, scene: &Scene, events: &[Event]) -> Option<(usize, Difference, String)> {
    let mut trial = bench.begin(scene);
    for (number, event) in events.iter().enumerate() {
        if let Err(difference) = trial.step(event) {
            return Some((number + 1, difference, trial.describe()));
        }
    }
    let difference = trial.end().err()?;
    Some((events.len(), difference, trial.describe()))
}

/// Shrinks a history that ended with a difference.
pub fn shrink(bench: &mut Bench, scene: &Scene, events: Vec<Event>, difference: Difference) -> Shrunk {
    let mut best = Shrunk { events, difference, scene: String::new() };
    let mut tries = PATIENCE;
    let mut keep_if_it_fails = |best: &mut Shrunk, events: Vec<Event>| {
        if tries == 0 {
            return false;
        }
        tries -= 1;
        let Some((used, difference, described)) = replay(bench, scene, &events) else { return false };
        *best = Shrunk { events: events[..used].to_vec(), difference, scene: described };
        true
    };
    let whole = best.events.clone();
    keep_if_it_fails(&mut best, whole);
    // Halves, quarters, … of the history.
    let mut chunk = best.events.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < best.events.len() {
            let end = (at + chunk).min(best.events.len());
            let rest = [&best.events[..at], &best.events[end..]].concat();
            if !keep_if_it_fails(&mut best, rest) {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    for number in (0..best.events.len()).rev() {
        let Some(Event::Frame(frame, device)) = best.events.get(number).cloned() else { continue };
        let with = |best: &Shrunk, frame: Vec<u8>| {
            let mut events = best.events.clone();
            events[number] = Event::Frame(frame, device);
            events
        };
        let mut frame = frame;
        // Removes as much of the end of the frame as possible.
        let mut cut = frame.len() / 2;
        while cut > 0 {
            if frame.len() >= ETHERNET + cut {
                let shorter = frame[..frame.len() - cut].to_vec();
                let events = with(&best, shorter.clone());
                if keep_if_it_fails(&mut best, events) && number < best.events.len() {
                    frame = shorter;
                    continue;
                }
            }
            cut /= 2;
        }
        // Sets bytes that do not matter to zero, as many at a time as possible.
        let mut chunk = frame.len() / 2;
        while chunk > 0 {
            for start in (0..frame.len()).step_by(chunk) {
                let mut plain = frame.clone();
                let end = (start + chunk).min(plain.len());
                plain[start..end].fill(0);
                if plain != frame && number < best.events.len() {
                    let events = with(&best, plain.clone());
                    if keep_if_it_fails(&mut best, events) {
                        frame = plain;
                    }
                }
            }
            chunk /= 2;
        }
    }
    best
}
