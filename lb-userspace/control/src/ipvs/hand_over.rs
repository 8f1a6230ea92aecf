// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows and persistence entries of xvs as connections of IPVS.

use lb_common::{
    flow_key::FlowKey,
    flow_table::Phase,
    protocol,
    schema::{Client, ClientKey, Method, Real, Timeouts},
    sync::{self, Connection, Flags, state},
    ticks::{Tick, Ticks},
    wire::Be16,
};
use lb_dataplane::Flow;
use lb_model::{Protocol, ServiceId};

use crate::image::{real_address, socket_address};

/// Number of the state of a TCP connection whose client has sent SYNs only (`IP_VS_TCP_S_SYN_RECV`).
const TCP_SYN_RECV: u16 = 3;
/// Number of that state of SCTP (`IP_VS_SCTP_S_INIT`).
const SCTP_INIT: u16 = 2;

/// Returns the connection of IPVS that continues a flow; `None` if the flow has ended, or IPVS has no such method.
#[must_use]
pub fn connection(
    key: &FlowKey,
    flow: &Flow,
    real: &Real,
    timeouts: &Timeouts,
    now: Tick,
) -> Option<Connection> {
    let protocol = u8::try_from(key.protocol).ok()?;
    let phase = flow.value.phase();
    let timeout = flow.state().timeout(timeouts);
    let left = timeout.0.checked_sub(flow.idle(now).0)?;
    if phase == Phase::Dead {
        return None;
    }
    let (state, activity) = match state::announced(protocol, phase) {
        Some(announced) => announced,
        // The kernel ignores an inactive entry on another real than that of an earlier connection with these ports.
        None if protocol == protocol::SCTP => (SCTP_INIT, Flags(0)),
        None => (TCP_SYN_RECV, Flags(0)),
    };
    let vip = socket_address(key.destination, key.destination_port);
    let mut real_socket = real_address(real);
    if real_socket.port() == 0 {
        real_socket.set_port(vip.port());
    }
    Some(Connection {
        protocol,
        client: socket_address(key.source, key.source_port),
        vip,
        real: real_socket,
        flags: method(real)?.with(activity.0),
        state,
        mark: 0,
        timeout: seconds(Ticks(left)),
    })
}

/// Returns the template of IPVS that keeps a client on its real; `None` if it has expired. `id` is the service.
#[must_use]
pub fn template(
    id: &ServiceId,
    key: &ClientKey,
    client: &Client,
    real: &Real,
    now: Tick,
) -> Option<Connection> {
    let endpoint = id.endpoint()?;
    if client.expires.age(now) > Ticks::ZERO {
        return None;
    }
    // Templates of FTP cover all ports of the VIP, since its data connections have others.
    let is_ftp = endpoint.protocol == Protocol::Tcp && endpoint.address.port() == FTP;
    let (mut vip, mut real_socket) = (endpoint.address, real_address(real));
    if is_ftp || vip.port() == 0 {
        vip.set_port(0);
        real_socket.set_port(0);
    } else if real_socket.port() == 0 {
        real_socket.set_port(vip.port());
    }
    Some(Connection {
        protocol: endpoint.protocol.number(),
        client: socket_address(key.address, Be16::ZERO),
        vip,
        real: real_socket,
        flags: method(real)?.with(Flags::TEMPLATE),
        state: state::TEMPLATE_ASSURED,
        mark: 0,
        timeout: seconds(now.age(client.expires)),
    })
}

/// Port of FTP.
const FTP: u16 = 21;

fn seconds(ticks: Ticks) -> u32 {
    u32::try_from(ticks.milliseconds().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// Returns the method in IPVS, if it has it.
fn method(real: &Real) -> Option<Flags> {
    let method = match Method::from_number(real.method)? {
        Method::Dr => sync::Method::Route,
        Method::Tun => sync::Method::Tunnel,
        Method::Nat => sync::Method::Masquerade,
        Method::Local => sync::Method::Local,
        Method::Fnat => return None,
    };
    let flags = Flags::of(method);
    Some(if method == sync::Method::Masquerade { flags } else { flags.with(Flags::NO_OUTPUT) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::{
        flow_table::{Seen, Value},
        ids::{RealId, ServiceId as ServiceNumber},
        schema::SnatBinding,
    };
    use std::net::SocketAddr;

    const NOW: Tick = Tick(1_000_000_000);

    fn real(method: Method, port: u16) -> Real {
        let mut real = Real { method: method as u16, ..Real::default() };
        real.address = "10.0.0.11".parse::<std::net::IpAddr>().unwrap().into();
        real.port = Be16::new(port);
        real
    }

    fn key() -> FlowKey {
        FlowKey {
            source: "192.0.2.10".parse::<std::net::IpAddr>().unwrap().into(),
            destination: "192.0.2.100".parse::<std::net::IpAddr>().unwrap().into(),
            source_port: Be16::new(40000),
            destination_port: Be16::new(80),
            protocol: protocol::TCP.into(),
        }
    }

    fn flow(phase: Phase, seen: Tick) -> Flow {
        Flow { value: Value::new(RealId(1), Seen::of(seen), phase), snat: SnatBinding::NONE }
    }

    #[test]
    fn a_flow_continues_as_a_connection() {
        let timeouts = Timeouts::DEFAULT;
        let of = |phase, method| connection(&key(), &flow(phase, NOW), &real(method, 8080), &timeouts, NOW);
        let established = of(Phase::Established, Method::Nat).unwrap();
        assert_eq!(established.real, "10.0.0.11:8080".parse::<SocketAddr>().unwrap());
        assert_eq!((established.state, established.flags, established.timeout), (1, Flags(0), 900));
        let opening = of(Phase::SynReceived, Method::Dr).unwrap();
        assert_eq!((opening.state, opening.timeout), (3, 60));
        assert!(!opening.flags.has(Flags::INACTIVE) && opening.flags.has(Flags::NO_OUTPUT));
        assert_eq!(of(Phase::Established, Method::Fnat), None);
        assert_eq!(of(Phase::Dead, Method::Dr), None);
    }

    #[test]
    fn an_ended_flow_is_none() {
        let timeouts = Timeouts::DEFAULT;
        let of = |age| {
            let seen = Tick(NOW.0 - Ticks::of_seconds(age).0);
            connection(&key(), &flow(Phase::Established, seen), &real(Method::Dr, 0), &timeouts, NOW)
        };
        assert_eq!(of(901), None);
        let old = of(800).unwrap();
        assert!((100..=101).contains(&old.timeout), "{old:?}");
        assert_eq!(old.real.port(), 80, "the port of the service");
    }

    #[test]
    fn a_persistence_entry_is_a_template() {
        let id = |port: u16| ServiceId::parse("tcp", &format!("192.0.2.100:{port}")).unwrap();
        let client = Client { real: RealId(1), expires: NOW.after(Ticks::of_seconds(60)) };
        let key = ClientKey { address: key().source, service: ServiceNumber(1), reserved: 0 };
        let of = |port| template(&id(port), &key, &client, &real(Method::Nat, 8080), NOW).unwrap();
        assert_eq!((of(80).vip.port(), of(80).real.port(), of(80).timeout), (80, 8080, 60));
        assert_eq!((of(21).vip.port(), of(21).real.port()), (0, 0));
        assert!(of(80).is_template());
        let ended = Client { expires: Tick(NOW.0 - 1000), ..client };
        assert_eq!(template(&id(80), &key, &ended, &real(Method::Nat, 80), NOW), None);
    }
}
