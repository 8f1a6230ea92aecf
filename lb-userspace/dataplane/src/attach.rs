// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attachment of the main program to interfaces, by links that are pinned and survive the daemon.

use std::{fs, io};

use aya::programs::{
    ProgramError, XdpMode,
    links::{FdLink, LinkError, PinnedLink},
    xdp::XdpLink,
};
use thiserror::Error;

use super::{DataPlane, PinDir, pins::PinError};
use lb_model::failure::{Failure, chain};
use lb_netlink::XdpPlace;

/// The place in the kernel where the program runs.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    PartialEq,
    clap::ValueEnum,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver if it can, else generic.
    #[default]
    Auto,
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the stack, with any driver, slower.
    Generic,
}

impl Mode {
    /// Returns the mode of a program that is attached there; `None` for other places.
    #[must_use]
    pub const fn of(place: XdpPlace) -> Option<Self> {
        match place {
            XdpPlace::Native => Some(Self::Native),
            XdpPlace::Generic => Some(Self::Generic),
            XdpPlace::Other => None,
        }
    }

    /// Returns the name in output and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Reason why the program cannot be attached.
#[derive(Debug, Error)]
pub enum AttachError {
    /// Another program is attached to the interface.
    #[error("another XDP program is attached to {interface}")]
    Busy {
        /// Interface.
        interface: String,
    },
    /// The driver has no native mode, or none with the settings of the interface.
    #[error("{interface} accepts no XDP program in native mode")]
    Native {
        /// Interface.
        interface: String,
        /// Error of the kernel.
        source: io::Error,
    },
    /// Any other error.
    #[error("cannot attach to {interface}")]
    Attach {
        /// Interface.
        interface: String,
        /// Error of the kernel.
        source: ProgramError,
    },
    /// The attachment cannot be pinned.
    #[error("cannot pin the attachment to {interface}: {why}")]
    Pin {
        /// Interface.
        interface: String,
        /// Cause.
        why: String,
    },
}

impl AttachError {
    /// Returns the remedy.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Busy { interface } => format!(
                "`ip link show {interface}` names it; detach it with `ip link set dev {interface} xdp off`, or with `xvs detach` if it belongs to an xvs with another pin directory"
            ),
            Self::Native { interface, .. } => format!(
                "use `--xdp-mode generic`, or look at the MTU and offloads of {interface} (`ip -d link show {interface}`, `ethtool -k {interface}`)"
            ),
            Self::Attach { .. } | Self::Pin { .. } => "the kernel's log (dmesg) may say more".to_owned(),
        }
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        Self::failed(chain(&error)).hint(error.hint())
    }
}

impl DataPlane {
    /// Attaches the main program to a device, or replaces the program in the pinned link of an earlier run, which
    /// loses no packet. Returns the mode that was requested from the kernel; an adopted link keeps its mode.
    ///
    /// # Errors
    /// [`AttachError`]; then the device is unchanged.
    pub fn attach(&mut self, interface: &str, ifindex: u32, mode: Mode) -> Result<Mode, AttachError> {
        let pins = self.pins.clone();
        if self.guards {
            self.watch(interface, ifindex);
        }
        if let Some(pins) = &pins
            && self.adopt_link(interface, ifindex, pins)?
        {
            return Ok(Mode::Auto);
        }
        let chosen = match mode {
            Mode::Native => self.attach_new(interface, ifindex, Mode::Native, pins.as_ref()),
            Mode::Generic => self.attach_new(interface, ifindex, Mode::Generic, pins.as_ref()),
            Mode::Auto => match self.attach_new(interface, ifindex, Mode::Native, pins.as_ref()) {
                Err(AttachError::Native { source, .. }) => {
                    tracing::info!(interface, %source, "no native XDP here, using generic mode");
                    self.attach_new(interface, ifindex, Mode::Generic, pins.as_ref())
                }
                other => other,
            },
        }?;
        Ok(chosen)
    }

    /// Attaches the main program in another mode. The kernel permits only one mode per device at a time, so
    /// that the device has no program for a moment: the guard drops packets that arrive meanwhile. Tables and
    /// flows stay.
    ///
    /// # Errors
    /// [`AttachError`]; then the program is back in the mode `before`, if it had one and the kernel permits it.
    pub fn change_mode(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: Mode,
        before: Option<Mode>,
    ) -> Result<Mode, AttachError> {
        self.watch(interface, ifindex);
        self.take_off(ifindex);
        self.attach(interface, ifindex, mode).inspect_err(|_| {
            if let Some(before) = before
                && let Err(error) = self.attach(interface, ifindex, before)
            {
                tracing::error!(interface, error = chain(&error), "the program is not attached any more");
            }
        })
    }

    /// Detaches from a device, if the program is attached there.
    pub fn take_off(&mut self, ifindex: u32) {
        let Some(path) = self.pins.as_ref().map(|pins| pins.link(ifindex)) else { return };
        // Closing the last handle detaches at once; removing a pin does so later.
        let handles = (PinnedLink::from_pin(&path).ok(), self.links.remove(&ifindex));
        drop(fs::remove_file(&path));
        drop(handles);
    }

    /// Pins the link of a device again, if its pin was removed. Returns whether there was nothing to do.
    ///
    /// # Errors
    /// [`AttachError::Pin`] if it cannot be pinned.
    pub fn pin_again(&mut self, interface: &str, ifindex: u32) -> Result<bool, AttachError> {
        let Some(path) = self.pins.as_ref().map(|pins| pins.link(ifindex)) else { return Ok(true) };
        if path.exists() {
            return Ok(true);
        }
        let Some(link) = self.links.remove(&ifindex) else { return Ok(true) };
        let pin_error = |why: String| AttachError::Pin { interface: interface.to_owned(), why };
        let pinned = FdLink::from(link).pin(&path).map_err(|e| pin_error(chain(&e)))?;
        self.links.insert(ifindex, pinned);
        Ok(false)
    }

    /// Puts this program into the pinned link. Returns whether a live link existed.
    fn adopt_link(&mut self, interface: &str, ifindex: u32, pins: &PinDir) -> Result<bool, AttachError> {
        let path = pins.link(ifindex);
        if !path.exists() {
            return Ok(false);
        }
        let pin_error = |why: String| AttachError::Pin { interface: interface.to_owned(), why };
        let pinned = PinnedLink::from_pin(&path).map_err(|e: LinkError| pin_error(chain(&e)))?;
        let link: XdpLink = FdLink::from(pinned).try_into().map_err(|e: LinkError| pin_error(chain(&e)))?;
        match self.attached().attach_to_link(link) {
            Ok(id) => {
                // The pin keeps the link alive when the daemon ends.
                drop(self.attached().take_link(id).map_err(|e| pin_error(chain(&e)))?);
                let handle = PinnedLink::from_pin(&path).map_err(|e| pin_error(chain(&e)))?;
                self.links.insert(ifindex, handle);
                Ok(true)
            }
            Err(error) => {
                // A deleted device leaves a dead link behind.
                tracing::info!(interface, error = chain(&error), "the pinned link is dead, attaching again");
                fs::remove_file(&path).map_err(|e| pin_error(chain(&e)))?;
                Ok(false)
            }
        }
    }

    fn attach_new(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: Mode,
        pins: Option<&PinDir>,
    ) -> Result<Mode, AttachError> {
        let flags = if mode == Mode::Generic { XdpMode::Skb } else { XdpMode::Driver };
        let name = || interface.to_owned();
        let id = self.attached().attach_to_if_index(ifindex, flags).map_err(|source| match source {
            ProgramError::SyscallError(e) if e.io_error.raw_os_error() == Some(libc::EBUSY) => {
                AttachError::Busy { interface: name() }
            }
            ProgramError::SyscallError(e) if mode == Mode::Native => {
                AttachError::Native { interface: name(), source: e.io_error }
            }
            ProgramError::XdpError(e) if mode == Mode::Native => {
                AttachError::Native { interface: name(), source: io::Error::other(e) }
            }
            source => AttachError::Attach { interface: name(), source },
        })?;
        let Some(pins) = pins else { return Ok(mode) };
        let pin_error = |why: String| AttachError::Pin { interface: interface.to_owned(), why };
        let link = self.attached().take_link(id).map_err(|e| pin_error(chain(&e)))?;
        let link: FdLink = link.try_into().map_err(|e: LinkError| pin_error(chain(&e)))?;
        let pinned = link.pin(pins.link(ifindex)).map_err(|e| pin_error(chain(&e)))?;
        self.links.insert(ifindex, pinned);
        Ok(mode)
    }

    /// Pins the main program under its name, and replaces an older one.
    ///
    /// # Errors
    /// [`PinError::Io`] if it cannot be pinned.
    pub fn pin_program(&mut self) -> Result<(), PinError> {
        let Some(pins) = self.pins.clone() else { return Ok(()) };
        let path = pins.program("director");
        let io = |source| PinError::Io { path: path.clone(), source };
        let fresh = pins.program("director_new");
        if fresh.exists() {
            fs::remove_file(&fresh).map_err(io)?;
        }
        self.director().pin(&fresh).map_err(|e| io(io::Error::other(e)))?;
        fs::rename(&fresh, &path).map_err(io)
    }
}
