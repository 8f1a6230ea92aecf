// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs explain`: describes step by step how the loaded programs process a packet. All functions here are
//! pure; the daemon runs the packet.
#![forbid(unsafe_code)]
// The print macros panic if stdout or stderr is closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use serde::{Deserialize, Serialize};

pub mod decode; // fields of a frame, and differences
pub mod flow; //   flow of a frame
pub mod headers; // headers of a frame
pub mod hex; //    bytes as text
mod near; //       services near a packet that matches none
pub mod packet; // a frame of a flow
pub mod pcap; //   a frame of a capture
pub mod steps; //  description of the recorded steps

pub use decode::Difference;
pub use packet::{Flag, Flow};

/// A request for an explanation.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Question {
    /// Frame in hexadecimal digits. A destination MAC address of zeros stands for that of the interface.
    pub frame: String,
    /// Ingress interface; `None` for the first interface of the daemon.
    #[serde(default)]
    pub interface: Option<String>,
    /// Change that is assumed to be made.
    #[serde(default)]
    pub plan: Option<Plan>,
}

/// A config file.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Plan {
    /// Name for messages.
    pub name: String,
    /// Text.
    pub text: String,
}

/// Description of a run.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Explanation {
    /// Ingress interface.
    pub interface: String,
    /// Service, if the packet matched one.
    pub service: Option<String>,
    /// Address and port of the real, if one was found or selected.
    pub real: Option<String>,
    /// Action as returned to the driver, such as `XDP_TX`.
    pub action: String,
    /// Action in words.
    pub verdict: String,
    /// Reason, as `xvs stats` would count it.
    pub reason: String,
    /// Steps in order, from the parser to the reason.
    pub steps: Vec<StepView>,
    /// Rewritten fields.
    pub rewrite: Vec<Difference>,
    /// Frame before the run, in hexadecimal digits.
    pub frame_in: String,
    /// Frame after the run, in hexadecimal digits.
    pub frame_out: String,
}

/// A step of the programs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct StepView {
    /// Name of the step.
    pub step: String,
    /// Details.
    pub detail: String,
}

impl StepView {
    /// Creates a step.
    #[must_use]
    pub fn new(step: &str, detail: impl Into<String>) -> Self {
        Self { step: step.to_owned(), detail: detail.into() }
    }
}

impl Explanation {
    /// Returns a line for each step.
    #[must_use]
    pub fn lines(&self) -> String {
        let width = self.steps.iter().map(|step| step.step.len()).max().unwrap_or(0);
        let line = |StepView { step, detail }: &StepView| format!("{step:width$}  {detail}\n");
        self.steps.iter().map(line).collect()
    }
}
