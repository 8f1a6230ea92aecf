// SPDX-License-Identifier: MIT OR Apache-2.0
//! Services, maps, neighbours and VIPs, kept in step.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::{
    reason::Reason,
    schema::{Real, Settings, Timeouts},
    track,
};
use tokio::sync::watch;

use super::{
    change::{self, Difference},
    claim::Held,
    doctor::Examined,
    evicted::Evictions,
    ipvs::IpvsView,
    lost_sends::LostSends,
    told::Told,
};
use crate::{
    api::types::{Done, TimeoutView},
    control::{
        apply::{Time, apply, forget},
        config::{DirectorSection, SourceCheck},
        ids::{Ids, NoRoom},
        image::Image,
        neighbours::{Neighbours, Resolution},
        own_addresses::OwnAddresses,
        plan::plan,
        state::{State, not_written},
        state_file::Prepared,
        validate,
        vips::{VipEvent, VipManager, VipPing},
    },
    dataplane::{DataPlane, Limits, Mode, PinDir, Single, TableError, Tracer, clock},
    failure::{Failure, chain},
    model::{Desired, ServiceId, timeouts::TimeoutOptions},
    netlink::Netlink,
};

/// The parts from which a director is made.
pub struct Parts {
    /// The data plane, loaded.
    pub plane: DataPlane,
    /// The sizes it was loaded with.
    pub limits: Limits,
    /// The options it was loaded with.
    pub settings: Settings,
    /// How long silent flows live.
    pub timeouts: Timeouts,
    /// Netlink, in the director's network namespace.
    pub netlink: Netlink,
    /// Who adds VIPs; `None` leaves that to others.
    pub vips: Option<VipManager>,
    /// Where the state is kept.
    pub state_file: PathBuf,
    /// The state of an earlier run.
    pub state: State,
    /// Where the data plane is pinned.
    pub pins: PinDir,
    /// Where in the kernel to run.
    pub mode: Mode,
    /// The `[director]` section that the daemon started with.
    pub section: DirectorSection,
}

/// The director: what it should do, and everything that it takes to do it.
pub struct Director {
    pub(super) plane: DataPlane,
    pub(crate) limits: Limits,
    pub(super) settings: Settings,
    pub(super) timeouts: Timeouts,
    pub(super) netlink: Netlink,
    pub(super) started: Instant,
    /// How long the last sweep took.
    pub(super) last_sweep: Duration,
    /// What the operator wants.
    pub(crate) state: State,
    pub(super) state_file: PathBuf,
    /// VIPs that other machines have.
    pub(super) held: Held,
    /// Addresses that no client can have.
    pub(super) own: OwnAddresses,
    /// Why the state is not on disk, if it is not.
    pub(super) unsaved: Option<String>,
    pub(super) ids: Ids,
    pub(super) image: Image,
    pub(super) neighbours: Neighbours,
    pub(super) next_hops: BTreeMap<IpAddr, Resolution>,
    /// The real that was looked at last while nothing was known to have changed.
    pub(super) looked_at: Option<IpAddr>,
    /// What the log has told of them.
    pub(super) told: Told,
    pub(super) vips: Option<VipManager>,
    pub(super) pins: PinDir,
    pub(super) mode: Mode,
    /// The `[director]` section that the daemon started with.
    section: DirectorSection,
    /// How often the program was attached again that something had taken off.
    pub(super) reattached: u64,
    /// Interfaces that the program is attached to, by index.
    pub(super) interfaces: BTreeMap<u32, String>,
    pub(super) ipvs: IpvsView,
    /// What the doctor found last.
    pub(super) examined: Option<Examined>,
    /// The config file whose services these are, and how many changes there had been when it was read.
    pub(super) config: Option<(String, u64)>,
    /// How many changes there were since the start.
    pub(super) revision: u64,
    /// What the drivers count of packets that were not sent.
    pub(super) sends: LostSends,
    /// Flows that the tables forgot before their time.
    pub(super) evictions: Evictions,
    /// The programs that make the doctor's probes, once it has looked.
    pub(super) prober: Option<Box<Single>>,
    /// Held by whoever examines: probes of two would take each other's answers.
    pub(super) examining: Arc<tokio::sync::Mutex<()>>,
    /// Told whenever services or reals are others.
    pub(super) changed: watch::Sender<()>,
    /// A copy of the programs for `xvs explain`, once it was asked for.
    pub(super) tracer: Option<Tracer>,
}

pub(super) fn maps_failed(error: &TableError) -> Failure {
    Failure::failed(chain(error)).hint("see the kernel's log (dmesg); `xvs status` shows what is in force")
}

/// Lines that one change may write into the log: tens of thousands take as long as the change itself.
pub(super) const LINES: usize = 100;

impl Director {
    /// A director over a loaded data plane, with what the maps hold from an earlier run.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn new(mut parts: Parts) -> Result<Self, Failure> {
        let tables = parts.plane.tables();
        let dips = &parts.state.dips;
        tables.put_dips(&dips.table(false), &dips.table(true)).map_err(|e| maps_failed(&e))?;
        let image = Image::read(tables).map_err(|e| maps_failed(&e))?;
        Ok(Self {
            ids: Ids::of(&image, &parts.state.desired),
            image,
            neighbours: Neighbours::new(parts.netlink.clone()),
            plane: parts.plane,
            limits: parts.limits,
            settings: parts.settings,
            timeouts: parts.timeouts,
            netlink: parts.netlink,
            started: Instant::now(),
            last_sweep: Duration::ZERO,
            state: parts.state,
            state_file: parts.state_file,
            held: Held::default(),
            own: OwnAddresses::default(),
            unsaved: None,
            next_hops: BTreeMap::new(),
            looked_at: None,
            told: Told::default(),
            vips: parts.vips,
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
            evictions: Evictions::default(),
            prober: None,
            examining: Arc::default(),
            changed: watch::Sender::new(()),
            tracer: None,
        })
    }

    /// How long silent flows live.
    pub(super) fn timeout_view(&self) -> TimeoutView {
        let seconds = |ticks| (track::milliseconds_of_ticks(ticks) / 1000) as u32;
        let Timeouts { tcp, tcp_fin, udp } = self.timeouts;
        TimeoutView { tcp: seconds(tcp), tcp_fin: seconds(tcp_fin), udp: seconds(udp) }
    }

    /// Changes how long silent flows live, at once and for every later start.
    ///
    /// # Errors
    /// If the map or the state file cannot be written.
    pub fn set_timeouts(&mut self, options: TimeoutOptions) -> Result<Done, Failure> {
        let old = self.state.timeouts;
        self.state.timeouts = TimeoutOptions {
            tcp: options.tcp.or(old.tcp),
            tcp_fin: options.tcp_fin.or(old.tcp_fin),
            udp: options.udp.or(old.udp),
        };
        let prepared = match self.state.prepare(&self.state_file) {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.state.timeouts = old;
                return Err(failure);
            }
        };
        let ticks = |seconds: Option<u32>, old| seconds.map_or(old, |s| track::ticks_of_seconds(s.into()));
        let timeouts = Timeouts {
            tcp: ticks(options.tcp, self.timeouts.tcp),
            tcp_fin: ticks(options.tcp_fin, self.timeouts.tcp_fin),
            udp: ticks(options.udp, self.timeouts.udp),
        };
        let before = self.timeouts;
        let tables = self.plane.tables();
        let done = tables.put_timeouts(&timeouts).map_err(|e| maps_failed(&e)).and_then(|()| {
            prepared.commit().map_err(|error| {
                drop(tables.put_timeouts(&before));
                not_written(&self.state_file, &error)
            })
        });
        if let Err(failure) = done {
            self.state.timeouts = old;
            return Err(failure);
        }
        self.timeouts = timeouts;
        let TimeoutView { tcp, tcp_fin, udp } = self.timeout_view();
        let line = format!("timeouts are now tcp {tcp}s, tcp-fin {tcp_fin}s, udp {udp}s");
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }

    /// What the operator wants.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.state.desired
    }

    /// The data plane.
    pub fn plane(&mut self) -> &mut DataPlane {
        &mut self.plane
    }

    /// Notes that the services are those of a config file.
    pub(crate) fn has_read(&mut self, config: &Path) {
        self.config = Some((config.display().to_string(), self.revision));
    }

    /// Returns a warning if a config file has keys that count at the next start only.
    #[must_use]
    pub fn needs_restart(&self, section: &DirectorSection) -> Option<String> {
        self.section.needs_restart(section)
    }

    /// Makes `desired` all that the director does. VIPs that other machines have are not taken, unless `take_over`.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn replace(&mut self, mut desired: Desired, take_over: bool) -> Result<Done, Failure> {
        change::carry_over(&self.state.desired, &mut desired);
        if take_over && let Some(vips) = &mut self.vips {
            vips.claim(desired.vips());
        }
        let changes: Vec<String> =
            change::differences(&self.state.desired, &desired).iter().map(Difference::done).collect();
        self.write(desired).await?;
        self.revision += u64::from(!changes.is_empty());
        for line in changes.iter().take(LINES) {
            tracing::info!("{line}");
        }
        if let more @ 1.. = changes.len().saturating_sub(LINES) {
            tracing::info!("and {more} changes more");
        }
        Ok(Done { changes, warnings: self.settle().await })
    }

    /// Writes the maps and the state file so that they say `desired`.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(super) async fn write(&mut self, desired: Desired) -> Result<(), Failure> {
        self.write_in_order(desired, false).await
    }

    /// Writes the maps and the state file at a start, which does not fail because the state cannot be saved.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(crate) async fn begin(&mut self, desired: Desired) -> Result<(), Failure> {
        self.write_in_order(desired, true).await
    }

    /// Carries out a change in the one order in which a crash, a full disk or a refusal of the kernel costs nothing: the
    /// intent is flushed to disk, the maps are written, the intent is put in force, and flows are forgotten last.
    async fn write_in_order(&mut self, desired: Desired, starting: bool) -> Result<(), Failure> {
        self.may_become(&desired)?;
        self.look_at_own_addresses().await;
        let rips: BTreeSet<IpAddr> = desired.rips().collect();
        let next_hops = self.ask_for_next_hops(&rips).await;
        let ids = self.allocate(&desired)?;
        // 1. The intent, beside the state file that is in force.
        let old = std::mem::replace(&mut self.state.desired, desired);
        let prepared = match self.prepare().await {
            Ok(prepared) => Some(prepared),
            // A start goes on: what forwards must not depend on a disk.
            Err(failure) if starting => {
                self.not_saved(&failure);
                None
            }
            Err(failure) => {
                self.state.desired = old;
                return Err(failure);
            }
        };
        // 2. The maps. Flows of removed reals stay for now.
        let before = self.image.clone();
        let want = self.compile(&self.state.desired, &ids, &next_hops);
        let done = self.carry_out(&want).and_then(|removed| {
            // 3. The state file.
            match prepared.map(Prepared::commit) {
                None => Ok(removed),
                Some(Ok(())) => {
                    self.unsaved = None;
                    Ok(removed)
                }
                Some(Err(error)) if starting => {
                    self.not_saved(&not_written(&self.state_file, &error));
                    Ok(removed)
                }
                Some(Err(error)) => Err(not_written(&self.state_file, &error)),
            }
        });
        let removed = match done {
            Ok(removed) => removed,
            Err(failure) => {
                self.state.desired = old;
                // What was half done is undone; if even that fails, the next change or start repairs it.
                if let Err(again) = self.carry_out(&before) {
                    tracing::error!("the maps could not be put back: {}", again.message);
                }
                return Err(failure);
            }
        };
        self.retire_services();
        self.ids = ids;
        let moved = self.replaced_ids();
        self.next_hops = next_hops;
        // 4. What cannot be undone.
        self.forget(&removed, &moved);
        self.changed.send_replace(());
        Ok(())
    }

    /// Returns, for each real that was replaced by one with another method, its id and that of the one that takes its
    /// place.
    fn replaced_ids(&self) -> BTreeMap<u32, u32> {
        let mut replaced = BTreeMap::new();
        for (id, service) in &self.state.desired.services {
            for key in service.leaving.keys().filter(|key| service.is_replaced(key)) {
                let new = service.reals[&key.address].key(key.address);
                if let (Some(old), Some(new)) = (self.ids.real(id, key), self.ids.real(id, &new)) {
                    replaced.insert(old, new);
                }
            }
        }
        replaced
    }

    /// Forgets the flows of removed reals, and lets clients of replaced ones follow. What cannot be forgotten now, the
    /// next sweep forgets.
    pub(super) fn forget(&mut self, removed: &BTreeMap<u32, Real>, replaced: &BTreeMap<u32, u32>) {
        match forget(self.plane.tables(), removed, replaced) {
            Ok(0) => {}
            Ok(flows) => {
                self.evictions.forget();
                tracing::info!(flows, "flows of removed reals were forgotten");
            }
            Err(error) => tracing::error!(error = chain(&error), "flows of removed reals were not forgotten"),
        }
        if !removed.is_empty() && self.unsaved.is_none() {
            // What they counted is in the state now. It is worth no failed change.
            if let Err(failure) = self.save_as_is() {
                self.not_saved(&failure);
            }
        }
    }

    /// Notes that the state is not on disk. It is tried again at each look at the network.
    fn not_saved(&mut self, failure: &Failure) {
        if self.unsaved.is_none() {
            tracing::error!(
                "{}; services go on, and changes are refused until it can be written",
                failure.message
            );
        }
        self.unsaved = Some(failure.message.clone());
    }

    /// Saves a state that could not be saved.
    pub(super) fn save_again(&mut self) {
        if self.unsaved.is_none() {
            return;
        }
        match self.save_as_is() {
            Ok(()) => tracing::info!(file = %self.state_file.display(), "the state is saved again"),
            Err(failure) => self.not_saved(&failure),
        }
    }

    /// What the maps are to hold for `desired`.
    pub(super) fn compile(
        &self,
        desired: &Desired,
        ids: &Ids,
        next_hops: &BTreeMap<IpAddr, Resolution>,
    ) -> Image {
        let mut image = Image::compile(desired, ids, next_hops);
        if self.section.vip_ping == VipPing::Serving {
            image.silence();
        }
        image.forbid_sources(&self.own);
        if self.section.source_check == SourceCheck::Loose {
            image.trust_reals();
        }
        image
    }

    /// Whether the director can do `desired`.
    pub(super) fn may_become(&mut self, desired: &Desired) -> Result<(), Failure> {
        validate::desired(desired, &self.limits)?;
        validate::dips(desired, &self.state.dips)?;
        self.may_leave_auto(desired)
    }

    /// What making `desired` all that the director does would change. Nothing is changed.
    ///
    /// # Errors
    /// Wrong input, or there is no room.
    pub fn plan(&mut self, mut desired: Desired) -> Result<Done, Failure> {
        change::carry_over(&self.state.desired, &mut desired);
        self.may_become(&desired)?;
        self.allocate(&desired)?;
        let changes = change::differences(&self.state.desired, &desired);
        Ok(Done { changes: changes.iter().map(Difference::planned).collect(), warnings: Vec::new() })
    }

    /// The ids and blocks for `desired`.
    pub(super) fn allocate(&self, desired: &Desired) -> Result<Ids, Failure> {
        self.ids.allocate(desired, self.limits.blocks()).map_err(|no_room: NoRoom| {
            Failure::failed(no_room.to_string()).hint(
                "blocks grow with max-services and max-reals: raise one of them in [director], `xvs detach`, start again",
            )
        })
    }

    /// Keeps what services counted that are gone, so that sums over all of them never go back.
    fn retire_services(&mut self) {
        let State { desired, retired, gone, .. } = &mut self.state;
        retired.retain(|id, totals| {
            let stays = desired.services.contains_key(id);
            if !stays {
                *gone.entry(Reason::Forwarded.as_str().to_owned()).or_default() +=
                    totals.packets_in + totals.packets_out;
            }
            stays
        });
    }

    /// Plans from what the maps hold to `want`, and does it. Returns the reals that are gone by that; their flows are not
    /// forgotten yet.
    pub(super) fn carry_out(&mut self, want: &Image) -> Result<BTreeMap<u32, Real>, Failure> {
        let steps = plan(&self.image, want);
        let timeouts = self.timeouts;
        let time = Time { tick: clock::tick(), timeouts: &timeouts };
        let outcome =
            apply(self.plane.tables(), &mut self.image, &steps, time).map_err(|e| maps_failed(&e))?;
        let services: HashMap<u32, ServiceId> = self.ids.services.iter().map(|(id, n)| (*n, *id)).collect();
        for (number, counters) in &outcome.retired {
            if let Some(id) = services.get(number) {
                self.state.retired.entry(*id).or_default().add(counters);
            }
        }
        for (reason, packets) in outcome.reasons {
            *self.state.gone.entry(reason.as_str().to_owned()).or_default() += packets;
        }
        Ok(outcome.removed)
    }

    /// Writes the state beside the state file.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn prepare(&mut self) -> Result<Prepared, Failure> {
        if let Some(vips) = &self.vips {
            self.state.vips.clone_from(vips.added());
        }
        // VIPs that are about to be added are saved before they are: a crash in between leaves none behind.
        let mut state = self.state.clone();
        if self.vips.is_some() {
            let here = self.netlink.addresses().await;
            let here =
                here.map(|here| here.iter().map(|address| address.net.addr()).collect::<BTreeSet<_>>());
            let is_new = |vip: &IpAddr| here.as_ref().is_ok_and(|here| !here.contains(vip));
            state.vips.extend(self.state.desired.vips().filter(is_new));
        }
        state.prepare(&self.state_file)
    }

    /// Forwarding has ended: takes VIPs off again that the daemon added, and lets neighbours age.
    pub async fn let_go(&mut self) {
        self.neighbours.release_all().await;
        let Some(vips) = &mut self.vips else { return };
        for event in vips.reconcile(&BTreeSet::new()).await {
            if let VipEvent::Failed(vip, error) = event {
                tracing::warn!(%vip, error = chain(&error), "VIP not removed");
            }
        }
        if let Err(error) = self.save_as_is() {
            tracing::warn!(error = chain(&error), "state not saved");
        }
    }

    /// Takes the programs off the interfaces.
    pub fn detach(&mut self) {
        for index in self.interfaces.keys() {
            self.plane.take_off(*index);
        }
    }

    /// Writes the state file as things are: the VIPs in it are exactly those that were added.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save_as_is(&mut self) -> Result<(), Failure> {
        if let Some(vips) = &self.vips {
            self.state.vips.clone_from(vips.added());
        }
        self.state.save(&self.state_file)?;
        self.unsaved = None;
        Ok(())
    }
}
