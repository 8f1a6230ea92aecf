// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages between an agent on a real server and the director. docs/agent.md has the protocol.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use axum::http::HeaderName;
use serde::{Deserialize, Serialize};

use super::{proof::Nonce, request};
use lb_model::{Forward, Tunnel};

/// Header with the proof of an answer (RFC 7615).
pub const PROOF: HeaderName = HeaderName::from_static("authentication-info");

/// Role of a host for one VIP.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Role {
    /// VIP.
    pub vip: IpAddr,
    /// RIP of the host.
    pub rip: IpAddr,
    /// Forward method.
    pub forward: Forward,
    /// Encapsulation for `tun`.
    pub tunnel: Tunnel,
}

/// Body of `POST /v1/roles`.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Question {
    /// Time of the question, in seconds since 1970.
    pub time: u64,
    /// Nonce of the question.
    pub nonce: Nonce,
    /// Addresses of the agent's host.
    pub addresses: Vec<IpAddr>,
    /// Tag of the roles that the agent knows.
    #[serde(default)]
    pub known: Option<String>,
    /// Time in seconds that the answer may wait for other roles.
    #[serde(default)]
    pub wait: u64,
}

impl request::Ask for Question {}

/// Answer to a [`Question`].
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Told {
    /// Tag of the roles.
    pub tag: String,
    /// Roles, unless the agent knows them.
    pub roles: Option<Vec<Role>>,
}
