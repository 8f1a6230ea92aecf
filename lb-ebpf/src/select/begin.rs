// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Adds the flow table entry of a new flow.

use aya_log_ebpf::debug;
use lb_common::{
    flow_table::{Inserted, Phase, Seen, Value},
    ids::RealId,
    packet::{Parsed, tcp_flags},
    reason::Reason,
    schema::Step,
    track,
};

use super::{Picked, return_path};
use crate::{
    frame::Frame,
    tables::{self, IpFamily},
};

/// Adds the flow table entry of a packet, whose flow was looked up last. Returns the real of the flow: that of `picked`,
/// unless another CPU has added the flow at the same time. `known` is the value of an ended flow with the same 5-tuple, if
/// there was one.
#[inline(always)]
pub fn begin<A: IpFamily>(
    frame: &Frame,
    parsed: &Parsed<A>,
    picked: Picked,
    known: Value,
) -> Result<RealId, Reason> {
    let new = Value(new_value(frame, parsed, picked));
    if new.real().is_none() {
        return Err(Reason::Truncated);
    }
    match tables::remember_flow(known, new) {
        Inserted::Added => {}
        Inserted::Other(value) => return Ok(value.real()),
        Inserted::Unknown => return Err(Reason::FlowContended),
        Inserted::Full => {
            debug!(frame.ctx(), "the flow table takes no new flow");
            return Err(Reason::FlowTableFull);
        }
    }
    tables::note(Step::CountLoad, picked.id.0, 0);
    // In a slot in transition, an older connection gets its entry at a packet other than a SYN: it is not a new flow.
    if !picked.moved
        || !track::is_connection(parsed.flow.protocol as u8)
        || parsed.tcp_flags & tcp_flags::SYN != 0
    {
        tables::count_flow(picked.id);
    }
    Ok(picked.id)
}

out_of_line! {
    /// Returns the value of a new flow's entry, and records the return path of the flow's replies. Returns no real if the
    /// frame ends too early.
    fn new_value [new_value, new_value6](frame; parsed: &Parsed<A>; picked: Picked) -> u64 {
        let Some(real) = tables::real(picked.id) else { return 0 };
        let gateway = if return_path::is_needed(real.method) {
            let Ok(gateway) = return_path::for_flow(frame, parsed) else { return 0 };
            gateway
        } else {
            0
        };
        let phase = Phase::first(parsed.flow.protocol as u8, parsed.tcp_flags);
        Value::new(picked.id, Seen::of(tables::now()), phase).with_gateway(gateway).0
    }
}
