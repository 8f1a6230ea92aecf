// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows and persistence entries of this director as announcements.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::{
    flow_key::FlowKey,
    flow_table::Phase,
    ids::RealId,
    schema::{Client, ClientKey, Method, Real, Timeouts},
    sync::{self, Connection, Flags, state},
    ticks::{Tick, Ticks},
};
use lb_model::ServiceId;

use super::Index;
use crate::image::{Image, socket_address};

/// The longest timeout that an announcement gives in seconds.
const LONGEST: u64 = 24 * 24 * 3600;

impl Index {
    /// Returns the announcement of a flow; nothing if its real was removed, or its state is not announced.
    #[must_use]
    pub fn announcement(
        &self,
        image: &Image,
        key: &FlowKey,
        (id, phase): (RealId, Phase),
        timeouts: &Timeouts,
    ) -> Option<Connection> {
        let protocol = u8::try_from(key.protocol).ok()?;
        let (state, activity) = state::announced(protocol, phase)?;
        let real = image.reals.get(&id)?;
        let mark = match self.service(real.service)? {
            ServiceId::Group { group, .. } => *group,
            ServiceId::Endpoint(_) => 0,
        };
        let vip = socket_address(key.destination, key.destination_port);
        Some(Connection {
            protocol,
            client: socket_address(key.source, key.source_port),
            vip,
            real: real_of(real, vip.port()),
            flags: method(real).with(activity.0),
            state,
            mark,
            timeout: seconds(phase.state().timeout(timeouts)),
        })
    }

    /// Returns the announcement of a persistence entry; nothing if it has ended, or its real was removed.
    #[must_use]
    pub fn template(&self, image: &Image, key: &ClientKey, client: &Client, now: Tick) -> Option<Connection> {
        let real = image.reals.get(&client.real)?;
        let left = now.age(client.expires);
        if client.expires.age(now) > Ticks::ZERO || left == Ticks::ZERO {
            return None;
        }
        let address = IpAddr::from(key.address);
        let (protocol, vip, mark) = match self.service(key.service)? {
            ServiceId::Endpoint(endpoint) => (endpoint.protocol.number(), endpoint.address, 0),
            ServiceId::Group { group, .. } => (0, SocketAddr::new(mark_as(*group, address), 0), *group),
        };
        Some(Connection {
            protocol,
            client: SocketAddr::new(address, 0),
            vip,
            real: SocketAddr::new(
                real.address.into(),
                if vip.port() == 0 { 0 } else { real_of(real, vip.port()).port() },
            ),
            flags: method(real).with(Flags::TEMPLATE),
            state: state::TEMPLATE_ASSURED,
            mark,
            timeout: seconds(left),
        })
    }
}

/// Returns the address of a real and the port to which it gets packets for a port of the VIP.
fn real_of(real: &Real, port: u16) -> SocketAddr {
    let mut address = crate::image::real_address(real);
    if address.port() == 0 {
        address.set_port(port);
    }
    address
}

/// Returns the flags of the method of a real, as IPVS has them.
fn method(real: &Real) -> Flags {
    let through = |method| Flags::of(method).with(Flags::NO_OUTPUT);
    match Method::from_number(real.method) {
        Some(Method::Dr) => through(sync::Method::Route),
        Some(Method::Tun) => through(sync::Method::Tunnel),
        Some(Method::Local) => through(sync::Method::Local),
        Some(Method::Nat | Method::Fnat) | None => Flags::of(sync::Method::Masquerade),
    }
}

/// Returns a mark as the address of a template, in the IP version of the client.
fn mark_as(mark: u32, client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => Ipv4Addr::from_bits(mark).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(u128::from(mark) << 96).into(),
    }
}

fn seconds(ticks: Ticks) -> u32 {
    (ticks.milliseconds() / 1000).clamp(1, LONGEST) as u32
}

/// Returns the number of units of [`Seen`] that a time in seconds has.
#[must_use]
pub fn units(seconds: u64) -> u32 {
    Ticks::of_seconds(seconds.min(LONGEST)).0 / 64
}

#[cfg(test)]
mod tests {
    use lb_common::{
        flow_table::Seen,
        ids::ServiceId as ServiceNumber,
        schema::{Service, ServiceKey},
        wire::{Be16, Be128},
    };

    use super::*;
    use crate::ids::Ids;

    fn known(method: Method, id: ServiceId) -> (Image, Index) {
        let mut image = Image::default();
        let vip = ServiceKey::new(Be128::from(IpAddr::from([10, 9, 0, 100])), Be16::new(80), 6);
        let service = Service {
            id: ServiceNumber(1),
            first: 0,
            slots: 0,
            scheduler: 0,
            tracking: 1,
            persistent: Ticks::of_seconds(300),
            prefix: 120,
            number: 1,
            flags: 0,
        };
        image.services.insert(vip, service);
        let address = Be128::from(IpAddr::from([10, 9, 0, 23]));
        let real = Real { address, service: ServiceNumber(1), method: method as u16, ..Real::default() };
        image.reals.insert(RealId(7), real);
        let mut ids = Ids::default();
        ids.services.insert(id, ServiceNumber(1));
        let index = Index::of(&image, &ids);
        (image, index)
    }

    fn endpoint() -> ServiceId {
        ServiceId::new(lb_model::Protocol::Tcp, "10.9.0.100:80".parse().unwrap())
    }

    #[test]
    fn an_announcement_leads_another_director_to_the_same_place() {
        let (image, index) = known(Method::Dr, endpoint());
        let client = Be128::from(IpAddr::from([10, 9, 0, 1]));
        let vip = Be128::from(IpAddr::from([10, 9, 0, 100]));
        let key = FlowKey::new(client, vip, Be16::new(60046), Be16::new(80), 6);
        let flow = (RealId(7), Phase::Established);
        let connection = index.announcement(&image, &key, flow, &Timeouts::DEFAULT).unwrap();
        // Byte by byte what a kernel announces.
        assert_eq!((connection.flags, connection.state, connection.timeout), (Flags(0x83), 1, 900));
        assert_eq!(connection.real, "10.9.0.23:80".parse().unwrap());
        let place = index.find(&image, &connection).unwrap();
        assert!(matches!(place, super::super::Place::Flow { key: same, real: RealId(7), .. } if same == key));
        let opening = (RealId(7), Phase::SynReceived);
        assert_eq!(index.announcement(&image, &key, opening, &Timeouts::DEFAULT), None);
        let removed = (RealId(8), Phase::Established);
        assert_eq!(index.announcement(&image, &key, removed, &Timeouts::DEFAULT), None);
    }

    #[test]
    fn a_template_names_the_vip_or_the_mark_and_what_is_left() {
        for (id, protocol, vip, mark) in
            [(endpoint(), 6, "10.9.0.100:80", 0), (ServiceId::group(5), 0, "0.0.0.5:0", 5)]
        {
            let (image, index) = known(Method::Nat, id);
            let key = ClientKey {
                address: Be128::from(IpAddr::from([10, 9, 0, 0])),
                service: ServiceNumber(1),
                reserved: 0,
            };
            let now = Tick(1000);
            let client = Client { real: RealId(7), expires: now.after(Ticks::of_seconds(120)) };
            let template = index.template(&image, &key, &client, now).unwrap();
            assert_eq!(
                (template.protocol, template.vip, template.mark),
                (protocol, vip.parse().unwrap(), mark)
            );
            assert_eq!((template.flags, template.timeout), (Flags(0x1000), 120));
            let place = index.find(&image, &template).unwrap();
            assert!(matches!(place, super::super::Place::Client { key: same, .. } if same == key));
            assert_eq!(index.template(&image, &key, &client, now.after(Ticks::of_seconds(121))), None);
        }
    }

    #[test]
    fn seconds_become_units_of_time() {
        let second = units(1);
        assert!((14..=15).contains(&second), "{second}");
        assert_eq!(units(u64::MAX), units(LONGEST));
        assert!(units(3600) < 1 << Seen::BITS);
    }
}
