// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filter of a trace for the programs, which know ids.
#![forbid(unsafe_code)]

use lb_common::{
    ids::ServiceId as ServiceNumber,
    schema::{FlowKey, SampleFilter},
    wire::{Be16, Be128},
};

use super::HEADERS;
use crate::{
    api::trace::{TraceFlow, TraceQuestion},
    daemon::Director,
};
use lb_model::{
    Desired, Endpoint, ServiceId,
    failure::{ErrorCode, Failure},
};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// Number of samples that may follow each other at once: those of a second, but not more than this.
const BURST: u64 = 1000;
/// Number of bits before an IPv4 address in 128 bits.
const MAPPED: u32 = 96;

impl Director {
    /// Returns the filter of a trace.
    ///
    /// # Errors
    /// Wrong input if there is no such service, or a value is wrong.
    pub(super) fn sample_filter(&self, question: &TraceQuestion) -> Result<SampleFilter, Failure> {
        let reasons = question.checked()?;
        let interval = SECOND / u64::from(question.rate);
        let mut filter = SampleFilter {
            interval,
            burst: interval * u64::from(question.rate).min(BURST),
            reasons: SampleFilter::bits(&reasons),
            snaplen: question.snaplen.unwrap_or(HEADERS),
            ..SampleFilter::default()
        };
        if let Some(flow) = &question.flow {
            filter.flow = key(flow);
            filter.service = service_of(self.desired(), flow)
                .map_or(ServiceNumber::NONE, |id| self.number(&id).unwrap_or_default());
        }
        if let Some(id) = &question.service {
            filter.service = self.number(id).ok_or_else(|| {
                Failure::wrong_input(format!("there is no service {id}"))
                    .hint("`xvs service list` lists the services")
                    .because(ErrorCode::NoService)
            })?;
        }
        if let Some(real) = &question.real {
            filter.real = Be128::from(real.ip);
            filter.real_port = Be16::new(real.port.unwrap_or(0));
        }
        if let Some(network) = &question.client {
            let before = if network.addr().is_ipv4() { MAPPED } else { 0 };
            let prefix = before + u32::from(network.prefix_len());
            filter.client_mask = Be128([u64::MAX; 2]).masked(prefix);
            filter.client = Be128::from(network.addr()).masked(prefix);
        }
        Ok(filter)
    }

    fn number(&self, id: &ServiceId) -> Option<ServiceNumber> {
        self.maps.ids().services.get(id).copied()
    }
}

fn key(flow: &TraceFlow) -> FlowKey {
    let TraceFlow { protocol, client, destination } = flow;
    FlowKey::new(
        Be128::from(client.ip()),
        Be128::from(destination.ip()),
        Be16::new(client.port()),
        Be16::new(destination.port()),
        protocol.number(),
    )
}

/// Returns the service to which a flow belongs: the one of its port, else the one of every port.
fn service_of(desired: &Desired, flow: &TraceFlow) -> Option<ServiceId> {
    [flow.destination.port(), 0].into_iter().find_map(|port| {
        let address = std::net::SocketAddr::new(flow.destination.ip(), port);
        let endpoint = Endpoint { protocol: flow.protocol, address };
        let own = ServiceId::Endpoint(endpoint);
        desired.services.contains_key(&own).then_some(own).or_else(|| desired.group_of(&endpoint))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::{Protocol, Service};

    #[test]
    fn a_flow_belongs_to_the_service_of_its_port_before_that_of_every_port() {
        let mut desired = Desired::default();
        for name in ["192.0.2.100:80", "192.0.2.100:0"] {
            desired.services.insert(ServiceId::parse("tcp", name).unwrap(), Service::default());
        }
        let of = |destination: &str| {
            let flow = TraceFlow {
                protocol: Protocol::Tcp,
                client: "198.51.100.7:40000".parse().unwrap(),
                destination: destination.parse().unwrap(),
            };
            service_of(&desired, &flow).map(|id| id.to_string())
        };
        assert_eq!(of("192.0.2.100:80").as_deref(), Some("tcp 192.0.2.100:80"));
        assert_eq!(of("192.0.2.100:81").as_deref(), Some("tcp 192.0.2.100:0"));
        assert_eq!(of("192.0.2.101:80"), None);
    }
}
