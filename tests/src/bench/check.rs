// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the benchmark measures the intended path: the destination of one frame, and the counters of
//! all.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::{
    net::{Host, PORT, REAL_PORT, mac},
    plane::Counts,
    row::{Path, Row, Traffic},
    trampoline::Sent,
};
use crate::packet::Action;

/// Checks that a frame took the path of its row.
pub fn sample(row: &Row, sent: &Sent) -> Result<()> {
    let action = match row.traffic {
        Traffic::NotOurs | Traffic::NotIp => Action::Pass,
        Traffic::NoReal => return Ok(()),
        _ if row.redirect => Action::Redirect,
        _ => Action::Tx,
    };
    ensure!(sent.action == action, "{row}: the director said {:?} to a packet, not {action:?}", sent.action);
    if !row.is_forwarded() {
        return Ok(());
    }
    let packet = SlicedPacket::from_ethernet(&sent.frame).context("what left is no packet")?;
    let (from, to) = ends(packet.net.as_ref().context("what left is no IP packet")?);
    if row.path.is_reply() {
        let vips = (0..row.services).map(|n| Host::Service(n).ip(row.version));
        ensure!(
            vips.into_iter().any(|vip| vip == from),
            "{row}: the reply comes from {from}, not from a service"
        );
        return Ok(());
    }
    let reals = 1..=row.services * row.reals;
    let real = reals
        .into_iter()
        .find(|real| sent.frame[..6] == mac(*real))
        .with_context(|| format!("{row}: the frame went to none of the reals"))?;
    let rip = Host::Real(real).ip(row.version);
    let is_vip = |ip: IpAddr| (0..row.services).any(|n| Host::Service(n).ip(row.version) == ip);
    match row.path {
        Path::Dr => ensure!(is_vip(to), "{row}: the packet went to {to}"),
        _ => ensure!(to == rip, "{row}: the packet went to {to}, the frame to {rip}"),
    }
    if let (Path::Nat | Path::Fnat, Some(TransportSlice::Tcp(tcp))) = (row.path, packet.transport) {
        ensure!(
            tcp.destination_port() == REAL_PORT,
            "{row}: the packet went to port {}",
            tcp.destination_port()
        );
        let is_own = tcp.source_port() != PORT;
        ensure!(is_own, "{row}: the packet comes from port {}", tcp.source_port());
    }
    Ok(())
}

fn ends(net: &NetSlice<'_>) -> (IpAddr, IpAddr) {
    match net {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => ([0; 4].into(), [0; 4].into()),
    }
}

/// Checks that all of `packets` packets were counted as forwarded, or none if none should be.
pub fn counted(row: &Row, packets: u32, counts: &Counts) -> Result<()> {
    let expected = if row.is_forwarded() { u64::from(packets) } else { 0 };
    let (requests, replies) = if row.path.is_reply() { (0, expected) } else { (expected, 0) };
    ensure!(
        counts.requests == requests && counts.replies == replies,
        "{row}: {} requests and {} replies of {packets} packets were forwarded; stopped: {:?}",
        counts.requests,
        counts.replies,
        counts.reasons
    );
    Ok(())
}
