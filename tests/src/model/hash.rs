// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flow hash again, as it is specified (`lb-common/src/hash.rs`).

use std::net::IpAddr;

use super::{Tuple, bytes::octets};

const C1: u64 = 0xff51_afd7_ed55_8ccd;
const C2: u64 = 0xc4ce_b9fe_1a85_ec53;
const SOURCE: [u64; 2] = [0x9e37_79b1_85eb_ca87, 0xc2b2_ae3d_27d4_eb4f];
const DESTINATION: [u64; 2] = [0x1656_67b1_9e37_79f9, 0x85eb_ca77_c2b2_ae63];

/// Mixes a number into a hash: xor, shift, multiply, shift.
fn round(hash: u64, number: u64) -> u64 {
    let mixed = hash ^ number;
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(C1);
    mixed ^ (mixed >> 33)
}

/// Returns the hash of a flow: its addresses, then ports and protocol.
pub fn flow(tuple: &Tuple, seed: u64) -> u32 {
    let [source, destination] = [tuple.source.ip(), tuple.destination.ip()].map(octets);
    let addresses = if source.len() == 4 {
        round(seed, halves(&[source, destination].concat())[0])
    } else {
        address(&source, seed, SOURCE).rotate_left(16) ^ address(&destination, seed, DESTINATION)
    };
    let ports = u64::from(tuple.source.port()) << 24
        | u64::from(tuple.destination.port()) << 8
        | u64::from(tuple.protocol);
    let hash = (addresses ^ ports).wrapping_mul(C2);
    ((hash ^ (hash >> 33)).wrapping_mul(C1) >> 32) as u32
}

/// Hashes an IPv6 address: each half by a constant of its own, the second one rotated by 32 bits.
fn address(octets: &[u8], seed: u64, constants: [u64; 2]) -> u64 {
    let mixed: Vec<u64> = halves(octets)
        .iter()
        .zip(constants)
        .map(|(half, constant)| {
            let mixed = seed ^ half;
            (mixed ^ (mixed >> 32)).wrapping_mul(constant)
        })
        .collect();
    mixed[0] ^ mixed[1].rotate_left(32)
}

/// Returns the halves of an address, eight octets each.
fn halves(octets: &[u8]) -> Vec<u64> {
    octets.chunks(8).map(|eight| u64::from_be_bytes(eight.try_into().expect("eight bytes"))).collect()
}

/// Returns the hash of a client, which does not depend on its port and its destination.
pub fn client(address: IpAddr, seed: u64) -> u32 {
    let nobody = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    flow(&Tuple { protocol: 0, source: (address, 0).into(), destination: (nobody, 0).into() }, seed)
}

/// Maps a hash to one of `size` indices.
pub fn place(hash: u32, size: usize) -> usize {
    ((u64::from(hash) * size as u64) >> 32) as usize
}

/// Returns the index that IPVS computes for an address and a number in tables of 256 entries:
/// `ip_vs_sh_hashkey`, `ip_vs_dh_hashkey`.
pub fn ipvs(address: IpAddr, number: u16) -> usize {
    let folded = octets(address)
        .chunks(4)
        .fold(0, |folded, word| folded ^ u32::from_be_bytes(word.try_into().expect("four bytes")));
    (folded.wrapping_add(number.into()).wrapping_mul(0x61c8_8647) >> 24) as usize
}
