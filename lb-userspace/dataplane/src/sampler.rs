// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tracing build of the programs, which takes samples of packets. It replaces the attached programs while a trace
//! runs, over the same maps.

use std::{io, time::Duration};

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, ProgramArray, RingBuf},
    programs::{
        ProgramError, Xdp,
        links::{FdLink, LinkError, PinnedLink},
        xdp::XdpLink,
    },
    util::KernelVersion,
};
use lb_common::schema::{MapName, Mode, Sample, SampleCounts, SampleFilter, SampleGate};
use thiserror::Error;

use super::{
    AttachError, DataPlane, Options,
    load::{LoadError, connect_programs, load_build, load_programs, program, programs_of},
    map_source::take,
    object::objects,
    tables::{TableError, failed},
};
use lb_model::failure::{Failure, chain};

const GATE: &str = "SAMPLE_GATE";
const FILTERS: &str = "SAMPLE_FILTERS";
const RATES: &str = "SAMPLE_RATES";
const COUNTS: &str = "SAMPLE_COUNTS";
const SAMPLES: &str = "SAMPLES";

/// The tracing build. The kernel frees it, with its maps, when it is dropped and no longer attached.
pub(super) struct Sampler {
    ebpf: Ebpf,
    /// Keeps the targets of tail calls alive.
    _programs: ProgramArray<MapData>,
}

impl Sampler {
    /// Loads the programs over the maps that are pinned in the directory of `options`.
    fn load(options: &Options) -> Result<(Self, SampleReader), LoadError> {
        if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(5, 18, 0)) {
            return Err(LoadError::Traces);
        }
        let mut ebpf = load_build(objects().tracing, options, Mode::FORWARD, |map| map != MapName::Programs)?;
        let mut programs: ProgramArray<MapData> = take(&mut ebpf, MapName::Programs)?;
        load_programs(&mut ebpf)?;
        connect_programs(&mut ebpf, |number, fd| {
            programs.set(number as u32, fd, 0).map_err(failed("write", MapName::Programs))
        })?;
        let reader = SampleReader {
            gate: take(&mut ebpf, GATE)?,
            filters: take(&mut ebpf, FILTERS)?,
            rates: take(&mut ebpf, RATES)?,
            counts: take(&mut ebpf, COUNTS)?,
            samples: take(&mut ebpf, SAMPLES)?,
        };
        Ok((Self { ebpf, _programs: programs }, reader))
    }

    /// Returns the main program.
    pub(super) fn director(&mut self) -> &mut Xdp {
        program(&mut self.ebpf, "director")
    }
}

/// Reason why no samples can be taken.
#[derive(Debug, Error)]
pub enum SampleError {
    /// The programs cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The programs cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

impl From<SampleError> for Failure {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::Load(error) => error.into(),
            SampleError::Attach(error) => error.into(),
        }
    }
}

impl DataPlane {
    /// Replaces the attached programs with their tracing build. The kernel replaces a program between two packets.
    ///
    /// # Errors
    /// [`SampleError`]; then the ordinary programs are attached.
    pub fn begin_samples(&mut self, options: &Options) -> Result<SampleReader, SampleError> {
        let (sampler, reader) = Sampler::load(options)?;
        self.sampler = Some(sampler);
        if let Err(error) = self.exchange() {
            self.end_samples();
            return Err(error.into());
        }
        Ok(reader)
    }

    /// Attaches the ordinary programs again.
    pub fn end_samples(&mut self) {
        // The tracing build must exist until its replacement is attached.
        let sampler = self.sampler.take();
        if sampler.is_some()
            && let Err(error) = self.exchange()
        {
            tracing::error!(error = chain(&error), "an interface still has the tracing programs");
        }
    }

    /// Returns whether the tracing build is attached.
    #[must_use]
    pub const fn takes_samples(&self) -> bool {
        self.sampler.is_some()
    }

    /// Returns every program of the tracing build by name, if it is attached.
    pub fn tracing_programs(&self) -> impl Iterator<Item = (&'static str, &Xdp)> {
        self.sampler.iter().flat_map(|sampler| programs_of(&sampler.ebpf))
    }

    /// Returns the main program of the build that is attached.
    pub fn attached(&mut self) -> &mut Xdp {
        match &mut self.sampler {
            Some(sampler) => sampler.director(),
            None => program(&mut self.ebpf, "director"),
        }
    }

    /// Returns the id of the program that is attached.
    #[must_use]
    pub fn attached_id(&mut self) -> Option<u32> {
        self.attached().info().ok().map(|info| info.id())
    }

    /// Puts the main program of the build that is to be attached into every pinned link.
    fn exchange(&mut self) -> Result<(), AttachError> {
        let Some(pins) = self.pins.clone() else { return Ok(()) };
        for ifindex in pins.linked() {
            let path = pins.link(ifindex);
            let interface = || format!("interface #{ifindex}");
            let failed = |why: String| AttachError::Pin { interface: interface(), why };
            let pinned = PinnedLink::from_pin(&path).map_err(|error| failed(chain(&error)))?;
            let link: XdpLink =
                FdLink::from(pinned).try_into().map_err(|error: LinkError| failed(chain(&error)))?;
            match self.attached().attach_to_link(link) {
                // The pin keeps the link alive.
                Ok(id) => drop(self.attached().take_link(id).map_err(|error| failed(chain(&error)))?),
                Err(ProgramError::SyscallError(error)) if is_of_deleted_device(&error.io_error) => {}
                Err(source) => return Err(AttachError::Attach { interface: interface(), source }),
            }
        }
        Ok(())
    }
}

/// Returns whether a link could not be updated because its device was deleted.
fn is_of_deleted_device(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOLINK)
}

/// A record of the buffer.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The packet and its verdict.
    pub sample: Sample,
    /// Beginning of the frame, as received.
    pub bytes: Vec<u8>,
}

impl Sampled {
    /// Returns a record from its bytes.
    fn of(record: &[u8]) -> Option<Self> {
        let (head, bytes) = record.split_at_checked(size_of::<Sample>())?;
        #[expect(unsafe_code, reason = "the kernel has written the structure as bytes")]
        // SAFETY: `Sample` is a `Pod`: every bit pattern is a value; the slice has its size, and need not be aligned.
        let sample = unsafe { head.as_ptr().cast::<Sample>().read_unaligned() };
        Some(Self { sample, bytes: bytes.get(..sample.captured as usize)?.to_owned() })
    }
}

/// The maps of the tracing build.
pub struct SampleReader {
    gate: Array<MapData, SampleGate>,
    filters: Array<MapData, SampleFilter>,
    rates: Array<MapData, u64>,
    counts: PerCpuArray<MapData, SampleCounts>,
    samples: RingBuf<MapData>,
}

impl SampleReader {
    /// Lets the programs copy that many bytes of each frame from now on, for `lease`. Without a later call, they then
    /// do little more than the ordinary ones.
    ///
    /// # Errors
    /// [`TableError`] if the map cannot be written.
    pub fn open(&mut self, snaplen: u32, lease: Duration) -> Result<(), TableError> {
        let until = monotonic().saturating_add(lease).as_nanos();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.gate.set(0, SampleGate { until, snaplen, reserved: 0 }, 0).map_err(failed("write", GATE))
    }

    /// Begins a trace.
    ///
    /// # Errors
    /// [`TableError`] if a map cannot be written.
    pub fn begin(&mut self, trace: u32, filter: &SampleFilter) -> Result<(), TableError> {
        self.end(trace)?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed("write", COUNTS)(error.into()))?;
        let zero = vec![SampleCounts::default(); cpus]
            .try_into()
            .map_err(|error: io::Error| failed("write", COUNTS)(error.into()))?;
        self.counts.set(trace, zero, 0).map_err(failed("write", COUNTS))?;
        self.rates.set(trace, 0, 0).map_err(failed("write", RATES))?;
        self.filter(trace, filter)
    }

    /// Changes the filter of a trace, and keeps its counts.
    ///
    /// # Errors
    /// [`TableError`] if the map cannot be written.
    pub fn filter(&mut self, trace: u32, filter: &SampleFilter) -> Result<(), TableError> {
        self.filters.set(trace, filter, 0).map_err(failed("write", FILTERS))
    }

    /// Ends a trace.
    ///
    /// # Errors
    /// [`TableError`] if the map cannot be written.
    pub fn end(&mut self, trace: u32) -> Result<(), TableError> {
        self.filter(trace, &SampleFilter::default())
    }

    /// Returns the packets of a trace, of all CPUs together.
    ///
    /// # Errors
    /// [`TableError`] if the map cannot be read.
    pub fn counts(&self, trace: u32) -> Result<SampleCounts, TableError> {
        let by_cpu = self.counts.get(&trace, 0).map_err(failed("read", COUNTS))?;
        Ok(by_cpu.iter().fold(SampleCounts::default(), |sum, counts| SampleCounts {
            selected: sum.selected + counts.selected,
            limited: sum.limited + counts.limited,
            lost: sum.lost + counts.lost,
        }))
    }

    /// Returns the next sample, if there is one.
    pub fn next_sample(&mut self) -> Option<Sampled> {
        loop {
            let record = self.samples.next()?;
            if let Some(sampled) = Sampled::of(&record) {
                return Some(sampled);
            }
        }
    }
}

/// Returns the time of `CLOCK_MONOTONIC`, by which samples are stamped.
#[must_use]
pub fn monotonic() -> Duration {
    nix::time::ClockId::CLOCK_MONOTONIC.now().map_or(Duration::ZERO, Duration::from)
}
