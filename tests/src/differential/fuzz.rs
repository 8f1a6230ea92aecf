// SPDX-License-Identifier: MIT OR Apache-2.0
//! The differential test with a fuzzer instead of random numbers. The fuzzer chooses a scene, and then the
//! frames one by one.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 to 191 | skips a sixteenth as many generated frames, and sends the next one; the lower two bits of the next byte are the number of bytes that change, with place and value of each |
//! | 192 to 239 | a frame of the fuzzer: its length in two bytes, and the bytes |
//! | 240 to 251 | the operator changes something |
//! | 252 to 255 | all changes were long ago |

use super::{
    damage::LONGEST,
    random::Random,
    scene::{SETTINGS, Scene},
    shrink::shrink,
    traffic::Traffic,
    trial::{Bench, Event},
};
use crate::packet::{
    device::{self, Devices},
    net::INGRESS,
};

/// Frames of an input at most.
const MOST: usize = 64;

/// The programs, loaded once for all inputs.
pub struct Fuzzer {
    bench: Bench,
    devices: Devices,
}

/// The unread rest of an input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes([self.byte()?, self.byte()?])))
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

impl Default for Fuzzer {
    fn default() -> Self {
        Self::new()
    }
}

impl Fuzzer {
    /// Loads the programs. The thread has its own network namespace from now on.
    pub fn new() -> Self {
        let devices = device::enter_another();
        Self { bench: Bench::new(SETTINGS, devices), devices }
    }

    /// Runs one input; panics if the programs and the model do not agree.
    pub fn run(&mut self, bytes: &[u8]) {
        let mut input = Input(bytes);
        let Some(number) = input.byte() else { return };
        let mut random = Random(number.into());
        let scene = Scene::random(number.into(), &mut random, self.devices);
        let mut traffic = Traffic::new(Random(number.into()), &scene.desired, self.devices);
        let mut desired = scene.desired.clone();
        let mut history = Vec::new();
        let mut trial = self.bench.begin(&scene);
        while let Some(kind) = input.byte()
            && history.len() < MOST
        {
            let event = match kind {
                0..192 => {
                    for _ in 0..kind / 16 {
                        traffic.frame();
                    }
                    let (mut frame, device) = traffic.frame();
                    for _ in 0..input.byte().unwrap_or(0) & 3 {
                        let (Some(at), Some(value)) = (input.byte(), input.byte()) else { break };
                        let at = usize::from(at) % frame.len();
                        frame[at] = value;
                    }
                    Event::Frame(frame, device)
                }
                192..240 => {
                    let length = input.number().unwrap_or(0).clamp(14, LONGEST);
                    let mut frame = input.bytes(length).to_vec();
                    frame.resize(frame.len().max(14), 0);
                    Event::Frame(frame, INGRESS)
                }
                240..252 => {
                    desired = Scene::changed(&mut random, &desired);
                    Event::Change(Box::new(desired.clone()))
                }
                252.. => Event::Age,
            };
            history.push(event);
            let event = history.last().expect("it was pushed");
            match (trial.step(event), event) {
                (Ok(Some(outcome)), Event::Frame(sent, _)) => traffic.notice(sent, &outcome),
                (Ok(_), _) => {}
                (Err(difference), _) => {
                    panic!("{}", shrink(&mut self.bench, &scene, history, difference));
                }
            }
        }
        if let Err(difference) = trial.end() {
            panic!("{}", shrink(&mut self.bench, &scene, history, difference));
        }
    }
}
