// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the doctor is to know.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use lb_common::schema;

use super::Director;
use crate::{
    control::model::Forward,
    dataplane::Mode,
    doctor::{Facts, Subject, Way},
    failure::Failure,
};

impl Director {
    /// Gathers what the doctor judges by.
    ///
    /// # Errors
    /// If the maps or the network cannot be read.
    pub async fn facts(&mut self) -> Result<Facts, Failure> {
        let stats = self.stats()?;
        let reals = self.plane.tables().reals().map_err(|error| Failure::failed(error.to_string()))?;
        let reals: HashMap<u32, schema::Real> = reals.into_iter().collect();
        let (mut subjects, mut endpoints) = (Vec::new(), std::collections::BTreeSet::new());
        for view in &stats.services {
            endpoints.extend(view.endpoints.iter().copied());
            for real in &view.reals {
                let IpAddr::V4(rip) = real.address.ip() else { continue };
                let entry = self.ids.real(&view.id, &real.address).and_then(|id| reals.get(&id)).copied();
                let way = entry.filter(schema::Real::reachable).map(|entry| Way {
                    ifindex: entry.ifindex,
                    to: entry.macs.destination(),
                    from: entry.macs.source(),
                    tunnel_source: entry.source.as_v4().map_or(Ipv4Addr::UNSPECIFIED, Into::into),
                    mtu: entry.mtu,
                });
                let dip = self
                    .next_hops
                    .get(&rip.into())
                    .and_then(|hop| hop.as_ref().ok())
                    .map(|hop| hop.source_ip);
                let gateway = match real.forward {
                    Forward::Local => None,
                    _ => self.netlink.route_to(rip.into()).await?.and_then(|route| route.gateway),
                };
                for endpoint in &view.endpoints {
                    let IpAddr::V4(vip) = endpoint.address.ip() else { continue };
                    subjects.push(Subject {
                        service: view.id.to_string(),
                        protocol: endpoint.protocol,
                        vip,
                        port: endpoint.address.port(),
                        rip,
                        real_port: if real.address.port() == 0 {
                            endpoint.address.port()
                        } else {
                            real.address.port()
                        },
                        forward: real.forward,
                        way: way.ok_or_else(|| real.next_hop.clone()),
                        dip: dip.and_then(|ip| if let IpAddr::V4(v4) = ip { Some(v4) } else { None }),
                        gateway,
                    });
                }
            }
        }
        let counts = self.count_flows()?;
        Ok(Facts {
            subjects,
            endpoints,
            interfaces: self.netlink.interfaces().await?,
            addresses: self.netlink.addresses().await?,
            attached: self.interfaces.clone(),
            generic_wanted: self.mode == Mode::Generic,
            flows: counts.flows,
            max_flows: self.limits.flows,
            flows6: counts.flows6,
            max_flows6: self.limits.flows6,
        })
    }
}
