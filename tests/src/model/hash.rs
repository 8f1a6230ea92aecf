// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flow hash as it is specified (`lb-common/src/hash.rs`), once more.

use std::net::IpAddr;

use super::{Tuple, bytes::octets};

const C1: u64 = 0xff51_afd7_ed55_8ccd;
const C2: u64 = 0xc4ce_b9fe_1a85_ec53;

/// One round: xor, shift, multiply, shift.
fn round(hash: u64, number: u64) -> u64 {
    let mixed = hash ^ number;
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(C1);
    mixed ^ (mixed >> 33)
}

/// The hash of a flow: its addresses eight bytes a round, source first; then ports and protocol.
pub fn flow(tuple: &Tuple, seed: u64) -> u32 {
    let addresses = [octets(tuple.source.ip()), octets(tuple.destination.ip())].concat();
    let numbers = addresses.chunks(8).map(|eight| u64::from_be_bytes(eight.try_into().expect("eight bytes")));
    let hash = numbers.fold(seed, round);
    let ports = u64::from(tuple.source.port()) << 24
        | u64::from(tuple.destination.port()) << 8
        | u64::from(tuple.protocol);
    let hash = (hash ^ ports).wrapping_mul(C2);
    ((hash ^ (hash >> 33)).wrapping_mul(C1) >> 32) as u32
}

/// The hash of a client, whatever its port and whomever it speaks to.
pub fn client(address: IpAddr, seed: u64) -> u32 {
    let nobody = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    flow(&Tuple { protocol: 0, source: (address, 0).into(), destination: (nobody, 0).into() }, seed)
}

/// A hash as one of `size` places.
pub fn place(hash: u32, size: usize) -> usize {
    ((u64::from(hash) * size as u64) >> 32) as usize
}

/// Where IPVS has an address and a number, in tables of 256 places: `ip_vs_sh_hashkey`, `ip_vs_dh_hashkey`.
pub fn ipvs(address: IpAddr, number: u16) -> usize {
    let folded = octets(address)
        .chunks(4)
        .fold(0, |folded, word| folded ^ u32::from_be_bytes(word.try_into().expect("four bytes")));
    (folded.wrapping_add(number.into()).wrapping_mul(0x61c8_8647) >> 24) as usize
}
