// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The least that an XDP balancer can do for an IPv4 service with `dr`, by the way in which it finds the real: the
//! baseline for the director. Nothing is validated, and each packet is an IPv4 packet without options.
#![expect(unsafe_code, reason = "pointers to values of maps")]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::packet::{Packet as _, Word as _};
use lb_tests_ebpf::{FLOOR_SLOTS, FloorCount, FloorFlow, FloorReal, FloorVip};

use crate::{
    floor_table::{self, FloorFlows, NarrowFlows, WideFlows},
    frame::Frame,
    table::InMap,
};

/// Services, by number.
#[btf_map]
static FLOOR_VIPS: HashMap<FloorVip, u32, 1> = HashMap::new();
/// The real of each slot, now and before the last move.
#[btf_map]
static FLOOR_TABLE: Array<[u16; 2], { FLOOR_SLOTS as usize }> = Array::new();
/// The real of each flow.
#[btf_map]
static FLOOR_FLOWS: LruHashMap<FloorFlow, [u32; 2], 1> = LruHashMap::new();
/// MAC addresses of each real.
#[btf_map]
static FLOOR_REALS: Array<FloorReal, 4096> = Array::new();
#[btf_map]
static FLOOR_COUNTS: PerCpuArray<FloorCount, 4096> = PerCpuArray::new();
#[btf_map]
static FLOOR_SERVICE_COUNTS: PerCpuArray<FloorCount, 4096> = PerCpuArray::new();

/// Looks up the service, and does nothing else.
#[xdp]
pub fn floor_lookup(ctx: XdpContext) -> u32 {
    let Some(packet) = read(&Frame::new(&ctx)) else { return xdp_action::XDP_PASS };
    if service(&packet).is_some() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Finds the real by the slot of the flow's hash.
#[xdp]
pub fn floor_slots(ctx: XdpContext) -> u32 {
    balance(&ctx, |Packet { flow, .. }, _| {
        let [now, base] = *FLOOR_TABLE.get(slot(flow))?;
        // No slot is in transition during a measurement.
        if now == base { Some(now.into()) } else { None }
    })
}

/// Finds the real in a table of all flows, else by the slot.
#[xdp]
pub fn floor_flows(ctx: XdpContext) -> u32 {
    balance(&ctx, |Packet { flow, .. }, _| {
        // SAFETY: copied out before any other map call.
        if let Some([real, _]) = unsafe { FLOOR_FLOWS.get(flow) } {
            return Some(*real);
        }
        let [real, _] = *FLOOR_TABLE.get(slot(flow))?;
        let _full = FLOOR_FLOWS.insert(flow, [real.into(), 0], 0);
        Some(real.into())
    })
}

/// Finds the real in the flow table of `lb_common::flow_table`, else by the slot.
#[xdp]
pub fn floor_table(ctx: XdpContext) -> u32 {
    balance(&ctx, of_table::<NarrowFlows>)
}

/// Forwards as `floor_table` does, with wide entries, as IPv6 needs them.
#[xdp]
pub fn floor_wide(ctx: XdpContext) -> u32 {
    balance(&ctx, of_table::<WideFlows>)
}

#[inline(always)]
fn of_table<T: FloorFlows>(packet: &Packet, service: u32) -> Option<u32>
where
    T::Bucket: InMap,
{
    floor_table::real::<T>(&packet.flow, service, packet.flags, || {
        let [real, _] = *FLOOR_TABLE.get(slot(&packet.flow))?;
        Some(real.into())
    })
}

/// The parts of a packet that the programs read.
struct Packet {
    start: *mut u8,
    flow: FloorFlow,
    /// TCP flags.
    flags: u8,
    length: u64,
}

#[inline(always)]
fn read(frame: &Frame<'_>) -> Option<Packet> {
    let start: *mut u8 = frame.at::<54>(0).ok()?.cast();
    // SAFETY: `at` checked the bounds.
    unsafe {
        if u16::read::<12>(start) != 0x800_u16.to_be() || u8::read::<14>(start) != 0x45 {
            return None;
        }
        let flow = FloorFlow {
            source: u32::read::<26>(start),
            destination: u32::read::<30>(start),
            ports: u32::read::<34>(start),
            protocol: u8::read::<23>(start).into(),
        };
        Some(Packet { start, flow, flags: u8::read::<47>(start), length: frame.len() as u64 })
    }
}

#[inline(always)]
fn service(packet: &Packet) -> Option<u32> {
    let FloorFlow { destination, ports, protocol, .. } = packet.flow;
    let key = FloorVip { address: destination, port: (ports >> 16) as u16, protocol: protocol as u16 };
    // SAFETY: copied out before any other map call.
    unsafe { FLOOR_VIPS.get(key) }.copied()
}

#[inline(always)]
fn slot(flow: &FloorFlow) -> u32 {
    let mut hash = flow.source.wrapping_mul(2_654_435_761) ^ flow.ports.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 15;
    hash % FLOOR_SLOTS
}

#[inline(always)]
fn balance(ctx: &XdpContext, choose: impl FnOnce(&Packet, u32) -> Option<u32>) -> u32 {
    let Some(packet) = read(&Frame::new(ctx)) else { return xdp_action::XDP_PASS };
    let Some(service) = service(&packet) else { return xdp_action::XDP_PASS };
    let Some(id) = choose(&packet, service) else { return xdp_action::XDP_DROP };
    let Some(real) = FLOOR_REALS.get(id) else { return xdp_action::XDP_DROP };
    for count in [FLOOR_COUNTS.get_ptr_mut(id), FLOOR_SERVICE_COUNTS.get_ptr_mut(service)] {
        let Some(count) = count else { continue };
        // SAFETY: this CPU's, checked for null.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += packet.length;
        }
    }
    for (n, word) in real.macs.into_iter().enumerate() {
        // SAFETY: `read` checked the bounds.
        unsafe { word.write::<0>(packet.start.add(4 * n)) };
    }
    xdp_action::XDP_TX
}
