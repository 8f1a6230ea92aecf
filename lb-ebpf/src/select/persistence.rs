// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Persistence: new connections of a client go to the real of its earlier ones.

use lb_common::{
    ids::RealId,
    packet::Ip,
    schema::{Client, ClientKey, FlowKey, Real, Service},
    ticks::{Tick, Ticks},
};

use crate::tables;

/// Minimum time for which a client with living connections stays on its real; IPVS renews a template
/// likewise.
const GRACE: Ticks = Ticks::of_seconds(60);

#[inline(always)]
fn key<A: Ip>(service: &Service, flow: &FlowKey<A>) -> ClientKey {
    ClientKey::new(service, flow.source.wide())
}

/// Returns the real on which persistence keeps a client, if the real still exists. Its weight and thresholds do not
/// matter, as in IPVS.
#[inline(always)]
pub fn real<A: Ip>(service: &Service, flow: &FlowKey<A>, now: Tick) -> Option<RealId> {
    let client = tables::client(&key(service, flow))?;
    if is_over(client.expires, now) {
        return None;
    }
    let real = tables::real(client.real)?;
    (real.service == service.id && !real.is(Real::LEAVING)).then_some(client.real)
}

out_of_line! {
    /// Keeps a client on the real of its new connection.
    pub fn remember [remember_client, remember_client6](; service: &Service, flow: &FlowKey<A>; real: RealId) -> () {
        let client = Client { real, expires: tables::now().after(service.persistent) };
        tables::remember_client(&key(service, flow), &client);
    }
}

/// Extends the persistence of a client at a packet of one of its connections.
#[inline(always)]
pub fn keep<A: Ip>(service: &Service, flow: &FlowKey<A>, real: RealId, now: Tick) {
    let key = key(service, flow);
    if let Some(client) = tables::client(&key)
        && client.real == real
        && is_over(client.expires, now.after(GRACE))
    {
        tables::remember_client(&key, &Client { real, expires: now.after(GRACE) });
    }
}

#[inline(always)]
const fn is_over(expires: Tick, now: Tick) -> bool {
    expires.age(now).exceeds(Ticks::ZERO)
}
