// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers and addresses in network byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Version;

/// Returns the byte at an offset, if there is one.
pub fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Returns the two bytes at an offset as a number.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().expect("two bytes")))
}

/// Returns the four bytes at an offset as a number.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().expect("four bytes")))
}

/// Returns the address at an offset.
pub fn address_at(bytes: &[u8], at: usize, version: Version) -> Option<IpAddr> {
    let bytes = bytes.get(at..at + version.address_length())?;
    Some(match version {
        Version::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("four bytes")).into(),
        Version::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("sixteen bytes")).into(),
    })
}

/// Returns an address in network byte order.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Writes bytes over those that are there.
pub fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}
