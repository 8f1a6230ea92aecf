// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probes through the forwarding path: the frames are the output of the programs themselves.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use super::{Facts, NextHop, Target, frame, wire::Wire};
use lb_common::ids::IfIndex;
use lb_dataplane::{ProbePlane, ProbePlaneError};
use lb_explain::{Flag, Flow};
use lb_netlink::Mac;

/// A frame, and its egress device.
pub(super) type Sent = (u32, Vec<u8>);

/// Sends frames, and runs the programs for those that take the path.
pub(super) struct Sender<'a> {
    pub(super) wire: &'a Wire,
    programs: &'a mut ProbePlane,
    /// Interface by which clients' packets arrive.
    ingress: Option<(u32, Mac)>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(facts: &Facts, wire: &'a Wire, programs: &'a mut ProbePlane) -> Self {
        let interface = facts.interfaces.iter().find(|one| facts.attached.contains_key(&one.index) && one.up);
        Self { wire, programs, ingress: interface.and_then(|one| Some((one.index, one.mac?))) }
    }

    pub(super) fn send(&self, (ifindex, frame): &Sent) {
        self.wire.send(*ifindex, frame);
    }

    /// Returns the programs' output for a client's packet to a real.
    pub(super) fn through(&mut self, target: &Target, packet: &[u8]) -> Result<Sent, ProbePlaneError> {
        let (Some(entry), Some((ingress, mac))) = (&target.entry, self.ingress) else {
            return Err(ProbePlaneError::NoIngress);
        };
        let packet = frame::ethernet(mac, CLIENT, packet);
        let (egress, frame) = self.programs.forward(entry, &packet, IfIndex(ingress))?;
        Ok((egress.0, frame))
    }

    /// Returns a ping of the VIP of `length` bytes that travels like a packet of the service. The director
    /// answers pings itself; so the programs process a packet of the service of the same length, and the ping
    /// replaces it in their output.
    pub(super) fn ping_through(
        &mut self,
        target: &Target,
        next_hop: &NextHop,
        source: IpAddr,
        (id, sequence): (u16, u16),
        length: u16,
    ) -> Result<Sent, ProbePlaneError> {
        let ping = frame::echo(frame::TTL, source, target.vip, id, sequence, length);
        let stand_in = stand_in(target, source, length);
        // A checksum over the content of a tunnel would be that of the replaced packet.
        let Some(stand_in) = stand_in.filter(|_| length <= LONGEST && !target.tunnel.csum()) else {
            return Ok((next_hop.ifindex, frame::framed(next_hop, target.tunnel(), ping)));
        };
        let (ifindex, mut frame) = self.through(target, &stand_in)?;
        frame.truncate(frame.len().saturating_sub(ping.len()));
        frame.extend(ping);
        Ok((ifindex, frame))
    }
}

/// The source of a frame is irrelevant.
const CLIENT: Mac = [0x02, 0, 0, 0, 0, 0];
/// Length of the longest packet that the kernel's test runs accept, with room for headers.
const LONGEST: u16 = 3_000;
/// Port of a packet that is replaced by a ping.
const PORT: u16 = 9;

/// Returns a packet of the service of `length` bytes.
fn stand_in(target: &Target, source: IpAddr, length: u16) -> Option<Vec<u8>> {
    let flow = |length| Flow {
        protocol: target.protocol,
        client: SocketAddr::new(source, PORT),
        service: SocketAddr::new(target.vip, if target.port == 0 { PORT } else { target.port }),
        flag: Flag::Ack,
        length,
    };
    let packet = |length| Some(flow(length).frame()?.split_off(frame::ETHERNET));
    let headers = u16::try_from(packet(0)?.len()).ok()?;
    packet(length.checked_sub(headers)?).filter(|packet| packet.len() == usize::from(length))
}
