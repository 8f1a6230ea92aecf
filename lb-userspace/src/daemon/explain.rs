// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the programs do with a packet, by a copy of them that leaves the maps as they are.
#![forbid(unsafe_code)]

use std::{collections::HashMap, net::SocketAddr};

use lb_common::schema::{self, Method, Mode};

use super::Director;
use crate::{
    control::{image::real_address, model::ServiceId},
    dataplane::{Options, Tracer},
    explain::{
        Explanation, Question, hex,
        steps::{Names, Ran, RealName, ServiceName},
    },
    failure::Failure,
    netlink::Interface,
};

impl Director {
    /// Runs the programs on a packet and says what they did. No table and no counter is written.
    ///
    /// # Errors
    /// Wrong input, if the frame is none or the interface not the director's; else if the kernel refuses.
    pub async fn explain(&mut self, question: &Question) -> Result<Explanation, Failure> {
        let mut frame = hex::decode(&question.frame)
            .ok_or_else(|| Failure::wrong_input("the frame is not written in pairs of hexadecimal digits"))?;
        let interface = self.ingress(question.interface.as_deref()).await?;
        if let Some(destination) = frame.first_chunk_mut::<6>()
            && *destination == [0; 6]
        {
            *destination = interface.mac.unwrap_or_default();
        }
        let names = self.names()?;
        let run = self.tracer()?.run(&frame, interface.index).map_err(|error| {
            Failure::failed(error.to_string())
                .hint("test runs of the kernel take frames of 14 bytes to about 3,000, from an interface that is up")
        })?;
        Ok(names.explain(&Ran {
            interface: &interface.name,
            before: &frame,
            after: &run.frame,
            action: run.action,
            trace: &run.trace,
        }))
    }

    /// The interface that a packet is to come in by.
    async fn ingress(&self, name: Option<&str>) -> Result<Interface, Failure> {
        let mine = self.interfaces.iter().find(|(_, mine)| name.is_none_or(|name| name == *mine));
        let Some((index, _)) = mine else {
            let mine: Vec<&str> = self.interfaces.values().map(String::as_str).collect();
            let message = format!("xvs is not attached to {}", name.unwrap_or("any interface"));
            return Err(Failure::wrong_input(message).hint(format!("it is attached to {}", mine.join(", "))));
        };
        let gone = |error: crate::netlink::NetlinkError| {
            Failure::failed(error.to_string())
                .hint("`xvs status` shows the interfaces and what is wrong with them")
        };
        self.netlink.interface_by_index(*index).await.map_err(gone)
    }

    /// The copy of the programs, which is loaded when it is asked for first.
    fn tracer(&mut self) -> Result<&mut Tracer, Failure> {
        if self.tracer.is_none() {
            let options = Options {
                pins: Some(self.pins.clone()),
                limits: self.limits,
                settings: Some(self.settings),
                ..Options::default()
            };
            self.tracer = Some(Tracer::load(&options, Mode::DRY)?);
        }
        self.tracer.as_mut().ok_or_else(|| Failure::failed("the programs were not loaded"))
    }

    /// What the numbers of the programs stand for.
    fn names(&mut self) -> Result<Names, Failure> {
        let mut names =
            Names { interfaces: self.interfaces.clone().into_iter().collect(), ..Names::default() };
        let slots: HashMap<u32, u32> =
            self.image.services.values().map(|service| (service.id, service.slots)).collect();
        let mut ports = HashMap::new();
        for (id, service) in &self.state.desired.services {
            let Some(number) = self.ids.services.get(id) else { continue };
            ports.insert(*number, id.port());
            let name = ServiceName {
                name: service_name(id),
                scheduler: service.describe_scheduler(),
                tracking: service.tracking.to_string(),
                slots: slots.get(number).copied().unwrap_or(0),
            };
            names.services.insert(*number, name);
        }
        for (id, real) in self.plane.tables().reals().map_err(|error| super::director::maps_failed(&error))? {
            let port = ports.get(&real.service).copied().unwrap_or(0);
            names.reals.insert(id, self.real_name(&real, port));
        }
        Ok(names)
    }

    fn real_name(&self, real: &schema::Real, service_port: u16) -> RealName {
        let address = real_address(real);
        let shown = if address.port() == 0 { SocketAddr::new(address.ip(), service_port) } else { address };
        let method = Method::from_number(real.method);
        let next_hop = if method == Some(Method::Local) {
            "this host".to_owned()
        } else if real.reachable() {
            let mac = real.macs.destination().map(|byte| format!("{byte:02x}")).join(":");
            let interface = self.interfaces.get(&real.ifindex);
            let interface = interface.map_or_else(|| format!("interface #{}", real.ifindex), Clone::clone);
            format!("{mac} by {interface}")
        } else {
            match self.next_hops.get(&address.ip()) {
                Some(Err(why)) => format!("not known: {why}"),
                _ => "not known".to_owned(),
            }
        };
        RealName {
            address: shown.to_string(),
            method: method.map_or("?", method_name).to_owned(),
            wraps: method == Some(Method::Tun),
            weight: real.weight,
            next_hop,
        }
    }
}

fn service_name(id: &ServiceId) -> String {
    format!("{} {}", id.kind(), id.name())
}

const fn method_name(method: Method) -> &'static str {
    match method {
        Method::Dr => "dr",
        Method::Tun => "tun",
        Method::Nat => "nat",
        Method::Local => "local",
        Method::Fnat => "fnat",
    }
}
