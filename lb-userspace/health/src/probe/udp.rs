// SPDX-License-Identifier: MIT OR Apache-2.0
//! UDP checks: send a datagram; expect a matching answer, or at least no ICMP error.
#![forbid(unsafe_code)]

use lb_model::health::ResultCode;

use super::{
    LONGEST_ANSWER, Outcome, Prepared, Way, connect, quote,
    trace::{Stage, Trace},
};
use crate::target::Target;

/// Probes a target.
pub(super) async fn probe(
    prepared: &Prepared,
    target: &Target,
    way: &Way,
    trace: &Trace,
) -> Result<Outcome, Outcome> {
    // Declared in this order, the socket is closed before its port is given back.
    let (_lease, socket) = connect::udp(target, way, trace).await?;
    let refused = |error| connect::refused(&error);
    socket.send(&prepared.send).await.map_err(refused)?;
    trace.step(|| format!("sent {} to {}", quote(&prepared.send), connect::address(target)));
    trace.enter(if prepared.expect.is_some() { Stage::Datagram } else { Stage::Silence });
    let mut answer = vec![0; LONGEST_ANSWER];
    loop {
        let length = socket.recv(&mut answer).await.map_err(refused)?;
        let answer = &answer[..length];
        trace.step(|| format!("received {} after {}", quote(answer), trace.elapsed()));
        match &prepared.expect {
            None => return Ok(Outcome::new(ResultCode::L4Ok, "")),
            Some(expect) if expect.is_match(answer) => return Ok(Outcome::new(ResultCode::L7Ok, "")),
            // A late answer to an earlier probe may come before the one to this probe.
            Some(_) => trace.enter(Stage::Mismatch),
        }
    }
}
