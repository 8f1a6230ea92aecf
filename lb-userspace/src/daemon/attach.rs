// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interfaces of the director: attaching at the start, and again when an interface reappears.

use std::{collections::BTreeSet, fs};

use super::Director;
use crate::api::types::{AttachOptions, Done};
use lb_dataplane::Mode;
use lb_model::failure::{Failure, chain};
use lb_netlink::{Interface, XdpPlace};

impl Director {
    /// Attaches to the interfaces, and detaches from those that are no longer configured.
    ///
    /// # Errors
    /// If an interface refuses. Earlier attachments stay; those of this call are removed.
    pub(crate) async fn attach(&mut self, interfaces: &[Interface]) -> Result<(), Failure> {
        let wanted: BTreeSet<u32> = interfaces.iter().map(|interface| interface.index).collect();
        let before: BTreeSet<u32> = self.pins.linked().into_iter().collect();
        for interface in interfaces {
            if let Err(failure) = self.attach_one(interface, before.contains(&interface.index)).await {
                for index in wanted.difference(&before) {
                    self.maps.plane().take_off(*index);
                    // With new maps, a guard is that of an earlier detach, and stays.
                    if self.maps.plane().guards() {
                        drop(fs::remove_file(self.pins.guard(*index)));
                    }
                }
                return Err(failure);
            }
        }
        for index in before.difference(&wanted) {
            tracing::info!(ifindex = index, "detached: not asked for any more");
            self.maps.plane().take_off(*index);
            drop(fs::remove_file(self.pins.guard(*index)));
        }
        // Losses from before this start are not counted.
        self.lost_sends().await;
        self.maps.plane().pin_program().map_err(|error| Failure::failed(chain(&error)))
    }

    /// Attaches the guard to every interface. To be called when the maps have the services.
    pub(crate) fn guard_interfaces(&mut self) {
        let interfaces: Vec<(String, u32)> =
            self.interfaces.iter().map(|(index, name)| (name.clone(), *index)).collect();
        self.maps.plane().guard_interfaces(interfaces.iter().map(|(name, index)| (name.as_str(), *index)));
    }

    async fn attach_one(&mut self, interface: &Interface, adopted: bool) -> Result<(), Failure> {
        let Interface { name, index, .. } = interface;
        // `nat` replies leave by the device by which the request arrived.
        self.maps.plane().tables().put_device(*index).map_err(|error| Failure::failed(chain(&error)))?;
        let mode = self.mode_for(interface).await;
        self.maps.plane().attach(name, *index, mode)?;
        self.interfaces.insert(*index, name.clone());
        let instructions = self.maps.plane().verified_instructions();
        tracing::info!(interface = name, adopted, instructions, "attached");
        self.warn_of_lost_sends(interface).await;
        Ok(())
    }

    /// Attaches to one of the interfaces again in the mode of `options`, which becomes the mode of the daemon.
    ///
    /// # Errors
    /// Wrong input if the interface is not the director's. If the interface refuses, nothing has changed.
    pub async fn attach_anew(&mut self, options: &AttachOptions) -> Result<Done, Failure> {
        let AttachOptions { interface: name, mode } = options;
        let Some(index) = self.interfaces.iter().find_map(|(index, mine)| (mine == name).then_some(*index))
        else {
            let mine: Vec<&str> = self.interfaces.values().map(String::as_str).collect();
            return Err(Failure::wrong_input(format!("{name} is not an interface of this director"))
                .hint(format!("it runs on {}; `xvs run -i {name}` starts it on others", mine.join(", "))));
        };
        let mode = mode.unwrap_or(self.mode);
        let place = self.xdp_place(index).await;
        let before = place.and_then(Mode::of);
        // If the mode stays the same, the kernel replaces the program in the link between two packets.
        if before.is_some_and(|before| mode == before || mode == Mode::Auto && before == Mode::Native) {
            self.maps.plane().attach(name, index, mode)?;
        } else {
            self.maps.plane().change_mode(name, index, mode, before)?;
        }
        self.mode = mode;
        let place =
            self.network.netlink().interface_by_index(index).await.ok().and_then(|interface| interface.xdp);
        let line = format!("attached to {name} in {} mode", place.map_or("no", XdpPlace::as_str));
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }

    /// Allows frames to leave by the members of a bond or team. XDP reports the member as the ingress
    /// interface of a packet, not the bond, and replies leave by the interface from which the client's
    /// packets come.
    async fn allow_members(&mut self, of: &Interface) {
        if !matches!(of.kind.as_deref(), Some("bond" | "team")) {
            return;
        }
        for member in self.network.netlink().interfaces().await.unwrap_or_default() {
            if member.controller != Some(of.index) {
                continue;
            }
            let tables = self.maps.plane().tables();
            let known =
                tables.put_device(member.index).and_then(|()| tables.put_controller(member.index, of.index));
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
    async fn xdp_place(&mut self, index: u32) -> Option<XdpPlace> {
        let mine = self.maps.plane().director().info().ok()?.id();
        let interface = self.network.netlink().interface_by_index(index).await.ok()?;
        interface.xdp.filter(|_| interface.xdp_program == Some(mine))
    }

    /// Attaches again where the program was detached, and pins links again whose pins were removed.
    async fn repair_link(&mut self, interface: &Interface) {
        let Interface { name, index, .. } = interface;
        match self.maps.plane().pin_again(name, *index) {
            Ok(true) => {}
            Ok(false) => {
                self.reattached += 1;
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
        self.maps.plane().take_off(*index);
        match self.attach_one(interface, false).await {
            Ok(()) => {
                self.reattached += 1;
                tracing::warn!(interface = name, "the program had been taken off; it is attached again");
            }
            Err(failure) => tracing::error!(interface = name, "{}", failure.message),
        }
    }

    /// Attaches to interfaces that were deleted and exist again under their name, or whose program was
    /// detached, and updates the members of bonds.
    pub(super) async fn attach_again(&mut self) {
        for (old, name) in self.interfaces.clone() {
            let Ok(interface) = self.network.netlink().interface(&name).await else { continue };
            self.allow_members(&interface).await;
            if interface.index == old {
                self.repair_link(&interface).await;
                continue;
            }
            match self.attach_one(&interface, false).await {
                // If two interfaces swapped their names, the other one has this index already.
                Ok(()) if self.interfaces.get(&old) != Some(&name) => {}
                Ok(()) => {
                    self.interfaces.remove(&old);
                    self.maps.plane().take_off(old);
                    drop(fs::remove_file(self.pins.guard(old)));
                }
                Err(failure) => tracing::error!(interface = name, "{}", failure.message),
            }
        }
    }
}
