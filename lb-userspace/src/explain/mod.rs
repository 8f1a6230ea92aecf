// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs explain`: what the loaded programs do with a packet, step by step. All of this is pure; the daemon runs the packet.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

pub mod decode; // the fields of a frame, and what became of them
pub mod flow; //   whose packet a frame is
pub mod hex; //    bytes as text
mod near; //       services beside a packet that is for none
pub mod packet; // a frame of a flow
pub mod pcap; //   a frame of a capture
pub mod steps; //  what the programs told, in words

pub use decode::Difference;
pub use packet::{Flag, Flow};

/// What is to be explained.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Question {
    /// The frame in hexadecimal digits. Sent to no MAC address (all zero), it is addressed to the interface.
    pub frame: String,
    /// The interface that it is to come in by; the first one of the daemon's if it is not said.
    #[serde(default)]
    pub interface: Option<String>,
    /// A change that is to be thought of as made.
    #[serde(default)]
    pub plan: Option<Plan>,
}

/// A config file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// What to call it in messages.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// What the programs did.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// The interface that the frame came in by.
    pub interface: String,
    /// The service, if it is a service's.
    pub service: Option<String>,
    /// Address and port of the real, if one was found or chosen.
    pub real: Option<String>,
    /// What the driver would be told: `XDP_TX` and the like.
    pub action: String,
    /// The same in words.
    pub verdict: String,
    /// The reason, as `xvs stats` would count it.
    pub reason: String,
    /// Every step in its order, from the parser to the reason.
    pub steps: Vec<StepView>,
    /// What was rewritten.
    pub rewrite: Vec<Difference>,
    /// The frame that came in, in hexadecimal digits.
    pub frame_in: String,
    /// The frame that came out.
    pub frame_out: String,
}

/// A step on the way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StepView {
    /// Its name.
    pub step: String,
    /// What was found or done.
    pub detail: String,
}

impl StepView {
    /// A step.
    #[must_use]
    pub fn new(step: &str, detail: impl Into<String>) -> Self {
        Self { step: step.to_owned(), detail: detail.into() }
    }
}

impl Explanation {
    /// A line for each step.
    #[must_use]
    pub fn lines(&self) -> String {
        let width = self.steps.iter().map(|step| step.step.len()).max().unwrap_or(0);
        let line = |StepView { step, detail }: &StepView| format!("{step:width$}  {detail}\n");
        self.steps.iter().map(line).collect()
    }
}
