// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading of the object into maps and programs. Nothing is attached yet.

use std::{
    collections::HashMap,
    io,
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, ProgramFd, Xdp, links::PinnedLink},
    util::nr_cpus,
};
use aya_obj::Object;
use lb_common::schema::{MapName, Mode, Program, SCHEMA_VERSION, Settings, Timeouts};
use lb_model::failure::{Failure, chain};
use thiserror::Error;

use super::{
    Limits, PinDir, RunError, Tables, clock,
    kernel::require_kernel,
    limits::sizes,
    object::objects,
    pins::{self, PinError, Shape},
    sampler::Sampler,
    shortage,
    tables::TableError,
};

/// Log map of `aya-log`: each load has its own, so that messages of an old program are not taken for those of
/// a new one.
const LOG_MAP: &str = "AYA_LOGS";

/// Program that reads the programs' clock.
const CLOCK: &str = "clock";

/// Options of a load.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Directory for pins; `None` leaves everything to this process, for tests.
    pub pins: Option<PinDir>,
    /// Sizes of the tables.
    pub limits: Limits,
    /// Frozen settings; `None` for the defaults.
    pub settings: Option<Settings>,
    /// Timeouts of idle flows; `None` for the defaults.
    pub timeouts: Option<Timeouts>,
    /// Keeps the programs' log messages, which the verifier otherwise removes as dead code.
    pub log: bool,
    /// Loads programs beside those in force, over the same pinned maps.
    pub beside: Option<Beside>,
}

/// Programs that will replace those in force, while a daemon changes the maps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beside {
    /// With all maps of those in force.
    SameMaps,
    /// With a new flow table, which will replace the pinned one, see [`Tables::replace_flows`]. The other maps are those of
    /// the programs in force.
    NewFlowTable,
}

/// The loaded data plane with open maps.
pub struct DataPlane {
    pub(super) ebpf: Ebpf,
    pub(super) pins: Option<PinDir>,
    /// Handles of the pinned links, by device: they keep a link alive if its pin is removed.
    pub(super) links: HashMap<u32, PinnedLink>,
    tables: Tables,
    adopted: bool,
    /// Whether the guard is attached together with the program: its maps have the services.
    pub(super) guards: bool,
    /// The tracing build of the programs, which is attached instead while it exists.
    pub(super) sampler: Option<Sampler>,
}

/// Reason why the data plane cannot be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The process may not use BPF.
    #[error("not allowed to load BPF programs: {0}")]
    Privileges(String),
    /// The kernel lacks a feature.
    #[error("this kernel has no {0}")]
    Kernel(&'static str),
    /// The kernel lacks a helper of the tracing build.
    #[error("this kernel has no helper that copies packets")]
    Traces,
    /// The pinned maps cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// aya could not load the object.
    #[error("cannot load the eBPF object")]
    Object(#[from] EbpfError),
    /// The kernel refused a program.
    #[error("the kernel refused the program {name}")]
    Program {
        /// Name of the program.
        name: &'static str,
        /// Error of the kernel.
        source: ProgramError,
    },
    /// A map cannot be opened.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The programs' clock cannot be read.
    #[error("cannot read the programs' clock")]
    Clock(#[from] RunError),
}

impl LoadError {
    /// Returns the remedy.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Privileges(_) => "run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON",
            Self::Kernel(_) => {
                "xvs needs Linux 5.17 or newer with CONFIG_BPF_SYSCALL; docs/limits.md lists the tested kernels"
            }
            Self::Traces => {
                "`xvs trace` needs Linux 5.18 or newer; `xvs explain` shows what happens to a packet"
            }
            Self::Pins(PinError::Schema { .. } | PinError::Shape { .. }) => {
                "remove the old data plane with `xvs detach --keep-guard` (forwarding stops, and no connection is reset), then start again; the state file keeps the services"
            }
            Self::Pins(PinError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                "the daemon must own the pins: `ls -ld` shows the owner of the directory, and `xvs detach` as root removes pins"
            }
            Self::Pins(_) => "is a bpffs mounted there? `mount -t bpf bpf /sys/fs/bpf`",
            Self::Object(_) | Self::Program { .. } | Self::Table(_) | Self::Clock(_) => {
                "run with -v to see the kernel's message"
            }
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let hint = shortage::hint(&error).unwrap_or_else(|| error.hint().to_owned());
        Self::failed(chain(&error)).hint(hint)
    }
}

impl DataPlane {
    /// Loads the programs, and adopts pinned maps of the same schema and shape.
    ///
    /// # Errors
    /// [`LoadError`]; then nothing that was attached before is changed.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        require_kernel()?;
        let adopted = match &options.pins {
            // The daemon has made or adopted them.
            Some(_) if options.beside.is_some() => true,
            Some(pins) => pins.check(&shapes(&sizes(&options.limits))?)?,
            None => false,
        };
        let mut ebpf = load_object(options, Mode::FORWARD, |_| true)?;
        load_programs(&mut ebpf)?;
        load_program(&mut ebpf, CLOCK)?;
        clock::set(program(&mut ebpf, CLOCK))?;
        let mut tables = Tables::open(&mut ebpf)?;
        if !adopted {
            tables.set_schema(SCHEMA_VERSION)?;
        }
        connect_programs(&mut ebpf, |number, fd| tables.put_program(number, fd))?;
        if options.beside.is_none() {
            // The last daemon may have crashed in the middle of a change.
            tables.settle()?;
            tables.put_timeouts(&options.timeouts.unwrap_or(Timeouts::DEFAULT))?;
        }
        let mut plane = Self {
            ebpf,
            pins: options.pins.clone(),
            links: HashMap::new(),
            tables,
            adopted,
            guards: adopted,
            sampler: None,
        };
        plane.load_guard().map_err(|source| LoadError::Program { name: "guard", source })?;
        Ok(plane)
    }

    /// Returns whether maps of an earlier run were adopted.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Returns the tables.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }

    /// Returns the loaded object, for its log messages.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Returns the main program.
    ///
    /// # Panics
    /// If the object lacks the program: then it is not the object of this build.
    pub fn director(&mut self) -> &mut Xdp {
        program(&mut self.ebpf, "director")
    }

    /// Returns every program of the director by name, first the one that is attached.
    ///
    /// # Panics
    /// If the object lacks a program: then it is not the object of this build.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, &Xdp)> {
        programs_of(&self.ebpf)
    }

    /// Returns the number of instructions of the main program that the verifier processed.
    pub fn verified_instructions(&mut self) -> Option<u32> {
        self.director().info().ok()?.verified_instruction_count()
    }
}

/// Loads the object with its maps and globals; maps for which `shared` returns true are the pinned ones.
pub(super) fn load_object(
    options: &Options,
    mode: Mode,
    shared: impl Fn(MapName) -> bool,
) -> Result<Ebpf, LoadError> {
    load_build(objects().programs, options, mode, shared)
}

/// Loads a build of the programs, as [`load_object`] does. Maps that only this build has belong to the load.
pub(super) fn load_build(
    build: &[u8],
    options: &Options,
    mode: Mode,
    shared: impl Fn(MapName) -> bool,
) -> Result<Ebpf, LoadError> {
    let sizes = sizes(&options.limits);
    let shapes = shapes(&sizes)?;
    let cpus = nr_cpus().map_err(|(file, error)| EbpfError::FileError { path: file.into(), error })?;
    let settings = Settings {
        mode,
        cpus: cpus as u64,
        jiffy: clock::jiffy(),
        service_mask: u64::from(options.limits.cached_services() - 1),
        source_mask: u64::from(options.limits.cached_sources() - 1),
        source_marks_mask: u64::from(options.limits.source_marks() - 2),
        ..options.settings.unwrap_or(Settings::DEFAULT)
    };
    let log_level: u8 = if options.log { 4 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader.override_global("SETTINGS", &settings, true);
    loader.override_global("AYA_LOG_LEVEL", &log_level, true);
    for (name, size) in &sizes {
        loader.map_max_entries(name.as_str(), *size);
    }
    if let Some(pins) = &options.pins {
        let is_new = |map| options.beside == Some(Beside::NewFlowTable) && pins::FLOW_MAPS.contains(&map);
        for map in shapes.iter().map(|shape| shape.map).filter(|map| shared(*map)) {
            loader.map_pin_path(map.as_str(), if is_new(map) { pins.new_map(map) } else { pins.map(map) });
        }
        // Flows move from a pinned table into its successor: every program must find them in either.
        let before = if is_new(MapName::Flows) { MapName::Flows } else { MapName::FlowsBefore };
        if shared(MapName::Flows) && pins.map(before).exists() {
            loader.map_pin_path(MapName::FlowsBefore.as_str(), pins.map(before));
        }
    }
    loader.load(build).map_err(refine)
}

/// Loads every program of the director, in parallel on all CPUs: verification takes most of a start.
pub(super) fn load_programs(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let names = Program::ALL.map(Program::as_str);
    let mut programs: Vec<(&'static str, &mut aya::programs::Program)> = ebpf
        .programs_mut()
        .filter_map(|(name, program)| Some((names.into_iter().find(|known| *known == name)?, program)))
        .collect();
    // The first program takes as long as all others together, so it must start first; the queue is popped
    // from its end.
    programs.sort_by_key(|(name, _)| names.iter().rev().position(|known| known == name));
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(programs.len());
    let queue = Mutex::new(programs);
    let work = || -> Result<(), LoadError> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((name, program)) = next else { return Ok(()) };
            let program: &mut Xdp =
                program.try_into().map_err(|source| LoadError::Program { name, source })?;
            program.load().map_err(|source| LoadError::Program { name, source })?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        // A panic of a thread continues here.
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Stores every program under its number for tail calls.
pub(super) fn connect_programs(
    ebpf: &mut Ebpf,
    mut put: impl FnMut(Program, &ProgramFd) -> Result<(), TableError>,
) -> Result<(), LoadError> {
    for number in Program::ALL {
        let name = number.as_str();
        let fd = program(ebpf, name).fd().map_err(|source| LoadError::Program { name, source })?;
        put(number, fd)?;
    }
    Ok(())
}

/// Returns every program of the director by name, first the one that is attached.
pub(super) fn programs_of(ebpf: &Ebpf) -> impl Iterator<Item = (&'static str, &Xdp)> {
    Program::ALL.map(Program::as_str).into_iter().map(|name| {
        let program = ebpf.program(name).expect("the object holds the program");
        (name, program.try_into().expect("the program is an XDP program"))
    })
}

/// Returns a program of the object.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program = ebpf.program_mut(name).expect("the object holds the program");
    program.try_into().expect("the program is an XDP program")
}

pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    program(ebpf, name).load().map_err(|source| LoadError::Program { name, source })
}

/// Converts an error of aya, with a better variant for missing privileges.
fn refine(error: EbpfError) -> LoadError {
    if let EbpfError::MapError(MapError::CreateError { io_error, .. }) = &error
        && io_error.raw_os_error() == Some(libc::EPERM)
    {
        return LoadError::Privileges(io_error.to_string());
    }
    LoadError::Object(error)
}

/// Returns the shapes of all maps that are pinned, from the object itself.
///
/// # Panics
/// If [`MapName`] lacks a map of the object: then it is not the object of this build.
fn shapes(sizes: &[(MapName, u32)]) -> Result<Vec<Shape>, LoadError> {
    let object = Object::parse(objects().programs).map_err(EbpfError::from)?;
    let shape = |(name, map): (&String, &aya_obj::Map)| {
        let known = MapName::from_name(name).expect("every map of the object has a name");
        let size = sizes.iter().find(|(sized, _)| *sized == known);
        Shape {
            map: known,
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: size.map_or(map.max_entries(), |(_, size)| *size),
        }
    };
    let is_pinned = |name: &str| !is_private(name) && name != MapName::FlowsBefore.as_str();
    Ok(object.maps.iter().filter(|(name, _)| is_pinned(name)).map(shape).collect())
}

/// Returns whether a map of the object belongs to one load of it, and is never pinned: globals and the log.
fn is_private(map: &str) -> bool {
    map.starts_with('.') || map == LOG_MAP
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aya::sys::SyscallError;
    use nix::libc;

    use super::*;

    #[test]
    fn every_map_of_the_object_has_a_name_and_every_name_a_map() {
        // Tests run from cargo's target folder, where `cargo xtask build-ebpf` puts the object.
        let exe = std::env::current_exe().unwrap();
        let path = exe.ancestors().map(|folder| folder.join("ebpf/xvs.bpf.o")).find(|path| path.exists());
        let object = Object::parse(&std::fs::read(path.expect("the object is built")).unwrap()).unwrap();
        let maps: BTreeSet<&str> =
            object.maps.keys().map(String::as_str).filter(|name| !is_private(name)).collect();
        let names: BTreeSet<&str> = MapName::ALL.iter().map(|map| map.as_str()).collect();
        assert_eq!(maps, names);
    }

    #[test]
    fn every_source_is_printed_once() {
        let refused = || io::Error::from_raw_os_error(libc::EBUSY);
        let attach =
            ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error: refused() });
        let text = chain(&LoadError::Program { name: "director", source: attach });
        assert_eq!(
            text,
            "the kernel refused the program director: `bpf_link_create` failed: Device or resource busy (os error 16)"
        );
        let load = ProgramError::LoadError {
            io_error: io::Error::from_raw_os_error(libc::EINVAL),
            verifier_log: aya_obj::VerifierLog::new("R1 is not a pointer".to_owned()),
        };
        let text = chain(&LoadError::Program { name: "director", source: load });
        assert_eq!(text.matches("Invalid argument").count(), 1, "{text}");
        assert_eq!(text.matches("R1 is not a pointer").count(), 1, "{text}");
    }
}
