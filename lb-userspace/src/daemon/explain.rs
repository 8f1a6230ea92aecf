// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs explain`: runs a copy of the programs on a packet, and leaves the maps unchanged.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
};

use lb_common::{
    ids::{IfIndex, RealId, ServiceId as ServiceNumber},
    schema::{self, Method},
};

use super::{Director, change, maps::maps_failed};
use lb_control::{
    config,
    ids::Ids,
    image::{Image, real_address},
    neighbours::Resolution,
};
use lb_dataplane::{Run, RunError};
use lb_explain::{
    Explanation, Question, StepView, flow, hex,
    steps::{Names, Ran, RealName, ServiceName},
};
use lb_model::failure::{Failure, chain};
use lb_model::{Desired, ServiceId};
use lb_netlink::Interface;

/// Source of the names for the programs' ids.
struct Known<'a> {
    desired: &'a Desired,
    ids: &'a Ids,
    image: &'a Image,
    next_hops: &'a BTreeMap<IpAddr, Resolution>,
    reals: Vec<(RealId, schema::Real)>,
}

/// Sizes of a frame in bytes with which the kernel may run a program: an Ethernet header at least, and at most what
/// fits into a page beside headroom and tailroom.
const FRAME: RangeInclusive<usize> = 14..=3520;

impl Director {
    /// Runs the programs on a packet and describes each step. No table and no counter is written.
    ///
    /// # Errors
    /// Wrong input if the frame is invalid or the interface is not the director's; otherwise if the kernel refuses.
    pub async fn explain(&mut self, question: &Question) -> Result<Explanation, Failure> {
        let mut frame = hex::decode(&question.frame)
            .ok_or_else(|| Failure::wrong_input("the frame is not written in pairs of hexadecimal digits"))?;
        if !FRAME.contains(&frame.len()) {
            return Err(Failure::wrong_input(format!("the frame has {} bytes", frame.len()))
                .hint("test runs of the kernel take an Ethernet frame of 14 to 3,520 bytes"));
        }
        let interface = self.ingress(question.interface.as_deref()).await?;
        if let Some(destination) = frame.first_chunk_mut::<6>()
            && *destination == [0; 6]
        {
            *destination = interface.mac.unwrap_or_default();
        }
        if let Some(plan) = &question.plan {
            let config = config::parse(&plan.text, Path::new(&plan.name))?;
            return self.explain_plan(&frame, &interface, config.desired).await;
        }
        let reals = self.maps.tables().reals().map_err(|error| maps_failed(&error))?;
        let interfaces = self.interface_names().await;
        let names = self.names(
            interfaces,
            &Known {
                desired: self.store.desired(),
                ids: self.maps.ids(),
                image: self.maps.image(),
                next_hops: self.network.next_hops(),
                reals,
            },
        );
        let run = self.maps.tracer()?.run(&frame, IfIndex(interface.index));
        describe(&names, &interface, &frame, run)
    }

    /// Runs the programs on a packet as if `desired` were the services: in a separate data plane with copies of the
    /// live tables and connections and of the packet's client and flow, to which the change is applied.
    async fn explain_plan(
        &mut self,
        frame: &[u8],
        interface: &Interface,
        mut desired: Desired,
    ) -> Result<Explanation, Failure> {
        change::carry_over(self.store.desired(), &mut desired);
        self.may_become(&desired)?;
        let rips: BTreeSet<IpAddr> = self.store.desired().rips().chain(desired.rips()).collect();
        let next_hops = self.ask_for_next_hops(&rips).await;
        let ids = self.maps.allocate(&desired)?;
        let want = self.compile(&desired, &ids, &next_hops);

        let devices: BTreeSet<u32> = self.attachments.interfaces().keys().copied().collect();
        let flow = flow::of(frame);
        let (mut dry_run, reals) = self.maps.dry_run(&want, self.store.dips(), &devices, flow.as_ref())?;
        let known = Known { desired: &desired, ids: &ids, image: &want, next_hops: &next_hops, reals };
        let names = self.names(self.interface_names().await, &known);
        let run = dry_run.tracer.run(frame, IfIndex(interface.index));
        let mut explanation = describe(&names, interface, frame, run)?;
        let changes = match change::differences(self.store.desired(), &desired).as_slice() {
            [] => vec![StepView::new("plan", "nothing changes")],
            lines => lines.iter().map(|line| StepView::new("plan", line.planned())).collect(),
        };
        explanation.steps.splice(0..0, changes);
        Ok(explanation)
    }

    /// Returns the interface by which the packet is assumed to arrive.
    async fn ingress(&self, name: Option<&str>) -> Result<Interface, Failure> {
        let mine =
            self.attachments.interfaces().iter().find(|(_, mine)| name.is_none_or(|name| name == *mine));
        let Some((index, _)) = mine else {
            let mine: Vec<&str> = self.attachments.interfaces().values().map(String::as_str).collect();
            let message = format!("xvs is not attached to {}", name.unwrap_or("any interface"));
            return Err(Failure::wrong_input(message).hint(format!("it is attached to {}", mine.join(", "))));
        };
        let gone = |error: lb_netlink::NetlinkError| {
            Failure::failed(chain(&error))
                .hint("`xvs status` shows the interfaces and what is wrong with them")
        };
        self.network.netlink().interface_by_index(*index).await.map_err(gone)
    }

    /// Returns the names of all interfaces of this host, by index: packets may leave by other interfaces than
    /// the director's.
    pub(super) async fn interface_names(&self) -> HashMap<IfIndex, String> {
        let all = self.network.netlink().interfaces().await.unwrap_or_default();
        let all = all.into_iter().map(|interface| (IfIndex(interface.index), interface.name));
        let mine = self.attachments.interfaces().iter().map(|(index, name)| (IfIndex(*index), name.clone()));
        mine.chain(all).collect()
    }

    /// Returns the names for the programs' ids.
    fn names(&self, interfaces: HashMap<IfIndex, String>, known: &Known) -> Names {
        let endpoints = known.desired.services.keys().flat_map(|id| known.desired.endpoints(id)).collect();
        let mut names = Names { interfaces, endpoints, ..Names::default() };
        let slots: HashMap<ServiceNumber, u32> =
            known.image.services.values().map(|service| (service.id, service.slots)).collect();
        let mut ports = HashMap::new();
        let health = self.health.views(known.desired);
        for (id, service) in &known.desired.services {
            let Some(number) = known.ids.services.get(id) else { continue };
            ports.insert(*number, id.port());
            let name = ServiceName {
                name: service_name(id),
                scheduler: service.describe_scheduler().trim_start_matches("scheduler ").to_owned(),
                tracking: service.tracking.to_string(),
                slots: slots.get(number).copied().unwrap_or(0),
                rotation: self.health.rotation(id, service, known.next_hops, &health),
            };
            names.services.insert(*number, name);
        }
        for (id, real) in &known.reals {
            let port = ports.get(&real.service).copied().unwrap_or(0);
            let name = real_name(&names, known.next_hops, real, port);
            names.reals.insert(*id, name);
        }
        names
    }
}

fn real_name(
    names: &Names,
    next_hops: &BTreeMap<IpAddr, Resolution>,
    real: &schema::Real,
    service_port: u16,
) -> RealName {
    let address = real_address(real);
    let shown = if address.port() == 0 { SocketAddr::new(address.ip(), service_port) } else { address };
    let method = Method::from_number(real.method);
    let next_hop = if method == Some(Method::Local) {
        "this host".to_owned()
    } else if real.reachable() {
        let mac = real.macs.destination().map(|byte| format!("{byte:02x}")).join(":");
        format!("{mac} by {}", names.interface(real.ifindex))
    } else {
        match next_hops.get(&address.ip()) {
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

/// Describes a run in words.
fn describe(
    names: &Names,
    interface: &Interface,
    frame: &[u8],
    run: Result<Run, RunError>,
) -> Result<Explanation, Failure> {
    let run = run.map_err(|error| {
        Failure::failed(chain(&error)).hint(
            "test runs of the kernel take frames of 14 bytes to about 3,000, from an interface that is up",
        )
    })?;
    Ok(names.explain(&Ran {
        interface: &interface.name,
        before: frame,
        after: &run.frame,
        action: run.action,
        trace: &run.trace,
    }))
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
