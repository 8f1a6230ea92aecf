// SPDX-License-Identifier: MIT OR Apache-2.0
//! `POST /v1/trace`: which packets to trace, and what becomes of them.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::request::Ask;
use lb_common::{
    reason::{Fate, Reason},
    schema::LONGEST_SAMPLE,
};
use lb_model::{Protocol, RealAddress, ServiceId, failure::Failure};

/// Default number of samples per second.
pub const RATE: u32 = 100;
/// Largest number of samples per second.
pub const MOST: u32 = 10_000;
/// Default duration of a trace, in seconds.
pub const SECONDS: u64 = 600;
/// Longest duration of a trace, in seconds.
pub const LONGEST: u64 = 3600;

/// Body of `POST /v1/trace`: a packet is traced if each given field selects it.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct TraceQuestion {
    /// Packets of this service.
    #[serde(default)]
    pub service: Option<ServiceId>,
    /// Packets to and from this real; without a port, of all its ports.
    #[serde(default)]
    pub real: Option<RealAddress>,
    /// Packets of clients in this network.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub client: Option<IpNet>,
    /// Packets of this flow, in both directions.
    #[serde(default)]
    pub flow: Option<TraceFlow>,
    /// Packets with one of these reasons; none stands for all but `not_ours`.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Mean number of samples per second, up to 10,000.
    #[serde(default = "rate")]
    pub rate: u32,
    /// Number of bytes of each frame, up to 2,048; without it, the headers.
    #[serde(default)]
    pub snaplen: Option<u32>,
    /// Seconds after which the trace ends, up to 3,600.
    #[serde(default = "seconds")]
    pub seconds: u64,
}

const fn rate() -> u32 {
    RATE
}

const fn seconds() -> u64 {
    SECONDS
}

impl Default for TraceQuestion {
    fn default() -> Self {
        let reasons = Vec::new();
        Self {
            service: None,
            real: None,
            client: None,
            flow: None,
            reasons,
            rate: RATE,
            snaplen: None,
            seconds: SECONDS,
        }
    }
}

impl Ask for TraceQuestion {}

impl TraceQuestion {
    /// Returns the reasons to trace.
    ///
    /// # Errors
    /// Wrong input if a reason, or another field, has no such value.
    pub fn checked(&self) -> Result<Vec<Reason>, Failure> {
        let beyond = |what: &str, value: u64, most: u64| {
            Failure::wrong_input(format!("{what} of {value} is not between 1 and {most}"))
        };
        if !(1..=MOST).contains(&self.rate) {
            return Err(beyond("a rate", self.rate.into(), MOST.into()));
        }
        if !(1..=LONGEST).contains(&self.seconds) {
            return Err(beyond("a duration in seconds", self.seconds, LONGEST));
        }
        if let Some(snaplen) = self.snaplen
            && !(1..=LONGEST_SAMPLE).contains(&snaplen)
        {
            return Err(beyond("a snaplen", snaplen.into(), LONGEST_SAMPLE.into()));
        }
        if let Some(flow) = &self.flow
            && flow.client.is_ipv4() != flow.destination.is_ipv4()
        {
            let TraceFlow { client, destination, .. } = flow;
            return Err(Failure::wrong_input(format!(
                "{client} and {destination} are not of the same version of IP"
            )));
        }
        let known = |name: &String| {
            Reason::ALL.iter().copied().find(|reason| reason.as_str() == *name).ok_or_else(|| {
                let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
                Failure::wrong_input(format!("there is no reason {name}"))
                    .hint(format!("reasons are {}", names.join(", ")))
            })
        };
        if self.reasons.is_empty() {
            return Ok(Reason::ALL.iter().copied().filter(|reason| *reason != Reason::NotOurs).collect());
        }
        self.reasons.iter().map(known).collect()
    }
}

/// A flow, as the client sends it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TraceFlow {
    /// Protocol.
    pub protocol: Protocol,
    /// Address and port of the client.
    pub client: SocketAddr,
    /// Address and port that the client sends to.
    pub destination: SocketAddr,
}

/// Direction of a packet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a client.
    Request,
    /// From a real.
    Reply,
}

/// Data of the event `packet`: a traced packet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TracedPacket {
    /// Time of the verdict, in milliseconds since 1970.
    pub time: u64,
    /// Nanoseconds since then.
    pub nanoseconds: u32,
    /// Interface of arrival.
    pub interface: String,
    /// Interface of departure, if the packet leaves.
    pub egress: Option<String>,
    /// Direction.
    pub direction: Direction,
    /// Protocol by name or number, unless the packet cannot be parsed.
    pub protocol: Option<String>,
    /// Source address and port, as received.
    pub source: Option<String>,
    /// Destination address and port, as received.
    pub destination: Option<String>,
    /// Address and port of the client.
    pub client: Option<String>,
    /// Service.
    pub service: Option<String>,
    /// Address and port of the real, if one was found.
    pub real: Option<String>,
    /// Forward method of the real.
    pub method: Option<String>,
    /// Reason, as `xvs stats` counts it.
    pub reason: String,
    /// Outcome for the packet: `sent`, `answered`, `passed` or `dropped`.
    pub verdict: String,
    /// Action, as returned to the driver, such as `XDP_TX`.
    pub action: String,
    /// Length of the frame, in bytes.
    pub length: u32,
    /// Beginning of the frame as received, in hexadecimal digits.
    pub frame: String,
    /// Reason and verdict as a sentence.
    pub text: String,
}

impl TracedPacket {
    /// Returns the sentence, from the other fields.
    #[must_use]
    pub fn sentence(&self) -> String {
        let method = self.method.as_deref().unwrap_or("?");
        let real = self.real.as_ref().map(|real| match self.direction {
            Direction::Request => format!(" to real {real} by {method}"),
            Direction::Reply => format!(" as reply of real {real} by {method}"),
        });
        let client = self.client.as_ref().filter(|_| self.direction == Direction::Reply);
        [
            Some(format!("{}: {}", self.reason, self.verdict)),
            real,
            client.map(|client| format!(" to client {client}")),
            self.egress.as_ref().map(|egress| format!(" out of {egress}")),
            self.service.as_ref().map(|service| format!(", service {service}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Returns what became of a packet.
#[must_use]
pub fn verdict(reason: Reason, action: u32) -> &'static str {
    match (action, reason.fate()) {
        (XDP_TX | XDP_REDIRECT, Fate::Answered) => "answered",
        (XDP_TX | XDP_REDIRECT, _) => "sent",
        (XDP_PASS, _) => "passed",
        _ => "dropped",
    }
}

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// Returns the name of an action (`enum xdp_action`).
#[must_use]
pub const fn action(action: u32) -> &'static str {
    match action {
        1 => "XDP_DROP",
        XDP_PASS => "XDP_PASS",
        XDP_TX => "XDP_TX",
        XDP_REDIRECT => "XDP_REDIRECT",
        _ => "XDP_ABORTED",
    }
}

/// Data of the event `counts`, which comes each second: packets since the trace began.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TraceCounts {
    /// Packets that the question selects.
    pub selected: u64,
    /// Packets of these that exceeded the rate.
    pub limited: u64,
    /// Samples that did not reach the client, because a buffer was full.
    pub lost: u64,
}

/// Data of the event `end`, the last one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TraceEnd {
    /// Why the trace ends.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_bounds_and_known_reasons() {
        let parse = |text: &str| serde_json::from_str::<TraceQuestion>(text).unwrap().checked();
        assert_eq!(parse("{}").unwrap().len(), Reason::ALL.len() - 1);
        assert_eq!(
            parse(r#"{"reasons": ["no_real", "not_ours"]}"#).unwrap(),
            [Reason::NoReal, Reason::NotOurs]
        );
        for (text, message) in [
            (r#"{"rate": 0}"#, "a rate of 0 is not between 1 and 10000"),
            (r#"{"snaplen": 2049}"#, "a snaplen of 2049 is not between 1 and 2048"),
            (r#"{"seconds": 4000}"#, "a duration in seconds of 4000 is not between 1 and 3600"),
            (r#"{"reasons": ["lost"]}"#, "there is no reason lost"),
        ] {
            assert_eq!(parse(text).unwrap_err().message, message);
        }
        let flow = r#"{"flow": {"protocol": "tcp", "client": "192.0.2.1:1", "destination": "[fd00::1]:80"}}"#;
        assert!(parse(flow).unwrap_err().message.contains("same version"));
    }

    #[test]
    fn a_verdict_follows_from_action_and_reason() {
        assert_eq!(verdict(Reason::Forwarded, XDP_TX), "sent");
        assert_eq!(verdict(Reason::NoReal, XDP_TX), "answered");
        assert_eq!(verdict(Reason::NoReal, 1), "dropped");
        assert_eq!(verdict(Reason::TtlExceeded, XDP_PASS), "passed");
    }
}
