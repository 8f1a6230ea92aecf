// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Samples of packets, for `xvs trace`, in the tracing build. In the ordinary build, `no_samples.rs` takes the place of
//! this file.

use super::{atomic::exchange, clock::coarse_nanoseconds, reals::real};
use crate::frame::{Frame, opaque};
use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::{bpf_ktime_get_ns, bpf_xdp_load_bytes},
    macros::btf_map,
};
use lb_common::{
    ids::{IfIndex, RealId, ServiceId},
    packet::Packet as _,
    reason::Reason,
    schema::{FlowKey, SAMPLE_BYTES, Sample, SampleCounts, SampleFilter, SampleGate, Step, TRACES},
    wire::Be16,
};

/// Whether, and how much of, frames are copied.
#[btf_map]
pub(super) static SAMPLE_GATE: Array<SampleGate, 1> = Array::new();

/// The packets that each trace selects.
#[btf_map]
pub(super) static SAMPLE_FILTERS: Array<SampleFilter, TRACES> = Array::new();

/// The state of each trace's rate limit, see [`SampleFilter::admit`].
#[btf_map]
pub(super) static SAMPLE_RATES: Array<u64, TRACES> = Array::new();

/// Packets of each trace, by CPU.
#[btf_map]
pub(super) static SAMPLE_COUNTS: PerCpuArray<SampleCounts, TRACES> = PerCpuArray::new();

/// The packet that a CPU processes.
#[btf_map]
pub(super) static SAMPLE: PerCpuArray<Record, 1> = PerCpuArray::new();

/// Samples on their way to the daemon.
#[btf_map]
pub(super) static SAMPLES: RingBuf<Sample, { 4 << 20 }> = RingBuf::new();

/// A sample with the bytes of the frame.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Record {
    sample: Sample,
    bytes: [u8; SAMPLE_BYTES],
}

/// Returns the record of this CPU, if the packet is sampled.
#[inline(always)]
fn record() -> Option<&'static mut Record> {
    let record = SAMPLE.get_ptr_mut(0)?;
    // SAFETY: this CPU's copy, checked for null; programs on one CPU do not interrupt each other. Each function here
    // drops its reference before it returns.
    let record = unsafe { &mut *record };
    (record.sample.captured != 0).then_some(record)
}

out_of_line! {
    /// Copies the beginning of a frame, as received, if a trace runs.
    fn begin [sample_begin](frame;;) -> () {
        let Some(record) = SAMPLE.get_ptr_mut(0) else { return };
        // SAFETY: as in `record`.
        let record = unsafe { &mut *record };
        record.sample = Sample::EMPTY;
        let Some(gate) = SAMPLE_GATE.get(0) else { return };
        if coarse_nanoseconds() >= gate.until {
            return;
        }
        let length = frame.len();
        let captured = within(if length < gate.snaplen as usize { length } else { gate.snaplen as usize });
        // SAFETY: the context is the one that the kernel gave; the bytes are in the record.
        let copied = unsafe {
            bpf_xdp_load_bytes(frame.ctx().ctx, 0, record.bytes.as_mut_ptr().cast(), captured as u32)
        };
        if copied == 0 {
            record.sample.length = length as u32;
            record.sample.ifindex = frame.ifindex();
            record.sample.captured = captured as u32;
        }
    }
}

/// Returns a number of bytes from 1 to the size of the record, in a form from which every verifier knows these bounds:
/// before Linux 6.8, it does not learn from a comparison that a number is not 0.
#[inline(always)]
fn within(bytes: usize) -> usize {
    let mut before = bytes.wrapping_sub(1);
    opaque(&mut before);
    (before & (SAMPLE_BYTES - 1)) + 1
}

/// Begins the sample of a frame that has just arrived. A frame whose tags were removed is in its sample already.
#[inline(always)]
pub fn begin_sample(frame: &Frame) {
    if super::vlan_state().lacks_tags == 0 {
        begin(frame);
    }
}

out_of_line! {
    /// Records the packet's 5-tuple, as received.
    pub fn sample_flow [sample_flow, sample_flow6](; key: &FlowKey<A>;) -> () {
        let Some(Record { sample, .. }) = record() else { return };
        sample.flow = FlowKey::new(
            key.source.wide(),
            key.destination.wide(),
            key.source_port,
            key.destination_port,
            key.protocol as u8,
        );
        sample.client = sample.flow.source;
        sample.client_port = sample.flow.source_port;
    }
}

out_of_line! {
    /// Records the client of a reply to the director's own address.
    pub fn sample_client [sample_client, sample_client6](; client: &A; port: Be16) -> () {
        let Some(Record { sample, .. }) = record() else { return };
        sample.flags |= CLIENT_KNOWN | Sample::REPLY;
        sample.client = client.wide();
        sample.client_port = port;
    }
}

/// Flag within a program: [`sample_client`] has recorded the client.
const CLIENT_KNOWN: u16 = 1 << 15;

out_of_line! {
    /// Records the real that was chosen for a packet.
    pub fn sample_real [sample_real](;; id: RealId) -> () {
        if let Some(Record { sample, .. }) = record() {
            sample.real = id;
        }
    }
}

/// Records what a step says about the verdict.
#[inline(always)]
pub(super) fn sample_step(step: Step, a: u32, b: u32) {
    if matches!(
        step,
        Step::Service | Step::Source | Step::Redirect | Step::CountIn | Step::CountOut | Step::Reason
    ) {
        record_step(step as u32, a, b);
    }
}

out_of_line! {
    fn record_step [sample_step](;; step: u32, a: u32, b: u32) -> () {
        const SERVICE: u32 = Step::Service as u32;
        const SOURCE: u32 = Step::Source as u32;
        const REDIRECT: u32 = Step::Redirect as u32;
        const COUNT_IN: u32 = Step::CountIn as u32;
        const COUNT_OUT: u32 = Step::CountOut as u32;
        const REASON: u32 = Step::Reason as u32;
        let Some(Record { sample, .. }) = record() else { return };
        match step {
            SERVICE => sample.service = ServiceId(a),
            SOURCE if a != 0 => {
                sample.flags |= Sample::REPLY;
                sample.service = ServiceId(a);
                sample.real = RealId(b);
            }
            REDIRECT => sample.egress = IfIndex(a),
            COUNT_IN => {
                sample.real = RealId(a);
                sample.reason = Reason::Forwarded.index();
            }
            COUNT_OUT => {
                sample.flags |= Sample::REPLY;
                sample.real = RealId(a);
                sample.reason = Reason::Forwarded.index();
            }
            REASON => {
                if a != 0 {
                    sample.service = ServiceId(a);
                }
                sample.reason = b;
            }
            _ => {}
        }
    }
}

/// Sends the sample to the daemon if a trace selects it. Returns `action`, the verdict.
#[inline(always)]
pub fn end_sample(action: u32) -> u32 {
    end(action);
    action
}

out_of_line! {
    fn end [sample_end](;; action: u32) -> () {
        let Some(record) = record() else { return };
        let sample = &mut record.sample;
        let captured = sample.captured;
        sample.captured = 0;
        if sample.reason == Reason::NotOurs.index() && action != xdp_action::XDP_PASS {
            // A reply to a health probe.
            return;
        }
        sample.action = action;
        if action == xdp_action::XDP_TX {
            sample.egress = sample.ifindex;
        }
        if let Some(real) = real(sample.real) {
            sample.real_address = real.address;
            sample.real_port = match (real.port, sample.is(Sample::REPLY)) {
                (Be16::ZERO, true) => sample.flow.source_port,
                (Be16::ZERO, false) => sample.flow.destination_port,
                (port, _) => port,
            };
            sample.method = real.method;
            sample.service = real.service;
        }
        if sample.flags & (Sample::REPLY | CLIENT_KNOWN) == Sample::REPLY {
            sample.client = sample.flow.destination;
            sample.client_port = sample.flow.destination_port;
        }
        sample.flags &= !CLIENT_KNOWN;
        // SAFETY: the helper takes no arguments and always exists.
        sample.time = unsafe { bpf_ktime_get_ns() };
        let mut snaplen = 0;
        let mut trace = 0;
        while trace < TRACES as u32 {
            if let Some(filter) = SAMPLE_FILTERS.get(trace)
                && filter.interval != 0
                && filter.selects(sample)
                && admit(trace, filter, sample.time)
            {
                sample.traces |= 1 << trace;
                snaplen = if filter.snaplen > snaplen { filter.snaplen } else { snaplen };
            }
            trace += 1;
        }
        if sample.traces != 0 {
            send(record, if captured < snaplen { captured } else { snaplen });
        }
    }
}

/// Counts a selected packet, and returns whether the rate of its trace admits it.
#[inline(always)]
fn admit(trace: u32, filter: &SampleFilter, now: u64) -> bool {
    let (Some(counts), Some(next)) = (SAMPLE_COUNTS.get_ptr_mut(trace), SAMPLE_RATES.get_ptr_mut(trace))
    else {
        return false;
    };
    // SAFETY: this CPU's copy, checked for null.
    let counts = unsafe { &mut *counts };
    counts.selected += 1;
    // SAFETY: an aligned word of a map's value. All CPUs read it; the few that the rate admits write it.
    let before = unsafe { next.read_volatile() };
    // If another CPU was faster, its packet is the sample.
    let admitted = filter.admit(before, now).is_some_and(|after| exchange(next, before, after));
    if !admitted {
        counts.limited += 1;
    }
    admitted
}

/// Writes a record with that many bytes of its frame into the buffer.
#[inline(always)]
fn send(record: &mut Record, captured: u32) {
    let length = within(captured as usize);
    record.sample.captured = length as u32;
    // The daemon reads the buffer regularly: waking it up would cost more than the copy.
    // SAFETY: the record is a value of a map, and the length is within it.
    let bytes = unsafe {
        core::slice::from_raw_parts(core::ptr::from_ref(record).cast::<u8>(), size_of::<Sample>() + length)
    };
    let sent = SAMPLES.output_untyped::<[u8]>(bytes, BPF_RB_NO_WAKEUP);
    record.sample.captured = 0;
    if sent.is_ok() {
        return;
    }
    let mut trace = 0;
    while trace < TRACES as u32 {
        if record.sample.traces & 1 << trace != 0
            && let Some(counts) = SAMPLE_COUNTS.get_ptr_mut(trace)
        {
            // SAFETY: this CPU's copy, checked for null.
            unsafe { (*counts).lost += 1 };
        }
        trace += 1;
    }
}

/// `include/uapi/linux/bpf.h`.
const BPF_RB_NO_WAKEUP: u64 = 1;
