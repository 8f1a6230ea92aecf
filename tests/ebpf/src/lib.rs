// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The interface between the programs of `cargo xtask bench` and their runner.
//!
//! The programs are the binaries of this crate: `bench-bpf` measures the director, `storm-bpf` runs
//! the flow table on all CPUs, and `stub-bpf` lets veth devices of the lab receive frames.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

/// Length of the largest frame that is sent, in bytes; a multiple of four.
pub const LARGEST: usize = 112;

/// Number of bits of a flow's number that distinguish flows: 16 of the client's address, 14 of its port.
pub const FLOW_BITS: u32 = 30;

/// The first port that clients use.
pub const FIRST_PORT: u16 = 1024;

/// Number of packets of a short connection: SYN, ACK, FIN.
pub const SHORT: u32 = 3;

/// The turn before the first packet.
pub const NONE: u32 = u32::MAX;

/// Value of the only element of `ORDER`: the packets to send, and the progress.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Order {
    /// The frame, to which addresses and ports are added.
    pub frame: [u32; LARGEST / 4],
    /// Number of flows that take turns; 0: no flow comes twice.
    pub flows: u32,
    /// Number of consecutive services that flows are for.
    pub services: u32,
    /// The last 16 bits of the address of the first service.
    pub first_service: u32,
    /// Sum of the header for its checksum, without the stamped fields; IPv4 only.
    pub sum: u32,
    /// Number of consecutive packets of a flow: 1, all alike, or [`SHORT`].
    pub packets: u32,
    /// Whether the headers of packets that were sent to the reals are recorded in `ENDS`.
    pub learn: u32,
    /// Increment from one turn to the next, less than `flows`: 1, or a number by which flows begin in another
    /// order.
    pub step: u32,
    /// The turn of the next packet.
    pub next: u32,
    /// The turn of the last packet, [`NONE`] if there was none.
    pub last: u32,
    /// Packets that did not reach the program under test.
    pub missed: u32,
    /// Ifindex of the interface by which live frames leave.
    pub device: u32,
}

/// Value of `ENDS`, an array by turn: the headers of a sent packet. All fields are in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ends {
    /// Source address; IPv4 uses only the first word.
    pub source: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
    /// Source and destination port, if they directly follow the addresses.
    pub ports: u32,
    /// Destination MAC address of the frame, first four bytes.
    pub mac: u32,
    /// Destination MAC address of the frame, last two bytes.
    pub mac_end: u32,
}

/// Returns the flow of a turn: consecutive turns have distant flows.
#[inline(always)]
#[must_use]
pub const fn flow(turn: u32) -> u32 {
    // An odd factor: no two turns have the same flow.
    turn.wrapping_mul(0x9e37_79b1) & ((1 << FLOW_BITS) - 1)
}

/// Returns the last 16 bits of the address, and the port, of a flow's client.
#[inline(always)]
#[must_use]
pub const fn client(flow: u32) -> (u16, u16) {
    ((flow >> 14) as u16, FIRST_PORT + (flow & 0x3fff) as u16)
}

/// Returns the index of the service of a flow, out of `services`.
#[inline(always)]
#[must_use]
pub const fn service(flow: u32, services: u32) -> u32 {
    let spread = flow.wrapping_mul(0x85eb_ca6b);
    ((spread as u64 * services as u64) >> 32) as u32
}

/// Key of `FLOOR_VIPS`, in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FloorVip {
    /// Address.
    pub address: u32,
    /// Port.
    pub port: u16,
    /// Protocol; the padding is zero.
    pub protocol: u16,
}

/// Key of `FLOOR_FLOWS`, in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FloorFlow {
    /// Source.
    pub source: u32,
    /// Destination.
    pub destination: u32,
    /// Both ports.
    pub ports: u32,
    /// Protocol.
    pub protocol: u32,
}

/// Value of `FLOOR_REALS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FloorReal {
    /// Destination and source MAC address of frames, in memory order.
    pub macs: [u32; 3],
    /// Ifindex of the interface.
    pub ifindex: u32,
}

/// Value of `FLOOR_COUNTS` and `FLOOR_SERVICE_COUNTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FloorCount {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// Most flows of a storm, a power of two.
pub const STORM_FLOWS: u32 = 4096;

/// Reals of each flow of a storm.
pub const STORM_REALS: u32 = 4;

/// Number of buckets of the tables of a storm.
pub const STORM_BUCKETS: u32 = 2048;

/// Value of the only element of `STORM`: which flows take turns.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Storm {
    /// The secrets of the tables.
    pub random: [u64; 3],
    /// The number of flows less one; the number is a power of two.
    pub mask: u64,
}

/// Value of `STORM_KEYS`, an array by flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StormKey {
    /// The client's address; of an IPv4 address, the lower half of the second word.
    pub client: [u64; 2],
    /// The client's port, the service and the destination port.
    pub ports: u64,
}

/// Value of `STORM_FINDINGS`, for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StormFindings {
    /// State of the CPU's random numbers.
    pub random: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were answered with a real of another flow.
    pub wrong: u64,
    /// Packets that were not answered.
    pub unknown: u64,
    /// Events of the table.
    pub events: [u64; 5],
}

/// Number of slots in `FLOOR_TABLE`: a prime, as in the paper on Maglev.
pub const FLOOR_SLOTS: u32 = 65_537;

#[cfg(feature = "user")]
mod pod {
    macro_rules! pod {
        ($($type:ident: $size:literal),*) => {
            $(
                const _: () = assert!(size_of::<super::$type>() == $size);

                // SAFETY: `repr(C)`, integers without padding (the size is the sum of the fields), every bit
                // pattern is a value.
                #[expect(unsafe_code, reason = "userspace copies the type as bytes")]
                unsafe impl aya::Pod for super::$type {}
            )*
        };
    }
    pod!(Order: 156, Ends: 44, FloorVip: 8, FloorFlow: 16, FloorReal: 16, FloorCount: 16, Storm: 32, StormKey: 24, StormFindings: 72);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_flow_comes_twice_and_each_has_its_client() {
        let clients: HashSet<_> = (0..100_000).map(|turn| client(flow(turn))).collect();
        assert_eq!(clients.len(), 100_000);
    }

    #[test]
    fn flows_are_spread_over_the_services() {
        let mut counts = vec![0_u32; 100];
        for turn in 0..100_000 {
            counts[service(flow(turn), 100) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (500..1500).contains(&count)), "{counts:?}");
    }
}
