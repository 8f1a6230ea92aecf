// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interfaces of the director: attached at the start, and again when one comes back.

use std::{collections::BTreeSet, fs};

use super::Director;
use crate::{failure::Failure, netlink::Interface};

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

    /// Attaches to interfaces that were deleted and have come back under their name.
    pub(super) async fn attach_again(&mut self) {
        for (old, name) in self.interfaces.clone() {
            let Ok(interface) = self.netlink.interface(&name).await else { continue };
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
