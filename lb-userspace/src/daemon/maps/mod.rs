// SPDX-License-Identifier: MIT OR Apache-2.0
//! Owner of the data plane and of everything that is in its maps: the image, the ids, the sizes, the timeouts.
#![forbid(unsafe_code)]

mod announced; // connections that other directors announce
mod count; //    flow counts by real, counters of the programs
mod dry_run; //  copies of the programs and of the maps
mod evicted; //  evictions of living flows
mod own_flows; // flows of this director as announcements
mod replace; //  flow table of another size
mod resize; //   larger maps
mod slots; //    slots of services in transition
mod sweep; //    removal of ended flows, settling of slots

pub(super) use announced::{Announcement, Written};
pub use count::{Counted, FlowCount, FlowCounts};
pub(super) use own_flows::OwnFlow;
pub(super) use sweep::Swept;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use lb_common::{
    ids::{RealId, ServiceId as ServiceNumber},
    reason::Reason,
    schema::{Counters, Real, Settings, Timeouts},
};

use crate::api::types::RealView;
use announced::AnnouncedFlows;
use evicted::Evictions;
use lb_control::{
    apply::{Time, apply, forget},
    config::{DirectorSection, SourceCheck},
    dips::Dips,
    ids::{Ids, NoRoom, Spans},
    image::{Image, Part},
    neighbours::Resolution,
    own_addresses::OwnAddresses,
    plan::{Step, plan},
    pool::HealthTable,
    vips::VipPing,
};
use lb_dataplane::{DataPlane, Limits, PinDir, TableError, Tables, Tracer, clock};
use lb_model::evicted::Evicted;
use lb_model::failure::{Failure, chain};
use lb_model::{Desired, RealKey, ServiceId};

/// Returns the failure of an access to a map.
pub(super) fn maps_failed(error: &TableError) -> Failure {
    Failure::failed(chain(error)).hint("see the kernel's log (dmesg); `xvs status` shows what is in force")
}

/// Parameters of the loaded data plane.
pub(super) struct Loaded {
    pub plane: DataPlane,
    pub pins: PinDir,
    pub limits: Limits,
    pub settings: Settings,
    pub timeouts: Timeouts,
}

/// Settings of the config file that determine the contents of the maps.
#[derive(Clone, Copy, Debug)]
struct Rules {
    vip_ping: VipPing,
    source_check: SourceCheck,
}

/// Owner of the data plane and of the contents of its maps.
pub(super) struct Maps {
    plane: DataPlane,
    pins: PinDir,
    limits: Limits,
    settings: Settings,
    /// Timeouts of idle flows.
    timeouts: Timeouts,
    rules: Rules,
    /// Contents of the maps.
    image: Image,
    /// Ids of the services and reals in the maps.
    ids: Ids,
    /// Services that have no slot in transition: sweeps need not read their slots. Only a change of the table
    /// moves slots.
    steady: HashSet<ServiceNumber>,
    /// Evictions of living flows.
    evictions: Evictions,
    /// Connections that other directors have announced.
    announced: AnnouncedFlows,
    /// Duration of the last sweep.
    last_sweep: Duration,
    /// Copy of the programs for `xvs explain`, once it was used.
    tracer: Option<Tracer>,
}

/// Effect of a change of the maps.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Removed reals by id. Their flows are still in the tables.
    pub removed: BTreeMap<RealId, Real>,
    /// Last counters of the removed reals, with their services.
    pub retired: Vec<(ServiceId, Counters)>,
    /// Packets of removed services, by reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl Maps {
    /// Takes over a loaded data plane, with the contents of the maps from an earlier run.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub(super) fn new(
        loaded: Loaded,
        section: &DirectorSection,
        desired: &Desired,
        dips: &Dips,
    ) -> Result<Self, Failure> {
        let Loaded { mut plane, pins, limits, settings, timeouts } = loaded;
        let tables = plane.tables();
        tables.put_dips(&dips.table(false), &dips.table(true)).map_err(|e| maps_failed(&e))?;
        let image = Image::read(tables).map_err(|e| maps_failed(&e))?;
        Ok(Self {
            plane,
            pins,
            limits,
            settings,
            timeouts,
            rules: Rules { vip_ping: section.vip_ping, source_check: section.source_check },
            ids: Ids::of(&image, desired),
            image,
            steady: HashSet::new(),
            evictions: Evictions::default(),
            announced: AnnouncedFlows::default(),
            last_sweep: Duration::ZERO,
            tracer: None,
        })
    }

    /// Returns the data plane, to attach and detach its programs.
    pub(super) const fn plane(&mut self) -> &mut DataPlane {
        &mut self.plane
    }

    /// Returns the maps, to read them.
    pub(super) fn tables(&mut self) -> &Tables {
        self.plane.tables()
    }

    /// Returns the contents of the maps.
    pub(super) const fn image(&self) -> &Image {
        &self.image
    }

    /// Returns the ids of the services and reals.
    pub(super) const fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Returns the sizes of the maps.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the timeouts of idle flows.
    pub(super) const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Returns the duration of the last sweep.
    pub(super) const fn last_sweep(&self) -> Duration {
        self.last_sweep
    }

    /// Returns the number of evicted flows that sweeps have found, a sample of all.
    pub(super) const fn evicted_total(&self) -> u64 {
        self.evictions.total()
    }

    /// Returns recent evictions from the IPv4 tables and the IPv6 tables.
    pub(super) fn evicted(&self) -> [Option<Evicted>; 2] {
        self.evictions.news()
    }

    /// Returns the id of a real that a view shows.
    pub(super) fn number_of(&self, id: &ServiceId, view: &RealView) -> Option<RealId> {
        self.ids.real(id, &RealKey { address: view.address, forward: view.forward, tunnel: view.tunnel })
    }

    /// Returns the reals of `desired` that take connections by the maps.
    pub(super) fn serving(&self, desired: &Desired) -> BTreeSet<(ServiceId, SocketAddr)> {
        let mut serving = BTreeSet::new();
        for (id, service) in &desired.services {
            for (address, real) in &service.reals {
                let number = self.ids.real(id, &real.key(*address));
                let value = number.and_then(|number| self.image.reals.get(&number));
                if value.is_some_and(|value| value.weight > 0 && !value.is(Real::DOWN)) {
                    serving.insert((*id, *address));
                }
            }
        }
        serving
    }

    /// Allocates the ids and blocks for `desired`.
    ///
    /// # Errors
    /// If a table has no room.
    pub(super) fn allocate(&self, desired: &Desired) -> Result<Ids, Failure> {
        self.ids.allocate(desired, self.limits.blocks()).map_err(|no_room: NoRoom| {
            Failure::failed(no_room.to_string()).hint(
                "blocks grow with max-services and max-reals: raise one of them in [director], run `xvs detach`, and start again",
            )
        })
    }

    /// Puts allocated ids in force, after the maps have been changed to an image with them.
    pub(super) fn set_ids(&mut self, ids: Ids) {
        self.announced.forget_reals();
        self.ids = ids;
    }

    /// Returns the contents of the maps for `desired`; `own` are the addresses that no client can
    /// have, and `health` are the states of the reals.
    pub(super) fn compile(
        &self,
        desired: &Desired,
        ids: &Ids,
        next_hops: &BTreeMap<IpAddr, Resolution>,
        own: &OwnAddresses,
        health: &HealthTable,
    ) -> Image {
        let mut image = Image::compile(desired, ids, next_hops, health);
        if self.rules.vip_ping == VipPing::Serving {
            image.silence();
        }
        image.forbid_sources(own);
        if self.rules.source_check == SourceCheck::Loose {
            image.trust_reals();
        }
        image
    }

    /// Changes the maps to `want`.
    ///
    /// # Errors
    /// If the kernel refuses; the maps may then be changed partly, and [`Self::image`] shows their contents.
    pub(super) fn apply(&mut self, want: &Image) -> Result<Applied, Failure> {
        self.carry_out(&plan(&self.image, want))
    }

    /// Changes the entries of some services to those of `want`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub(super) fn apply_part(&mut self, want: &Part) -> Result<Applied, Failure> {
        self.carry_out(&want.plan(&self.image))
    }

    /// Returns the entries of some services for `desired`, as [`Image::compile_part`] does.
    pub(super) fn compile_part(
        &self,
        desired: &Desired,
        services: &BTreeSet<ServiceId>,
        next_hops: &BTreeMap<IpAddr, Resolution>,
        health: &HealthTable,
    ) -> Part {
        self.image.compile_part(desired, services, &self.ids, next_hops, health)
    }

    /// Returns whether the addresses in the maps stay as they are when a part of the entries changes to `want`: with
    /// `vip-ping = "serving"`, VIPs answer while their services have reals.
    pub(super) fn keeps_addresses(&self, want: &Part) -> bool {
        self.rules.vip_ping != VipPing::Serving || self.image.serves_like(want)
    }

    /// Puts the places of tables in force, and returns the previous ones.
    pub(super) fn set_spans(&mut self, spans: &Spans) -> Spans {
        let mut before = Spans::new();
        for (number, span) in spans {
            before.extend(self.ids.spans.insert(*number, *span).map(|old| (*number, old)));
        }
        before
    }

    /// Carries out the steps of a change.
    fn carry_out(&mut self, steps: &[Step]) -> Result<Applied, Failure> {
        if !steps.is_empty() {
            self.announced.forget_reals();
        }
        for step in steps {
            if let Step::PutTable { service, .. } = step {
                self.steady.remove(service);
            }
        }
        let time = Time { now: clock::now(), timeouts: &self.timeouts };
        let outcome =
            apply(self.plane.tables(), &mut self.image, steps, time).map_err(|e| maps_failed(&e))?;
        let services: HashMap<ServiceNumber, ServiceId> = if outcome.retired.is_empty() {
            HashMap::new()
        } else {
            self.ids.services.iter().map(|(id, n)| (*n, *id)).collect()
        };
        let retired = outcome.retired.iter();
        Ok(Applied {
            removed: outcome.removed,
            retired: retired.filter_map(|(number, last)| Some((*services.get(number)?, *last))).collect(),
            reasons: outcome.reasons,
        })
    }

    /// Maps the id of each real whose method changed to the id of its replacement.
    pub(super) fn replaced_ids(&self, desired: &Desired) -> BTreeMap<RealId, RealId> {
        let mut replaced = BTreeMap::new();
        for (id, service) in &desired.services {
            for key in service.leaving.keys().filter(|key| service.is_replaced(key)) {
                let new = service.reals[&key.address].key(key.address);
                if let (Some(old), Some(new)) = (self.ids.real(id, key), self.ids.real(id, &new)) {
                    replaced.insert(old, new);
                }
            }
        }
        replaced
    }

    /// Removes the flows of removed reals, and moves persistence entries to replaced ones. If this fails, the
    /// next sweep removes the flows.
    pub(super) fn forget(&mut self, removed: &BTreeMap<RealId, Real>, replaced: &BTreeMap<RealId, RealId>) {
        match forget(self.plane.tables(), removed, replaced) {
            Ok(0) => {}
            Ok(flows) => {
                self.evictions.forget();
                tracing::info!(flows, "flows of removed reals were forgotten");
            }
            Err(error) => tracing::error!(error = chain(&error), "flows of removed reals were not forgotten"),
        }
    }

    /// Writes the timeouts of idle flows.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(super) fn put_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Failure> {
        self.plane.tables().put_timeouts(&timeouts).map_err(|e| maps_failed(&e))?;
        self.timeouts = timeouts;
        Ok(())
    }
}
