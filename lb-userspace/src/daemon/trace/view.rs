// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples with names in place of ids, and without more of the packet than was asked for.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use lb_common::{
    ids::{IfIndex, ServiceId as ServiceNumber},
    reason::Reason,
    schema::{Method, Sample},
    wire::{Be16, Be128},
};

use crate::{
    api::trace::{Direction, TracedPacket, action, verdict},
    daemon::{Director, Snapshot},
};
use lb_dataplane::{Sampled, sampler::monotonic};
use lb_explain::{headers, hex};
use lb_model::{Protocol, ServiceId};

/// Names for ids.
pub(super) struct Names {
    /// The services to which the names belong.
    pub snapshot: Arc<Snapshot>,
    services: HashMap<ServiceNumber, ServiceId>,
    interfaces: HashMap<IfIndex, String>,
}

impl Director {
    /// Returns the names for samples; `snapshot` has the services.
    pub(super) async fn sample_names(&self, snapshot: Arc<Snapshot>) -> Names {
        let services = self.maps.ids().services.iter().map(|(id, number)| (*number, *id)).collect();
        Names { snapshot, services, interfaces: self.interface_names().await }
    }
}

/// Returns the time between 1970 and the start of `CLOCK_MONOTONIC`, by which samples are stamped.
pub(super) fn epoch() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(monotonic())
}

impl Names {
    /// Returns a sample in words, with `snaplen` bytes of its frame or, without it, the headers.
    pub(super) fn view(&self, sampled: &Sampled, snaplen: Option<u32>, epoch: Duration) -> TracedPacket {
        let Sampled { sample, bytes } = sampled;
        let kept = snaplen.map_or_else(|| headers::length(bytes), |snaplen| snaplen as usize);
        let time = epoch + Duration::from_nanos(sample.time);
        let reason = Reason::from_number(sample.reason).unwrap_or(Reason::NotOurs);
        let has_flow = sample.flow.protocol != 0;
        let end = |address: Be128, port: Be16| has_flow.then(|| address_and_port(address, port));
        let has_real = !sample.real.is_none() && sample.real_address != Be128::ZERO;
        let mut packet = TracedPacket {
            time: time.as_millis() as u64,
            nanoseconds: time.subsec_nanos() % 1_000_000,
            interface: self.interface(sample.ifindex),
            egress: (!sample.egress.is_none()).then(|| self.interface(sample.egress)),
            direction: if sample.is(Sample::REPLY) { Direction::Reply } else { Direction::Request },
            protocol: has_flow.then(|| protocol(sample.flow.protocol)),
            source: end(sample.flow.source, sample.flow.source_port),
            destination: end(sample.flow.destination, sample.flow.destination_port),
            client: end(sample.client, sample.client_port),
            service: (!sample.service.is_none()).then(|| self.service(sample.service)),
            real: has_real.then(|| address_and_port(sample.real_address, sample.real_port)),
            method: has_real.then(|| Method::from_number(sample.method).map_or("?", method).to_owned()),
            reason: reason.as_str().to_owned(),
            verdict: verdict(reason, sample.action).to_owned(),
            action: action(sample.action).to_owned(),
            length: sample.length,
            frame: hex::encode(&bytes[..kept.min(bytes.len())]),
            text: String::new(),
        };
        packet.text = packet.sentence();
        packet
    }

    fn service(&self, id: ServiceNumber) -> String {
        self.services.get(&id).map_or_else(|| format!("#{id}"), ServiceId::to_string)
    }

    fn interface(&self, index: IfIndex) -> String {
        self.interfaces.get(&index).cloned().unwrap_or_else(|| format!("#{index}"))
    }
}

/// Returns an address with its port, if it has one.
fn address_and_port(address: Be128, port: Be16) -> String {
    let address = IpAddr::from(address);
    match port.get() {
        0 => address.to_string(),
        port => SocketAddr::new(address, port).to_string(),
    }
}

fn protocol(number: u32) -> String {
    match number {
        1 => "icmp".to_owned(),
        58 => "icmpv6".to_owned(),
        _ => [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|protocol| u32::from(protocol.number()) == number)
            .map_or_else(|| number.to_string(), |protocol| protocol.to_string()),
    }
}

const fn method(method: Method) -> &'static str {
    match method {
        Method::Dr => "dr",
        Method::Tun => "tun",
        Method::Nat => "nat",
        Method::Local => "local",
        Method::Fnat => "fnat",
    }
}
