// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director: keeps maps, neighbours and VIPs consistent with the services. The order of a change is here.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use lb_common::{
    ids::RealId,
    schema::{Real, Settings, Timeouts},
};
use tokio::sync::watch;

use super::{
    attachments::Attachments,
    change::{self, Difference},
    confirm::Confirm,
    examiner::Examiner,
    follow::Following,
    health::Health,
    history::History,
    listed::Listed,
    maps::{Loaded, Maps},
    network::{Network, NextHops},
    origin::Origin,
    outcomes::Outcomes,
    saver::Pending,
    snapshot::Snapshot,
    store::{Store, Strictness},
    trace::Traces,
    vips::Vips,
};
use crate::api::types::Done;
use lb_control::{
    config::DirectorSection, ids::Ids, image::Image, neighbours::WatchedNeighbours, readiness::Readiness,
    state::State, validate, vips::VipManager,
};
use lb_dataplane::{DataPlane, Limits, Mode, PinDir};
use lb_model::failure::Failure;
use lb_model::{Desired, ServiceId};
use lb_netlink::Netlink;

/// Parts from which a director is made.
pub struct Parts {
    /// Loaded data plane.
    pub plane: DataPlane,
    /// Table sizes of the data plane.
    pub limits: Limits,
    /// Settings of the data plane.
    pub settings: Settings,
    /// Timeouts of idle flows.
    pub timeouts: Timeouts,
    /// Netlink socket in the director's network namespace.
    pub netlink: Netlink,
    /// Manager of VIPs; `None` leaves VIPs to others.
    pub vips: Option<VipManager>,
    /// Path of the state file.
    pub state_file: PathBuf,
    /// File with the health of reals.
    pub health_file: PathBuf,
    /// State of an earlier run.
    pub state: State,
    /// Directory of the pins.
    pub pins: PinDir,
    /// XDP mode.
    pub mode: Mode,
    /// The `[director]` section that the daemon started with.
    pub section: DirectorSection,
}

/// The director: the desired services and all means to provide them.
///
/// It consists of parts that own their data: only the methods of a part change it. A function that needs several
/// parts is one of the director's. Changes are made one at a time, under the lock of
/// [`Shared`](super::Shared); readers without it use the [`Snapshot`]s.
pub struct Director {
    /// Data plane and contents of its maps.
    pub(super) maps: Maps,
    /// Configured services, and the other data of the state file.
    pub(super) store: Store,
    /// Next hops and the director's addresses.
    pub(super) network: Network,
    /// VIPs that the daemon added, or that other machines have.
    pub(super) vips: Vips,
    /// States of reals by their health checks.
    pub(super) health: Health,
    /// Interfaces that the programs are attached to.
    pub(super) attachments: Attachments,
    /// Findings of the doctor.
    pub(super) examiner: Examiner,
    /// Config file, and changes since it was read.
    pub(super) origin: Origin,
    /// Outcomes of changes, and of reads of the config file.
    pub(super) outcomes: Outcomes,
    /// Data for the lists of ipvsadm.
    pub(super) listed: Listed,
    /// Services that may lose untracked flows in the change that is being made.
    pub(super) forced: BTreeSet<ServiceId>,
    /// Config that waits for its confirmation.
    pub(super) confirm: Confirm,
    /// Revisions of the config.
    pub(super) history: History,
    /// Traces of packets.
    pub(super) traces: Traces,
    /// State of following IPVS.
    pub(super) follow: Following,
    /// Whether the director can take over traffic, as last decided.
    pub(super) readiness: Readiness,
    pub(super) started: Instant,
    /// Snapshots for readers, the last one after the last change of services or reals.
    snapshots: watch::Sender<Arc<Snapshot>>,
}

/// Maximum number of log lines about one change: tens of thousands take as long as the change itself.
pub(super) const LINES: usize = 100;

impl Director {
    /// Creates a director over a loaded data plane, with the contents of the maps from an earlier run.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn new(parts: Parts) -> Result<Self, Failure> {
        let loaded = Loaded {
            plane: parts.plane,
            pins: parts.pins.clone(),
            limits: parts.limits,
            settings: parts.settings,
            timeouts: parts.timeouts,
        };
        let maps = Maps::new(loaded, &parts.section, &parts.state.desired, &parts.state.dips)?;
        let snapshot = Arc::new(Snapshot::new(parts.state.desired.clone()));
        Ok(Self {
            snapshots: watch::Sender::new(snapshot),
            maps,
            attachments: Attachments::new(parts.netlink.clone(), parts.pins, parts.mode),
            network: Network::new(parts.netlink),
            started: Instant::now(),
            confirm: Confirm::open(&parts.state_file),
            history: History::start(&parts.state_file),
            store: Store::new(parts.state, parts.state_file),
            vips: Vips::new(parts.vips),
            health: Health::new(parts.health_file),
            examiner: Examiner::default(),
            origin: Origin::new(parts.section),
            outcomes: Outcomes::default(),
            listed: Listed::default(),
            forced: BTreeSet::new(),
            traces: Traces::default(),
            follow: Following::default(),
            readiness: Readiness::unknown(),
        })
    }

    /// Returns the desired services.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        self.store.desired()
    }

    /// Returns the sizes of the tables.
    pub(super) const fn limits(&self) -> &Limits {
        self.maps.limits()
    }

    /// Returns a receiver of the snapshots after later changes; it has the last one.
    pub(super) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Returns the neighbours on which next hops depend.
    pub(super) fn watched(&self) -> WatchedNeighbours {
        self.network.watched()
    }

    /// Publishes the services at the end of a change.
    pub(super) fn publish(&self) {
        self.snapshots.send_replace(Arc::new(Snapshot::new(self.store.desired().clone())));
        self.plan_checks();
    }

    /// Replaces all services with `desired`. VIPs that other machines have are not added, unless `take_over`.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn replace(&mut self, mut desired: Desired, take_over: bool) -> Result<Done, Failure> {
        change::carry_over(self.store.desired(), &mut desired);
        if take_over {
            self.vips.claim(desired.vips());
        }
        let changes: Vec<String> =
            change::differences(self.store.desired(), &desired).iter().map(Difference::done).collect();
        self.write(desired).await?;
        self.origin.count(usize::from(!changes.is_empty()));
        for line in changes.iter().take(LINES) {
            tracing::info!("{line}");
        }
        if let more @ 1.. = changes.len().saturating_sub(LINES) {
            tracing::info!("and {more} more changes");
        }
        Ok(Done { changes, warnings: self.reconcile().await })
    }

    /// Writes `desired` to the maps and the state file.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(super) async fn write(&mut self, desired: Desired) -> Result<(), Failure> {
        self.write_in_order(desired, Strictness::Change).await
    }

    /// Carries out a change in the only order in which a crash, a full disk or an error of the kernel loses
    /// nothing: flush the new state to disk beside the state file, write the maps, rename the new state over
    /// the state file, and remove flows last.
    pub(super) async fn write_in_order(
        &mut self,
        desired: Desired,
        strictness: Strictness,
    ) -> Result<(), Failure> {
        let done = self.write_uncounted(desired, strictness).await;
        self.outcomes.note(&done);
        done
    }

    /// Carries out a change, as [`write_in_order`](Self::write_in_order), without counting it.
    async fn write_uncounted(&mut self, desired: Desired, strictness: Strictness) -> Result<(), Failure> {
        self.may_become(&desired)?;
        let has_others = self.network.look_at_own_addresses().await;
        if strictness == Strictness::Change
            && !has_others
            && let Some(change) = self.part_of(&desired).await
        {
            return self.write_part(desired, change).await;
        }
        let cut = self.moved();
        let rips: BTreeSet<IpAddr> = desired.rips().collect();
        let next_hops = self.ask_for_next_hops(&rips).await;
        let ids = self.maps.allocate(&desired)?;
        // 1. Write the new state beside the state file in force.
        let old = self.store.replace_desired(desired);
        let prepared = match self.prepare(strictness).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.store.replace_desired(old);
                return Err(failure);
            }
        };
        // 2. Write the maps. Flows of removed reals stay for now.
        self.health.adopt(&old, self.store.desired(), &BTreeSet::new());
        let before = self.maps.image().clone();
        let want = self.compile(self.store.desired(), &ids, &next_hops);
        let done = self.carry_out(&want).and_then(|removed| {
            // 3. Rename the state file.
            self.store.commit(prepared, strictness).map(|()| removed)
        });
        let removed = match done {
            Ok(removed) => removed,
            Err(failure) => {
                self.store.replace_desired(old);
                // Undo a partial change. If that fails too, the next change or start repairs the maps.
                if let Err(again) = self.carry_out(&before) {
                    tracing::error!("the maps could not be put back: {}", again.message);
                }
                return Err(failure);
            }
        };
        self.store.retire_services();
        self.maps.set_ids(ids);
        let moved = self.maps.replaced_ids(self.store.desired());
        self.network.set_next_hops(next_hops);
        // 4. Remove flows, which cannot be undone.
        self.forget(&removed, &moved);
        self.move_connections(&cut, BTreeMap::new());
        self.publish();
        Ok(())
    }

    /// Removes the flows of removed reals, and moves persistence entries to replaced ones. If this fails, the
    /// next sweep removes the flows.
    pub(super) fn forget(&mut self, removed: &BTreeMap<RealId, Real>, replaced: &BTreeMap<RealId, RealId>) {
        self.maps.forget(removed, replaced);
        if !removed.is_empty() {
            // The counters of the removed reals are in the state now.
            self.store.save_counters(self.vips.added());
        }
    }

    /// Returns the contents of the maps for `desired`.
    pub(super) fn compile(&self, desired: &Desired, ids: &Ids, next_hops: &NextHops) -> Image {
        self.maps.compile(desired, ids, next_hops, self.network.own(), self.health.table())
    }

    /// Checks whether the director can do `desired`.
    pub(super) fn may_become(&mut self, desired: &Desired) -> Result<(), Failure> {
        validate::after(self.store.desired(), desired, self.maps.limits())?;
        validate::dips(desired, self.store.dips())?;
        self.may_leave_auto(desired)
    }

    /// Updates the maps to `want`. Returns the removed reals, whose flows are still in the tables.
    pub(super) fn carry_out(&mut self, want: &Image) -> Result<BTreeMap<RealId, Real>, Failure> {
        let applied = self.maps.apply(want)?;
        self.store.retire(&applied.retired, &applied.reasons);
        Ok(applied.removed)
    }

    /// Writes the state beside the state file, with the VIPs that the change will add.
    ///
    /// # Errors
    /// If it cannot be written during a change.
    pub(super) async fn prepare(&mut self, strictness: Strictness) -> Result<Option<Pending>, Failure> {
        self.store.note_vips(self.vips.added());
        let mut new = BTreeSet::new();
        if self.vips.are_managed()
            && let Ok(here) = self.network.netlink().addresses().await
        {
            let here: BTreeSet<IpAddr> = here.iter().map(|address| address.net.addr()).collect();
            new.extend(self.wanted_vips().into_iter().filter(|vip| !here.contains(vip)));
        }
        self.store.prepare(&new, strictness)
    }
}
