// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interfaces of the director: attached at the start, and again when one comes back.

use std::{collections::BTreeSet, fs};

use super::Director;
use crate::{
    api::types::{AttachOptions, Done},
    failure::Failure,
    netlink::{Interface, XdpPlace},
};

impl Director {
    /// Attaches to the interfaces, and lets go of those that are not asked for any more.
    ///
    /// # Errors
    /// If one refuses; what was attached before goes on, what this call attached is taken off.
    pub(super) fn attach(&mut self, interfaces: &[Interface]) -> Result<(), Failure> {
        let wanted: BTreeSet<u32> = interfaces.iter().map(|interface| interface.index).collect();
        let before: BTreeSet<u32> = self.pins.linked().into_iter().collect();
        for interface in interfaces {
            if let Err(failure) = self.attach_one(interface, before.contains(&interface.index)) {
                for index in wanted.difference(&before) {
                    drop(fs::remove_file(self.pins.link(*index)));
                }
                return Err(failure);
            }
        }
        for index in before.difference(&wanted) {
            tracing::info!(ifindex = index, "detached: not asked for any more");
            drop(fs::remove_file(self.pins.link(*index)));
        }
        self.plane.pin_program().map_err(|error| Failure::failed(error.to_string()))
    }

    fn attach_one(&mut self, interface: &Interface, adopted: bool) -> Result<(), Failure> {
        let Interface { name, index, .. } = interface;
        // Replies of nat leave by the device that the request came by.
        self.plane.tables().put_device(*index).map_err(|error| Failure::failed(error.to_string()))?;
        self.plane.attach(name, *index, self.mode)?;
        self.interfaces.insert(*index, name.clone());
        let instructions = self.plane.verified_instructions();
        tracing::info!(interface = name, adopted, instructions, "attached");
        Ok(())
    }

    /// Attaches to one of the interfaces once more, where `options` say, and is to run there from now on.
    ///
    /// # Errors
    /// Wrong input if it is not the director's; if the interface refuses, all is as it was.
    pub async fn attach_anew(&mut self, options: &AttachOptions) -> Result<Done, Failure> {
        let AttachOptions { interface: name, mode } = options;
        let Some(index) = self.interfaces.iter().find_map(|(index, mine)| (mine == name).then_some(*index))
        else {
            let mine: Vec<&str> = self.interfaces.values().map(String::as_str).collect();
            return Err(Failure::wrong_input(format!("{name} is not an interface of this director"))
                .hint(format!("it runs on {}; `xvs run -i {name}` starts it on others", mine.join(", "))));
        };
        let mode = mode.unwrap_or(self.mode);
        self.plane.attach_anew(name, index, mode)?;
        self.mode = mode;
        let place = self.netlink.interface_by_index(index).await.ok().and_then(|interface| interface.xdp);
        let line = format!("attached to {name} in {} mode", place.map_or("no", XdpPlace::as_str));
        tracing::info!("{line}");
        Ok(Done { changes: vec![line], warnings: Vec::new() })
    }

    /// Lets frames leave by the members of a bond or team. Packets that come in by one are said to come from it, not from the
    /// bond, and replies leave by where their client's packets come from.
    async fn allow_members(&mut self, of: &Interface) {
        if !matches!(of.kind.as_deref(), Some("bond" | "team")) {
            return;
        }
        for member in self.netlink.interfaces().await.unwrap_or_default() {
            if member.controller == Some(of.index)
                && let Err(error) = self.plane.tables().put_device(member.index)
            {
                tracing::warn!(member = member.name, of = of.name, %error, "nat replies may not leave by it");
            }
        }
    }

    /// Attaches to interfaces that were deleted and have come back under their name, and looks which members they have.
    pub(super) async fn attach_again(&mut self) {
        for (old, name) in self.interfaces.clone() {
            let Ok(interface) = self.netlink.interface(&name).await else { continue };
            self.allow_members(&interface).await;
            if interface.index == old {
                continue;
            }
            match self.attach_one(&interface, false) {
                Ok(()) => {
                    self.interfaces.remove(&old);
                    drop(fs::remove_file(self.pins.link(old)));
                }
                Err(failure) => tracing::error!(interface = name, "{}", failure.message),
            }
        }
    }
}
