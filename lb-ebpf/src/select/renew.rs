// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Updates the entry of a known flow. Most packets change nothing.

use lb_common::{
    flow_table::{Seen, Value},
    packet::Parsed,
    reason::Reason,
    schema::{Real, Service, Step},
    ticks::Ticks,
};

use super::{persistence, return_path};
use crate::{out_of_line::Truncated, tables};

/// Returns whether the entry may need an update: a new state, an outdated time, or another return path, which [`renew`]
/// checks.
#[inline(always)]
pub fn is_due<A>(parsed: &Parsed<A>, real: &Real, value: Value, now: Seen) -> bool {
    !value.is_steady(parsed.tcp_flags, now) || return_path::is_needed(real.method)
}

out_of_line! {
    /// Writes the changes to the flow table, and extends the client's persistence.
    pub fn renew [renew, renew6](frame; parsed: &Parsed<A>, service: &Service; value: u64) -> Result<(), Truncated> {
        let (old, now) = (Value(value), tables::now());
        let seen = Seen::of(now);
        let real = tables::real(old.real()).ok_or(Reason::NoReal)?;
        let mut new = Value(value_after(value, parsed.tcp_flags.into(), seen.number() as u32));
        if return_path::is_needed(real.method) && !return_path::is_of_flow(frame, parsed, old.gateway())? {
            new = new.with_gateway(return_path::for_flow(frame, parsed)?);
        }
        if new.0 == old.0 {
            return Ok(());
        }
        tables::update_flow(old, new);
        if old.load() != new.load() {
            tables::note(Step::CountLoad, new.real().0, 0);
        }
        if service.persistent != Ticks::ZERO && new.seen() != old.seen() {
            persistence::keep(service, &parsed.flow, old.real(), now);
        }
        Ok(())
    }
}

out_of_line! {
    /// Runs [`Value::after`] in a global function: its many paths all return an unknown number, and the verifier walks once
    /// through what follows.
    fn value_after [value_after](;; value: u64, tcp_flags: u32, seen: u32) -> u64 {
        Value(value).after(tcp_flags as u8, Seen::from_number(seen.into())).0
    }
}
