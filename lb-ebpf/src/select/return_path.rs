// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Return paths of the replies of nat reals.

use lb_common::{
    ids::{RealId, ServiceId},
    packet::{self, Parsed},
    reason::Reason,
    schema::{FlowKey, Method, Real, ReturnPath, Source},
};

use super::opens;
use crate::{
    frame::Frame,
    out_of_line::Truncated,
    tables::{self, IpFamily},
};

/// Returns the return path to the sender of the frame.
#[inline(always)]
fn of(frame: &Frame) -> Result<ReturnPath, Reason> {
    Ok(ReturnPath {
        ifindex: frame.ifindex(),
        to_client: packet::frame_macs(frame)?.swapped(),
        tags: tables::vlan_state().tags,
    })
}

/// Returns whether a client's packet to a nat real has nothing new for [`learn`].
#[inline(always)]
pub fn is_known<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<bool, Reason> {
    Ok(tables::is_path_known(parsed.flow.source, &of(frame)?)
        && !(opens(parsed) && tables::may_be_bypassed()))
}

/// Returns whether the replies of a tracked flow, whose entry has this gateway, take the path of the client's packet.
#[inline(always)]
pub fn is_of_flow<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, gateway: u8) -> Result<bool, Reason> {
    Ok(tables::path_of_flow(parsed.flow.source, gateway) == Some(&of(frame)?))
}

/// Records the return path of the replies of a tracked flow, and returns the gateway for the flow's entry.
#[inline(always)]
pub fn for_flow<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>) -> Result<u8, Reason> {
    let way = of(frame)?;
    let gateway = tables::gateway_of(&way) as u8;
    if gateway == 0 && tables::path_of_flow(parsed.flow.source, 0) != Some(&way) {
        tables::remember_return_path(parsed.flow.source, &way);
    }
    Ok(gateway)
}

/// Returns whether replies by this method return through the director.
#[inline(always)]
pub const fn is_needed(method: u16) -> bool {
    method == Method::Nat as u16 || method == Method::Fnat as u16
}

out_of_line! {
    /// Records the return path of the replies of the nat real with this id, which untracked flows need.
    pub fn learn [learn_return_path, learn_return_path6](frame; parsed: &Parsed<A>; id: RealId) -> Result<(), Truncated> {
        let real = tables::real(id).ok_or(Reason::NoReal)?;
        if real.method != Method::Nat as u16 || real.is(Real::SHARED) {
            return Ok(());
        }
        let way = of(frame)?;
        if !tables::is_path_known(parsed.flow.source, &way) && tables::return_path(parsed.flow.source) != Some(&way) {
            tables::remember_return_path(parsed.flow.source, &way);
        }
        if opens(parsed) {
            tables::forget_bypass(&real.reply_key(&parsed.flow));
        }
        Ok(())
    }
}

out_of_line! {
    /// Records the service of the replies of a flow to the shared nat real with this id, unless it is recorded
    /// already. A flow may be older than the sharing, and its entry may have been evicted.
    pub fn remember_reply [remember_reply, remember_reply6](; request: &FlowKey<A>; id: RealId) -> () {
        let Some(real) = tables::real(id) else { return };
        if Method::from_number(real.method) != Some(Method::Nat) {
            return;
        }
        let key = real.reply_key(request);
        let (vip, port) = (request.destination, request.destination_port);
        let source = Source::new(vip, port, Source::SHARED, RealId::NONE, ServiceId::NONE);
        if tables::reply(&key) != Some(source) {
            tables::remember_reply(&key, &source);
        }
    }
}
