// SPDX-License-Identifier: MIT OR Apache-2.0
//! The XDP decapsulator of a real server without a tunnel device of its kernel: attached by a pinned link, so that it outlives us.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, Xdp, XdpMode, links::FdLink},
};
use nix::net::if_::if_nametoindex;

use super::{
    OBJECT,
    limits::{self, Limits},
    load::{self, LoadError},
    pins,
};
use crate::failure::Failure;

/// Why the decapsulator is not attached, or not detached.
#[derive(Debug, thiserror::Error)]
#[error("the XDP decapsulator on {interface}: {reason}")]
pub struct DecapError {
    /// The interface's name.
    pub interface: String,
    /// What went wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<DecapError> for Failure {
    fn from(error: DecapError) -> Self {
        let failure = Self::failed(error.to_string());
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// The decapsulator, loaded but not attached.
pub struct Decap {
    ebpf: Ebpf,
}

impl Decap {
    /// Loads the program.
    ///
    /// # Errors
    /// [`LoadError`] if the kernel does not take it.
    pub fn load() -> Result<Self, LoadError> {
        load::require_kernel()?;
        // The maps of the director come with the object: as small as can be, since nobody uses them here.
        let mut loader = EbpfLoader::new();
        for (name, size) in limits::sizes(&Limits { services: 1, reals: 1, flows: 1, flows6: 1 }) {
            loader.map_max_entries(name, size.min(64));
        }
        loader.override_global("AYA_LOG_LEVEL", &0u8, true);
        let mut ebpf = loader.load(OBJECT)?;
        load::load_program(&mut ebpf, "decap")?;
        Ok(Self { ebpf })
    }

    /// The program.
    pub fn program(&mut self) -> &mut Xdp {
        load::program(&mut self.ebpf, "decap")
    }
}

/// Makes the directories for pins, and mounts a bpffs if there is none.
///
/// # Errors
/// [`PinError`](pins::PinError) if the system refuses.
pub fn prepare(bpffs: &Path) -> Result<(), pins::PinError> {
    pins::prepare_dir(bpffs)?;
    pins::prepare_dir(&bpffs.join("host"))
}

/// Attaches the decapsulator to `interface` and pins its link as `<bpffs>/host/<ifindex>`; true if it was not there
/// before. Native mode where the driver has it, else generic.
///
/// # Errors
/// [`DecapError`]; the interface then is as it was.
pub fn attach(interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
    let failed = |reason: &dyn std::fmt::Display| error(interface, reason);
    if is_attached(interface, bpffs)? {
        return Ok(false);
    }
    let path = pin(interface, bpffs)?;
    prepare(bpffs).map_err(|e| failed(&e))?;
    let mut decap =
        Decap::load().map_err(|e| DecapError { hint: Some(e.hint().to_owned()), ..failed(&e) })?;
    let link = attach_somehow(decap.program(), interface).map_err(|source| {
        let busy = matches!(&source, ProgramError::SyscallError(e) if e.io_error.raw_os_error() == Some(libc::EBUSY));
        let hint = busy.then(|| {
            format!("another XDP program is attached; see `ip link show {interface}`, and `ip link set dev {interface} xdp off`")
        });
        DecapError { hint, ..failed(&source) }
    })?;
    link.pin(&path).map_err(|e| failed(&e))?;
    Ok(true)
}

/// Detaches the decapsulator that [`attach`] attached and removes the pin; true if it was there.
///
/// # Errors
/// [`DecapError`] if the pin cannot be removed.
pub fn detach(interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
    if if_nametoindex(interface).is_err() {
        return Ok(false);
    }
    match fs::remove_file(pin(interface, bpffs)?) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(error(interface, &e)),
    }
}

/// Whether the pinned link of `interface` is there. An interface that was made anew has another index and has lost
/// it.
///
/// # Errors
/// [`DecapError`] if there is no such interface.
pub fn is_attached(interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
    Ok(pin(interface, bpffs)?.exists())
}

fn attach_somehow(program: &mut Xdp, interface: &str) -> Result<FdLink, ProgramError> {
    let id = match program.attach(interface, XdpMode::Driver) {
        Err(ProgramError::SyscallError(e)) if e.io_error.raw_os_error() != Some(libc::EBUSY) => {
            program.attach(interface, XdpMode::Skb)?
        }
        other => other?,
    };
    program.take_link(id)?.try_into().map_err(|e| ProgramError::IOError(io::Error::other(e)))
}

fn pin(interface: &str, bpffs: &Path) -> Result<PathBuf, DecapError> {
    let index = if_nametoindex(interface).map_err(|e| error(interface, &e))?;
    Ok(bpffs.join("host").join(index.to_string()))
}

fn error(interface: &str, reason: &dyn std::fmt::Display) -> DecapError {
    DecapError { interface: interface.to_owned(), reason: reason.to_string(), hint: None }
}
