// SPDX-License-Identifier: MIT OR Apache-2.0
//! A probe on its way to a thread, and its result on the way back.
#![forbid(unsafe_code)]

use std::sync::Arc;

use lb_model::health::LastResult;
use tokio::sync::{mpsc::Sender, oneshot};

use crate::{
    probe::{self, Prepared, Way},
    target::Target,
};

/// Message to the thread of the engine.
#[derive(Debug)]
pub(super) enum Message {
    /// A probe ended.
    Ended { id: u64, result: LastResult, weight_percent: Option<u8> },
    /// The director reached itself by the path, or not.
    Canary(Result<(), String>),
    /// The thread of the path could not start, or has lost the path that it had.
    NoPath { why: String, had_path: bool },
}

/// Receiver of a result.
#[derive(Debug)]
pub(super) enum Reply {
    /// The engine, for a probe with this number.
    Engine(u64, Sender<Message>),
    /// An operator.
    Operator(oneshot::Sender<LastResult>),
}

/// A probe to run.
#[derive(Debug)]
pub(super) struct Job {
    prepared: Arc<Prepared>,
    target: Arc<Target>,
    steps: Option<Sender<String>>,
    /// `None` once the result is sent.
    reply: Option<Reply>,
}

impl Job {
    pub fn new(
        prepared: Arc<Prepared>,
        target: Arc<Target>,
        steps: Option<Sender<String>>,
        reply: Reply,
    ) -> Self {
        Self { prepared, target, steps, reply: Some(reply) }
    }

    /// Runs the probe, and sends the result.
    pub async fn run(mut self, way: Way) {
        let (result, weight_percent) =
            probe::run(&self.prepared, &self.target, &way, self.steps.take()).await;
        if let Some(reply) = self.reply.take() {
            reply.send(result, weight_percent);
        }
    }

    /// Sends the result of a probe that cannot run.
    pub fn fail(mut self, why: &str) {
        if let Some(reply) = self.reply.take() {
            reply.send(probe::failed_to_start(why), None);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Without a result, the engine would never probe the target again.
        if let Some(reply) = self.reply.take() {
            reply.send(probe::failed_to_start("the probe was interrupted"), None);
        }
    }
}

impl Reply {
    /// Sends the result.
    pub fn send(self, result: LastResult, weight_percent: Option<u8>) {
        match self {
            // The channel has room for all probes in flight; if it is closed, the runner stops.
            Self::Engine(id, messages) => {
                drop(messages.try_send(Message::Ended { id, result, weight_percent }));
            }
            Self::Operator(reply) => drop(reply.send(result)),
        }
    }
}
