// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director: keeps maps, neighbours and VIPs consistent with the services.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use lb_common::{
    schema::{Real, Settings, Timeouts},
    ticks,
};
use tokio::sync::watch;

use super::{
    change::{self, Difference},
    doctor::Examined,
    ipvs::IpvsView,
    lost_sends::LostSends,
    maps::{Loaded, Maps},
    network::{Network, NextHops},
    snapshot::Snapshot,
    store::{Store, Strictness},
    vips::Vips,
};
use crate::api::types::{Done, TimeoutView};
use lb_control::{
    config::DirectorSection, ids::Ids, image::Image, neighbours::WatchedNeighbours, state::State,
    state_file::Prepared, validate, vips::VipManager,
};
use lb_dataplane::{DataPlane, Limits, Mode, PinDir, ProbePlane};
use lb_model::failure::{Failure, chain};
use lb_model::{Desired, timeouts::TimeoutOptions};
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
pub struct Director {
    /// Next hops and the director's addresses.
    pub(super) network: Network,
    pub(super) started: Instant,
    /// Data plane and contents of its maps.
    pub(super) maps: Maps,
    /// Configured services, and the other data of the state file.
    pub(super) store: Store,
    /// VIPs that the daemon added, or that other machines have.
    pub(super) vips: Vips,
    pub(super) pins: PinDir,
    pub(super) mode: Mode,
    /// The `[director]` section that the daemon started with.
    section: DirectorSection,
    /// Number of times that a detached program was attached again.
    pub(super) reattached: u64,
    /// Interfaces that the program is attached to, by index.
    pub(super) interfaces: BTreeMap<u32, String>,
    pub(super) ipvs: IpvsView,
    /// Last findings of the doctor.
    pub(super) examined: Option<Examined>,
    /// Config file from which the services come, and the value of `revision` when it was read.
    pub(super) config: Option<(String, u64)>,
    /// Number of changes since the start.
    pub(super) revision: u64,
    /// Drivers' counters of packets that they failed to send.
    pub(super) sends: LostSends,
    /// Programs that make the doctor's probes, once it has run.
    pub(super) prober: Option<Box<ProbePlane>>,
    /// Lock of an examination: two at the same time would receive each other's answers to probes.
    pub(super) examining: Arc<tokio::sync::Mutex<()>>,
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
            network: Network::new(parts.netlink),
            started: Instant::now(),
            store: Store::new(parts.state, parts.state_file),
            vips: Vips::new(parts.vips),
            pins: parts.pins,
            mode: parts.mode,
            section: parts.section,
            reattached: 0,
            interfaces: BTreeMap::new(),
            ipvs: IpvsView::default(),
            examined: None,
            config: None,
            revision: 0,
            sends: LostSends::default(),
            prober: None,
            examining: Arc::default(),
        })
    }

    /// Returns the timeouts of idle flows, in seconds.
    pub(super) fn timeout_view(&self) -> TimeoutView {
        let seconds = |ticks| (ticks::milliseconds_of_ticks(ticks) / 1000) as u32;
        let Timeouts { tcp, tcp_fin, udp } = self.maps.timeouts();
        TimeoutView { tcp: seconds(tcp), tcp_fin: seconds(tcp_fin), udp: seconds(udp) }
    }

    /// Changes the timeouts of idle flows, at once and for every later start.
    ///
    /// # Errors
    /// If the map or the state file cannot be written.
    pub fn set_timeouts(&mut self, options: TimeoutOptions) -> Result<Done, Failure> {
        let old = self.store.timeouts();
        let merged = TimeoutOptions {
            tcp: options.tcp.or(old.tcp),
            tcp_fin: options.tcp_fin.or(old.tcp_fin),
            udp: options.udp.or(old.udp),
        };
        let prepared = self.store.prepare_timeouts(merged)?;
        let ticks = |seconds: Option<u32>, old| seconds.map_or(old, |s| ticks::ticks_of_seconds(s.into()));
        let before = self.maps.timeouts();
        self.maps.put_timeouts(Timeouts {
            tcp: ticks(options.tcp, before.tcp),
            tcp_fin: ticks(options.tcp_fin, before.tcp_fin),
            udp: ticks(options.udp, before.udp),
        })?;
        if let Err(failure) = self.store.commit_timeouts(prepared, merged) {
            drop(self.maps.put_timeouts(before));
            return Err(failure);
        }
        let TimeoutView { tcp, tcp_fin, udp } = self.timeout_view();
        let line = format!("timeouts are now tcp {tcp}s, tcp-fin {tcp_fin}s, udp {udp}s");
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }

    /// Returns the desired services.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        self.store.desired()
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
    }

    /// Notes that the services come from a config file.
    pub(crate) fn has_read(&mut self, config: &Path) {
        self.config = Some((config.display().to_string(), self.revision));
    }

    /// Returns a warning if a config file has changed keys that only take effect at the next start.
    #[must_use]
    pub fn needs_restart(&self, section: &DirectorSection) -> Option<String> {
        self.section.needs_restart(section)
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
        self.revision += u64::from(!changes.is_empty());
        for line in changes.iter().take(LINES) {
            tracing::info!("{line}");
        }
        if let more @ 1.. = changes.len().saturating_sub(LINES) {
            tracing::info!("and {more} more changes");
        }
        Ok(Done { changes, warnings: self.settle().await })
    }

    /// Writes `desired` to the maps and the state file.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(super) async fn write(&mut self, desired: Desired) -> Result<(), Failure> {
        self.write_in_order(desired, Strictness::Change).await
    }

    /// Writes `desired` to the maps and the state file at a start, which does not fail if the state cannot be saved.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(crate) async fn begin(&mut self, desired: Desired) -> Result<(), Failure> {
        self.write_in_order(desired, Strictness::Start).await
    }

    /// Carries out a change in the only order in which a crash, a full disk or an error of the kernel loses
    /// nothing: flush the new state to disk beside the state file, write the maps, rename the new state over
    /// the state file, and remove flows last.
    async fn write_in_order(&mut self, desired: Desired, strictness: Strictness) -> Result<(), Failure> {
        self.may_become(&desired)?;
        self.network.look_at_own_addresses().await;
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
        self.publish();
        Ok(())
    }

    /// Removes the flows of removed reals, and moves persistence entries to replaced ones. If this fails, the
    /// next sweep removes the flows.
    pub(super) fn forget(&mut self, removed: &BTreeMap<u32, Real>, replaced: &BTreeMap<u32, u32>) {
        self.maps.forget(removed, replaced);
        if !removed.is_empty() {
            // The counters of the removed reals are in the state now.
            self.store.save_counters(self.vips.added());
        }
    }

    /// Returns the contents of the maps for `desired`.
    pub(super) fn compile(&self, desired: &Desired, ids: &Ids, next_hops: &NextHops) -> Image {
        self.maps.compile(desired, ids, next_hops, self.network.own())
    }

    /// Checks whether the director can do `desired`.
    pub(super) fn may_become(&mut self, desired: &Desired) -> Result<(), Failure> {
        validate::desired(desired, self.maps.limits())?;
        validate::dips(desired, self.store.dips())?;
        self.may_leave_auto(desired)
    }

    /// Returns the changes that replacing all services with `desired` would make, without making them.
    ///
    /// # Errors
    /// If `desired` is invalid, or a table is full.
    pub fn plan(&mut self, mut desired: Desired) -> Result<Done, Failure> {
        change::carry_over(self.store.desired(), &mut desired);
        self.may_become(&desired)?;
        self.maps.allocate(&desired)?;
        let changes = change::differences(self.store.desired(), &desired);
        Ok(Done { changes: changes.iter().map(Difference::planned).collect(), warnings: Vec::new() })
    }

    /// Updates the maps to `want`. Returns the removed reals, whose flows are still in the tables.
    pub(super) fn carry_out(&mut self, want: &Image) -> Result<BTreeMap<u32, Real>, Failure> {
        let applied = self.maps.apply(want)?;
        self.store.retire(&applied.retired, &applied.reasons);
        Ok(applied.removed)
    }

    /// Writes the state beside the state file, with the VIPs that the change will add.
    ///
    /// # Errors
    /// If it cannot be written during a change.
    async fn prepare(&mut self, strictness: Strictness) -> Result<Option<Prepared>, Failure> {
        self.store.note_vips(self.vips.added());
        let mut new = BTreeSet::new();
        if self.vips.are_managed()
            && let Ok(here) = self.network.netlink().addresses().await
        {
            let here: BTreeSet<IpAddr> = here.iter().map(|address| address.net.addr()).collect();
            new.extend(self.store.desired().vips().filter(|vip| !here.contains(vip)));
        }
        self.store.prepare(new, strictness)
    }

    /// Removes the VIPs that the daemon added, and lets neighbour entries age, after forwarding has ended.
    pub async fn let_go(&mut self) {
        self.network.release_all().await;
        if !self.vips.remove_all().await {
            return;
        }
        if let Err(error) = self.save_as_is() {
            tracing::warn!(error = chain(&error), "state not saved");
        }
    }

    /// Detaches the programs from the interfaces.
    pub fn detach(&mut self) {
        for index in self.interfaces.keys() {
            self.maps.plane().take_off(*index);
        }
    }

    /// Writes the state file with exactly the VIPs that were added.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save_as_is(&mut self) -> Result<(), Failure> {
        self.store.save(self.vips.added())
    }
}
