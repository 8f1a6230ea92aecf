// SPDX-License-Identifier: MIT OR Apache-2.0
//! XDP decapsulator, for real servers whose kernel lacks the tunnel device: attached by a pinned link, which
//! survives the command.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapError},
    programs::{ProgramError, Xdp, XdpMode, links::FdLink},
};
use lb_common::{
    schema::{MapName, TunnelEnd},
    wire::Be128,
};
use nix::{ifaddrs::getifaddrs, net::if_::if_nametoindex, sys::socket::SockaddrStorage};

use super::{
    kernel,
    limits::{self, Limits},
    load::{self, LoadError},
    object::objects,
    pins,
};
use lb_model::failure::{Failure, chain};

/// Reason why the decapsulator cannot be attached or detached.
#[derive(Debug, thiserror::Error)]
#[error("the XDP decapsulator on {interface}: {reason}")]
pub struct DecapError {
    /// Name of the interface.
    pub interface: String,
    /// Cause.
    pub reason: String,
    /// Remedy.
    pub hint: Option<String>,
}

impl From<DecapError> for Failure {
    fn from(error: DecapError) -> Self {
        let failure = Self::failed(chain(&error));
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Accepted tunnels.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ends {
    /// Destination addresses: those of this host.
    pub here: BTreeSet<IpAddr>,
    /// Source addresses; empty for any.
    pub directors: BTreeSet<IpAddr>,
}

impl Ends {
    /// Returns the tunnels to the present addresses of this host.
    ///
    /// # Errors
    /// If the addresses cannot be read.
    pub fn here(directors: &BTreeSet<IpAddr>) -> io::Result<Self> {
        let here = addresses()?.into_iter().map(|(_, ip)| ip).collect();
        Ok(Self { here, directors: directors.clone() })
    }

    fn entries(&self) -> BTreeMap<Be128, u32> {
        let mut entries = BTreeMap::new();
        for (addresses, end) in [(&self.here, TunnelEnd::HERE), (&self.directors, TunnelEnd::DIRECTOR)] {
            for address in addresses {
                *entries.entry(Be128::from(*address)).or_default() |= end;
            }
        }
        if self.directors.is_empty() {
            entries.insert(Be128::ZERO, TunnelEnd::DIRECTOR);
        }
        entries
    }
}

/// Returns every address of this host, with the name of its interface.
fn addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let ip = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(getifaddrs()?.filter_map(|entry| Some((entry.interface_name, ip(entry.address?)?))).collect())
}

/// Updates the map to `ends`: new entries come first, so that no packet of a remaining tunnel is refused.
fn admit(map: Map, ends: &Ends) -> Result<(), MapError> {
    let mut map: HashMap<_, Be128, TunnelEnd> = map.try_into()?;
    let wanted = ends.entries();
    for (address, end) in &wanted {
        map.insert(address, TunnelEnd(*end), 0)?;
    }
    let known: Vec<Be128> = map.keys().collect::<Result<_, _>>()?;
    known.iter().filter(|address| !wanted.contains_key(address)).try_for_each(|address| map.remove(address))
}

/// The decapsulator, loaded but not attached.
pub struct Decap {
    ebpf: Ebpf,
}

impl Decap {
    /// Loads the program.
    ///
    /// # Errors
    /// [`LoadError`] if the kernel refuses it.
    pub fn load() -> Result<Self, LoadError> {
        kernel::require_kernel()?;
        // The object also contains the director's maps. They are unused here, and so made as small as possible.
        let mut loader = EbpfLoader::new();
        for (name, size) in
            limits::sizes(&Limits { services: 1, reals: 1, flows: 1, flows6: 1, flow_places: None })
        {
            loader.map_max_entries(name.as_str(), size.min(64));
        }
        loader.override_global("AYA_LOG_LEVEL", &0u8, true);
        let mut ebpf = loader.load(objects().programs)?;
        load::load_program(&mut ebpf, "decap")?;
        Ok(Self { ebpf })
    }

    /// Accepts only these tunnels.
    ///
    /// # Errors
    /// If the map cannot be written.
    ///
    /// # Panics
    /// If the object lacks the map: then it is not the object of this build.
    pub fn admit(&mut self, ends: &Ends) -> Result<(), MapError> {
        let fd = self.ends().fd().as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
        admit(Map::from_map_data(MapData::from_fd(fd)?)?, ends)
    }

    /// Pins the map of the tunnels, and replaces that of an earlier program.
    fn pin_ends(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.ends().pin(path).map_err(io::Error::other)
    }

    fn ends(&self) -> &MapData {
        match self.ebpf.map(MapName::TunnelEnds.as_str()) {
            Some(Map::HashMap(data)) => data,
            _ => panic!("the object holds the map, a hash table"),
        }
    }

    /// Returns the program.
    pub fn program(&mut self) -> &mut Xdp {
        load::program(&mut self.ebpf, "decap")
    }
}

/// Creates the directories for pins, and mounts a bpffs if there is none.
///
/// # Errors
/// [`PinError`](pins::PinError) if the system refuses.
pub fn prepare(bpffs: &Path) -> Result<(), pins::PinError> {
    pins::prepare_dir(bpffs)?;
    pins::prepare_dir(&bpffs.join("host"))
}

/// Attaches the decapsulator to `interface` and pins its link as `<bpffs>/host/<ifindex>`. Uses native mode
/// if the driver supports it, otherwise generic mode. The decapsulator accepts tunnels to the present
/// addresses of this host, from `directors`, or from any address if `directors` is empty. If it is attached
/// already, its addresses are updated. Returns whether it was not attached before.
///
/// # Errors
/// [`DecapError`]; then the interface is unchanged.
pub fn attach(interface: &str, bpffs: &Path, directors: &BTreeSet<IpAddr>) -> Result<bool, DecapError> {
    let failed = |reason: &dyn std::fmt::Display| error(interface, reason);
    let path = pin(interface, bpffs)?;
    let ends = Ends::here(directors).map_err(|e| failed(&e))?;
    if path.exists() {
        let pinned = MapData::from_pin(ends_pin(&path)).and_then(Map::from_map_data);
        return pinned.and_then(|map| admit(map, &ends)).map(|()| false).map_err(|e| failed(&e));
    }
    prepare(bpffs).map_err(|e| failed(&e))?;
    let mut decap =
        Decap::load().map_err(|e| DecapError { hint: Some(e.hint().to_owned()), ..failed(&e) })?;
    decap.admit(&ends).map_err(|e| failed(&e))?;
    decap.pin_ends(&ends_pin(&path)).map_err(|e| failed(&e))?;
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

/// Detaches the decapsulator that [`attach`] attached, and removes the pin. Returns whether it was attached.
///
/// # Errors
/// [`DecapError`] if the pin cannot be removed.
pub fn detach(interface: &str, bpffs: &Path) -> Result<bool, DecapError> {
    if if_nametoindex(interface).is_err() {
        return Ok(false);
    }
    let path = pin(interface, bpffs)?;
    drop(fs::remove_file(ends_pin(&path)));
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(error(interface, &e)),
    }
}

/// Returns whether the pinned link of `interface` exists, and accepts the tunnels that [`attach`] would
/// configure now. An interface that was deleted and created again has another index, and so no link.
///
/// # Errors
/// [`DecapError`] if the interface does not exist.
pub fn is_attached(interface: &str, bpffs: &Path, directors: &BTreeSet<IpAddr>) -> Result<bool, DecapError> {
    let path = pin(interface, bpffs)?;
    if !path.exists() {
        return Ok(false);
    }
    let pinned = MapData::from_pin(ends_pin(&path)).and_then(Map::from_map_data);
    let Ok(Ok(map)) = pinned.map(HashMap::<_, Be128, TunnelEnd>::try_from) else { return Ok(false) };
    // VIPs are added to `lo` later, and are not tunnel endpoints.
    let here = addresses().map_err(|e| error(interface, &e))?.into_iter();
    let here = here.filter(|(name, _)| name != "lo").map(|(_, ip)| ip).collect();
    let needed = Ends { here, directors: directors.clone() }.entries();
    let known: BTreeMap<Be128, u32> = map.iter().flatten().map(|(address, end)| (address, end.0)).collect();
    let directors = |entries: &BTreeMap<Be128, u32>| -> BTreeSet<Be128> {
        let from = entries.iter().filter(|(_, end)| *end & TunnelEnd::DIRECTOR != 0);
        from.map(|(address, _)| *address).collect()
    };
    let covers =
        needed.iter().all(|(address, end)| known.get(address).is_some_and(|known| known & end == *end));
    Ok(covers && directors(&known) == directors(&needed))
}

/// Returns whether the interface exists and has a pinned link, as far as this process may see the pins.
#[must_use]
pub fn is_pinned(interface: &str, bpffs: &Path) -> bool {
    pin(interface, bpffs).is_ok_and(|path| path.try_exists().unwrap_or(true))
}

/// Returns the pin of the tunnel map that belongs to the link pinned at `link`.
fn ends_pin(link: &Path) -> PathBuf {
    let mut name = link.file_name().unwrap_or_default().to_owned();
    name.push("_ends");
    link.with_file_name(name)
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
