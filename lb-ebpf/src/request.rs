// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Packets of clients: finds the service, then the real.

use lb_common::{
    packet::{Parsed, Part},
    protocol,
    reason::Reason,
    schema::{AddressUse, FlowKey, Service, ServiceKey},
    wire::Be16,
};

use crate::{
    first_fragment, forward,
    frame::Frame,
    select,
    tables::{self, IpFamily},
    verdict::Verdict,
};

/// Returns the service of a packet: by protocol, address and port; else the FTP service of the address, if the packet
/// may belong to an FTP data connection; else by protocol, address and port 0. If there is no service, returns the uses
/// of the destination address.
#[inline(always)]
pub fn service<A: IpFamily>(flow: &FlowKey<A>) -> Result<&'static Service, AddressUse> {
    let exact = ServiceKey::new(flow.destination, flow.destination_port, flow.protocol as u8);
    if let Some(service) = tables::service(exact) {
        return Ok(service);
    }
    let used = tables::address_use(flow.destination);
    if used.is(AddressUse::FTP)
        && is_ftp_data(flow)
        && let Some(service) = tables::service(ServiceKey::new(flow.destination, FTP, protocol::TCP))
    {
        return Ok(service);
    }
    if !used.is(AddressUse::EVERY_PORT) {
        return Err(used);
    }
    tables::service(ServiceKey::new(flow.destination, Be16::ZERO, flow.protocol as u8)).ok_or(used)
}

/// Returns the service of a flow that may be known, as [`service`] does, without the uses of the destination address: they
/// spare lookups for packets of no service, and cost stack.
#[inline(always)]
pub fn service_of_flow<A: IpFamily>(flow: &FlowKey<A>) -> Option<&'static Service> {
    let service = service_at_port(flow, flow.destination_port);
    if service.is_some() {
        return service;
    }
    if is_ftp_data(flow)
        && let Some(service) = service_at_port(flow, FTP)
        && service.is(Service::FTP)
    {
        return Some(service);
    }
    service_at_port(flow, Be16::ZERO)
}

#[inline(always)]
fn service_at_port<A: IpFamily>(flow: &FlowKey<A>, port: Be16) -> Option<&'static Service> {
    tables::service_of_request(ServiceKey::new(flow.destination, port, flow.protocol as u8))
}

/// TCP port of FTP control connections.
const FTP: Be16 = Be16::new(21);

/// Returns whether a packet may belong to an FTP data connection: either one that the client opened to the port that a
/// passive server announced, or one that an active server opened from port 20 (RFC 959; `FTPDATA` and `PROT_SOCK` in
/// `ip_vs_ctl.c`).
#[inline(always)]
fn is_ftp_data<A: IpFamily>(flow: &FlowKey<A>) -> bool {
    let port = flow.destination_port.get();
    flow.protocol as u8 == protocol::TCP && (port == 20 || port >= 1024)
}

/// Sends a packet for a service to a real.
#[inline(always)]
pub fn handle<A: IpFamily>(frame: &Frame, parsed: &Parsed<A>, service: &Service) -> Result<u32, Verdict> {
    let chosen = select::real(frame, parsed, service)
        .map_err(|reason| Verdict::at(service.id, refusal(service, reason)))?;
    if parsed.part == Part::First {
        first_fragment::remember_request(parsed, chosen.id, chosen.snat);
    }
    forward::send::<A, true>(frame, parsed, &chosen).map_err(|reason| Verdict::for_real(chosen.real, reason))
}

/// Returns the reason for a packet that no real takes: a service may prefer silence over "port unreachable".
#[inline(always)]
fn refusal(service: &Service, reason: Reason) -> Reason {
    if reason as u32 == Reason::NoReal as u32 && service.is(Service::DROP) { Reason::AllDown } else { reason }
}

/// Returns the reason for a packet without readable ports: `reason` if the destination is a VIP, else
/// [`Reason::NotOurs`]. A packet that is shorter than its length field may reach the director's stack, but no real.
#[inline(always)]
pub fn unreadable<A: IpFamily>(parsed: &Parsed<A>, reason: Reason) -> Reason {
    if tables::address_use(parsed.flow.destination).is(AddressUse::VIP) { reason } else { Reason::NotOurs }
}
