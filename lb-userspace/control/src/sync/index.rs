// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services and reals by what an announcement has of them: the real's id is that of this director, and never announced.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    flow_key::FlowKey,
    ids::{RealId, ServiceId as ServiceNumber},
    schema::{ClientKey, Real, Service, ServiceKey},
    sync::Connection,
    wire::{Be16, Be128},
};
use lb_model::ServiceId;

use super::Effect;
use crate::{ids::Ids, image::Image};

/// The place of an announced connection or template in the maps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// The place of a flow.
    Flow {
        /// Key of the flow.
        key: FlowKey,
        /// Key of the service.
        service: ServiceKey,
        /// Id of the real.
        real: RealId,
    },
    /// The place of a persistence entry.
    Client {
        /// Key of the entry.
        key: ClientKey,
        /// Value of the service.
        service: Service,
        /// Id of the real.
        real: RealId,
    },
}

/// Reals by service, address and port, and services by group.
#[derive(Debug, Default)]
pub struct Index {
    reals: HashMap<(ServiceNumber, Be128, Be16), RealId>,
    /// The reals of an address, whatever their port: templates of services with several ports have none.
    of_address: HashMap<(ServiceNumber, Be128), RealId>,
    /// A value of the service of each group, and of its service for IPv6.
    groups: HashMap<(u32, bool), Service>,
    /// Ids of services by number.
    services: HashMap<ServiceNumber, ServiceId>,
}

impl Index {
    /// Returns the index of the contents of the maps.
    #[must_use]
    pub fn of(image: &Image, ids: &Ids) -> Self {
        let mut index = Self::default();
        // A removed real whose connections continue has the address of its replacement.
        let (leaving, present): (Vec<_>, Vec<_>) =
            image.reals.iter().partition(|(_, real)| real.is(Real::LEAVING));
        for (id, real) in leaving.into_iter().chain(present) {
            index.reals.insert((real.service, real.address, real.port), *id);
            index.of_address.insert((real.service, real.address), *id);
        }
        let values: HashMap<ServiceNumber, Service> =
            image.services.values().map(|service| (service.id, *service)).collect();
        for (id, number) in &ids.services {
            index.services.insert(*number, *id);
            if let (ServiceId::Group { group, ipv6 }, Some(value)) = (id, values.get(number)) {
                index.groups.insert((*group, *ipv6), *value);
            }
        }
        index
    }

    /// Returns the id of a service by its number.
    #[must_use]
    pub fn service(&self, number: ServiceNumber) -> Option<&ServiceId> {
        self.services.get(&number)
    }

    /// Returns the place of a connection or template.
    ///
    /// # Errors
    /// [`Effect::NoService`] or [`Effect::NoReal`].
    pub fn find(&self, image: &Image, connection: &Connection) -> Result<Place, Effect> {
        if connection.is_template() { self.client(image, connection) } else { self.flow(image, connection) }
    }

    fn flow(&self, image: &Image, connection: &Connection) -> Result<Place, Effect> {
        let Connection { protocol, client, vip, real, .. } = *connection;
        let key = |port: u16| ServiceKey::new(vip.ip().into(), Be16::new(port), protocol);
        let known = [vip.port(), 0].map(key).into_iter().find_map(|key| image.services.get_key_value(&key));
        let (service, value) = known.ok_or(Effect::NoService)?;
        let (rip, port) = address(real);
        let same_port = real.port() == vip.port();
        let exact = self.reals.get(&(value.id, rip, port));
        let any_port = || self.reals.get(&(value.id, rip, Be16::ZERO)).filter(|_| same_port);
        let id = exact.or_else(any_port).ok_or(Effect::NoReal)?;
        let (source, destination) = (client.ip().into(), vip.ip().into());
        let ports = [client.port(), vip.port()].map(Be16::new);
        let key = FlowKey::new(source, destination, ports[0], ports[1], protocol);
        Ok(Place::Flow { key, service: *service, real: *id })
    }

    fn client(&self, image: &Image, connection: &Connection) -> Result<Place, Effect> {
        let Connection { protocol, client, vip, real, .. } = *connection;
        let service = match connection.template_mark() {
            Some(mark) => self.group(mark, client.ip()),
            None => image.services.get(&ServiceKey::new(vip.ip().into(), Be16::new(vip.port()), protocol)),
        };
        let service = *service.ok_or(Effect::NoService)?;
        let (rip, port) = address(real);
        let exact = self.reals.get(&(service.id, rip, port));
        let id = exact.or_else(|| self.of_address.get(&(service.id, rip))).ok_or(Effect::NoReal)?;
        let key = ClientKey::new(&service, client.ip().into());
        Ok(Place::Client { key, service, real: *id })
    }

    fn group(&self, mark: u32, client: IpAddr) -> Option<&Service> {
        let own = self.groups.get(&(mark, client.is_ipv6()));
        own.or_else(|| self.groups.get(&(mark, false)))
    }
}

/// Returns an address and port as the maps have them.
fn address(socket: SocketAddr) -> (Be128, Be16) {
    (socket.ip().into(), Be16::new(socket.port()))
}

#[cfg(test)]
mod tests {
    use lb_common::{protocol, sync::Flags};

    use super::*;

    fn connection(vip: &str, real: &str, flags: u32) -> Connection {
        Connection {
            protocol: protocol::TCP,
            client: "10.9.0.1:60046".parse().unwrap(),
            vip: vip.parse().unwrap(),
            real: real.parse().unwrap(),
            flags: Flags(flags),
            state: 1,
            mark: 0,
            timeout: 900,
        }
    }

    /// Returns a director with a service of port 80, one of every port, and group 5.
    fn known() -> (Image, Index) {
        let (mut image, mut ids) = (Image::default(), Ids::default());
        let service = |id: u32| Service { id: ServiceNumber(id), prefix: 120, ..no_service() };
        let mut serve = |vip: &str, id: u32| {
            let vip: SocketAddr = vip.parse().unwrap();
            let key = ServiceKey::new(vip.ip().into(), Be16::new(vip.port()), protocol::TCP);
            image.services.insert(key, service(id));
        };
        serve("10.9.0.100:80", 1);
        serve("10.9.0.101:0", 2);
        serve("10.9.0.102:443", 3);
        ids.services.insert(ServiceId::group(5), ServiceNumber(3));
        for (id, address, service, flags) in [
            (1, "10.9.0.23:80", 1, 0),
            (2, "10.9.0.23:0", 2, 0),
            (3, "10.9.0.24:80", 1, 0),
            (4, "10.9.0.24:80", 1, Real::LEAVING),
            (5, "10.9.0.25:443", 3, 0),
        ] {
            let (address, port) = super::address(address.parse().unwrap());
            let real = Real { address, port, service: ServiceNumber(service), flags, ..Real::default() };
            image.reals.insert(RealId(id), real);
        }
        let index = Index::of(&image, &ids);
        (image, index)
    }

    fn no_service() -> Service {
        Service {
            id: ServiceNumber::NONE,
            first: 0,
            slots: 0,
            scheduler: 0,
            tracking: 0,
            persistent: lb_common::ticks::Ticks::ZERO,
            prefix: 0,
            number: 0,
            flags: 0,
        }
    }

    fn real_of(vip: &str, real: &str, flags: u32) -> Result<u32, Effect> {
        let (image, index) = known();
        index.find(&image, &connection(vip, real, flags)).map(|place| match place {
            Place::Flow { real, .. } | Place::Client { real, .. } => real.0,
        })
    }

    #[test]
    fn a_connection_is_found_by_its_vip_and_its_real() {
        assert_eq!(real_of("10.9.0.100:80", "10.9.0.23:80", 0), Ok(1));
        assert_eq!(real_of("10.9.0.100:80", "10.9.0.23:81", 0), Err(Effect::NoReal));
        assert_eq!(real_of("10.9.0.100:81", "10.9.0.23:81", 0), Err(Effect::NoService));
        assert_eq!(real_of("10.9.0.100:80", "10.9.0.24:80", 0), Ok(3), "not the one that leaves");
    }

    #[test]
    fn a_service_of_every_port_keeps_the_port() {
        assert_eq!(real_of("10.9.0.101:2000", "10.9.0.23:2000", 0), Ok(2));
        assert_eq!(real_of("10.9.0.101:2000", "10.9.0.23:2001", 0), Err(Effect::NoReal));
    }

    #[test]
    fn a_template_is_found_by_its_port_or_its_mark() {
        assert_eq!(real_of("10.9.0.100:80", "10.9.0.23:80", Flags::TEMPLATE), Ok(1));
        assert_eq!(real_of("10.9.0.101:0", "10.9.0.23:0", Flags::TEMPLATE), Ok(2));
        let (image, index) = known();
        let mut of_mark = connection("0.0.0.5:0", "10.9.0.25:0", Flags::TEMPLATE);
        of_mark.protocol = 0;
        let Ok(Place::Client { key, real, .. }) = index.find(&image, &of_mark) else { panic!() };
        assert_eq!((key.service, real), (ServiceNumber(3), RealId(5)));
        assert_eq!(IpAddr::from(key.address), IpAddr::from([10, 9, 0, 0]), "the client's network");
        of_mark.vip = "0.0.0.6:0".parse().unwrap();
        assert_eq!(index.find(&image, &of_mark), Err(Effect::NoService));
    }
}
