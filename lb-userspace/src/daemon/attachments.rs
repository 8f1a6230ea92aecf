// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attachments of the programs to interfaces: at the start, and again when an interface reappears.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::lost_sends::{self, LostSends};
use crate::api::types::{AttachOptions, Done};
use lb_common::ids::IfIndex;
use lb_dataplane::{AttachError, DataPlane, Mode, PinDir};
use lb_model::failure::{Failure, chain};
use lb_netlink::{Interface, Netlink, XdpPlace};

/// Owner of the attachments of the programs to interfaces.
pub(super) struct Attachments {
    netlink: Netlink,
    pins: PinDir,
    mode: Mode,
    /// Interfaces that the program is attached to, by index.
    interfaces: BTreeMap<u32, String>,
    /// Number of times that a detached program was attached again.
    repairs: u64,
    /// Drivers' counters of packets that they failed to send.
    lost_sends: LostSends,
}

impl Attachments {
    pub(super) fn new(netlink: Netlink, pins: PinDir, mode: Mode) -> Self {
        Self {
            netlink,
            pins,
            mode,
            interfaces: BTreeMap::new(),
            repairs: 0,
            lost_sends: LostSends::default(),
        }
    }

    /// Returns the interfaces that the program is attached to, by index.
    pub(super) const fn interfaces(&self) -> &BTreeMap<u32, String> {
        &self.interfaces
    }

    /// Returns the XDP mode of the daemon.
    pub(super) const fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the number of times that a detached program was attached again.
    pub(super) const fn repairs(&self) -> u64 {
        self.repairs
    }

    /// Returns the recent number of packets that the program sent and the drivers of the director's
    /// interfaces dropped.
    pub(super) async fn lost_sends(&mut self) -> BTreeMap<u32, u64> {
        self.lost_sends.read(&self.interfaces).await
    }

    /// Attaches the programs of another data plane to every interface, in place of those in force.
    ///
    /// # Errors
    /// If an interface refuses.
    pub(super) fn attach_other(&self, plane: &mut DataPlane) -> Result<(), AttachError> {
        self.interfaces.iter().try_for_each(|(index, name)| plane.attach(name, *index, self.mode).map(drop))
    }

    /// Attaches the programs in force to every interface again, in place of those of another data plane.
    pub(super) fn attach_back(&self, plane: &mut DataPlane) {
        for (index, name) in &self.interfaces {
            if let Err(error) = plane.attach(name, *index, self.mode) {
                tracing::error!(
                    interface = name,
                    error = chain(&error),
                    "the program is not attached any more"
                );
            }
        }
    }

    /// Detaches the programs from the interfaces.
    pub(super) fn detach(&self, plane: &mut DataPlane) {
        for index in self.interfaces.keys() {
            plane.take_off(*index);
        }
    }

    /// Attaches to the interfaces, and detaches from those that are no longer configured.
    ///
    /// # Errors
    /// If an interface refuses. Earlier attachments stay; those of this call are removed.
    pub(super) async fn attach(
        &mut self,
        plane: &mut DataPlane,
        interfaces: &[Interface],
    ) -> Result<(), Failure> {
        let wanted: BTreeSet<u32> = interfaces.iter().map(|interface| interface.index).collect();
        let before: BTreeSet<u32> = self.pins.linked().into_iter().collect();
        for interface in interfaces {
            if let Err(failure) = self.attach_one(plane, interface, before.contains(&interface.index)).await {
                for index in wanted.difference(&before) {
                    plane.take_off(*index);
                    // With new maps, a guard is that of an earlier detach, and stays.
                    if plane.guards() {
                        drop(fs::remove_file(self.pins.guard(*index)));
                    }
                }
                return Err(failure);
            }
        }
        for index in before.difference(&wanted) {
            tracing::info!(ifindex = index, "detached: not asked for any more");
            plane.take_off(*index);
            drop(fs::remove_file(self.pins.guard(*index)));
        }
        // Losses from before this start are not counted.
        self.lost_sends().await;
        plane.pin_program().map_err(|error| Failure::failed(chain(&error)))
    }

    /// Attaches the guard to every interface. To be called when the maps have the services.
    pub(super) fn guard(&self, plane: &mut DataPlane) {
        let interfaces: Vec<(String, u32)> =
            self.interfaces.iter().map(|(index, name)| (name.clone(), *index)).collect();
        plane.guard_interfaces(interfaces.iter().map(|(name, index)| (name.as_str(), *index)));
    }

    async fn attach_one(
        &mut self,
        plane: &mut DataPlane,
        interface: &Interface,
        adopted: bool,
    ) -> Result<(), Failure> {
        let Interface { name, index, .. } = interface;
        // `nat` replies leave by the device by which the request arrived.
        plane.tables().put_device(IfIndex(*index)).map_err(|error| Failure::failed(chain(&error)))?;
        let mode = lost_sends::mode_for(&self.netlink, interface, self.mode).await;
        plane.attach(name, *index, mode)?;
        self.interfaces.insert(*index, name.clone());
        let instructions = plane.verified_instructions();
        tracing::info!(interface = name, adopted, instructions, "attached");
        lost_sends::warn_of_lost_sends(&self.netlink, interface).await;
        Ok(())
    }

    /// Attaches to one of the interfaces again in the mode of `options`, which becomes the mode of the daemon.
    ///
    /// # Errors
    /// Wrong input if the interface is not the director's. If the interface refuses, nothing has changed.
    pub(super) async fn reattach(
        &mut self,
        plane: &mut DataPlane,
        options: &AttachOptions,
    ) -> Result<Done, Failure> {
        let AttachOptions { interface: name, mode } = options;
        let Some(index) = self.interfaces.iter().find_map(|(index, mine)| (mine == name).then_some(*index))
        else {
            let mine: Vec<&str> = self.interfaces.values().map(String::as_str).collect();
            return Err(Failure::wrong_input(format!("{name} is not an interface of this director"))
                .hint(format!("it runs on {}; `xvs run -i {name}` starts it on others", mine.join(", "))));
        };
        let mode = mode.unwrap_or(self.mode);
        let before = self.own_xdp_place(plane, index).await.and_then(Mode::of);
        // If the mode stays the same, the kernel replaces the program in the link between two packets.
        if before.is_some_and(|before| mode == before || mode == Mode::Auto && before == Mode::Native) {
            plane.attach(name, index, mode)?;
        } else {
            plane.change_mode(name, index, mode, before)?;
        }
        self.mode = mode;
        let now = self.netlink.interface_by_index(index).await.ok().and_then(|interface| interface.xdp);
        let line = format!("attached to {name} in {} mode", now.map_or("no", XdpPlace::as_str));
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }

    /// Allows frames to leave by the members of a bond or team. XDP reports the member as the ingress
    /// interface of a packet, not the bond, and replies leave by the interface from which the client's
    /// packets come.
    async fn allow_members(&self, plane: &mut DataPlane, of: &Interface) {
        if !matches!(of.kind.as_deref(), Some("bond" | "team")) {
            return;
        }
        for member in self.netlink.interfaces().await.unwrap_or_default() {
            if member.controller != Some(of.index) {
                continue;
            }
            let (tables, port) = (plane.tables(), IfIndex(member.index));
            let known = tables.put_device(port).and_then(|()| tables.put_controller(port, IfIndex(of.index)));
            if let Err(error) = known {
                tracing::warn!(
                    member = member.name,
                    of = of.name,
                    error = chain(&error),
                    "nat replies may not leave by it"
                );
            }
        }
    }

    /// Returns the XDP mode in which this program runs on a device; `None` if it does not run there.
    async fn own_xdp_place(&self, plane: &mut DataPlane, index: u32) -> Option<XdpPlace> {
        let mine = plane.attached_id()?;
        let interface = self.netlink.interface_by_index(index).await.ok()?;
        interface.xdp.filter(|_| interface.xdp_program == Some(mine))
    }

    /// Attaches again where the program was detached, and pins links again whose pins were removed.
    async fn repair_link(&mut self, plane: &mut DataPlane, interface: &Interface) {
        let Interface { name, index, .. } = interface;
        match plane.pin_again(name, *index) {
            Ok(true) => {}
            Ok(false) => {
                self.repairs += 1;
                tracing::warn!(interface = name, "the pin of the link was removed; it is pinned again");
            }
            Err(error) => {
                tracing::error!(interface = name, error = chain(&error), "the link cannot be pinned again");
            }
        }
        // Another program is in the other place. Only its owner may detach it.
        if interface.xdp.is_some() {
            return;
        }
        plane.take_off(*index);
        match self.attach_one(plane, interface, false).await {
            Ok(()) => {
                self.repairs += 1;
                tracing::warn!(interface = name, "the program had been taken off; it is attached again");
            }
            Err(failure) => tracing::error!(interface = name, "{}", failure.message),
        }
    }

    /// Attaches to interfaces that were deleted and exist again under their name, or whose program was
    /// detached, and updates the members of bonds.
    pub(super) async fn attach_again(&mut self, plane: &mut DataPlane) {
        for (old, name) in self.interfaces.clone() {
            let Ok(interface) = self.netlink.interface(&name).await else { continue };
            self.allow_members(plane, &interface).await;
            if interface.index == old {
                self.repair_link(plane, &interface).await;
                continue;
            }
            match self.attach_one(plane, &interface, false).await {
                // If two interfaces swapped their names, the other one has this index already.
                Ok(()) if self.interfaces.get(&old) != Some(&name) => {}
                Ok(()) => {
                    self.interfaces.remove(&old);
                    plane.take_off(old);
                    drop(fs::remove_file(self.pins.guard(old)));
                }
                Err(failure) => tracing::error!(interface = name, "{}", failure.message),
            }
        }
    }
}
