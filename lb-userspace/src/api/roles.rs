// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes over the wire between an agent on a real server and the director. docs/agent.md has the protocol.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use axum::http::HeaderName;
use serde::{Deserialize, Serialize};

use super::{proof::Nonce, request};
use crate::model::{Forward, Tunnel};

/// The header with the proof of an answer (RFC 7615).
pub const PROOF: HeaderName = HeaderName::from_static("authentication-info");

/// What a host is to the director for one VIP.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Role {
    /// The address that clients talk to.
    pub vip: IpAddr,
    /// The address by which the director knows the host.
    pub rip: IpAddr,
    /// How packets get there.
    pub forward: Forward,
    /// What is around them by `tun`.
    pub tunnel: Tunnel,
}

/// Body of `POST /v1/roles`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Question {
    /// When it is asked, in seconds since 1970.
    pub time: u64,
    /// What it is known by.
    pub nonce: Nonce,
    /// The addresses of the agent's host.
    pub addresses: Vec<IpAddr>,
    /// The tag of what the agent knows already.
    #[serde(default)]
    pub known: Option<String>,
    /// How many seconds the answer may wait for something else than that.
    #[serde(default)]
    pub wait: u64,
}

impl request::Ask for Question {}

/// Answer to it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Told {
    /// What the roles are known by.
    pub tag: String,
    /// The roles, unless they are those that the agent knows.
    pub roles: Option<Vec<Role>>,
}
