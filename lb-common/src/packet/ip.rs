// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The differences between the IP versions that matter to the data plane.

use core::{fmt::Debug, hash::Hash, mem::MaybeUninit};

use super::{Packet, Parsed, Part};
use crate::{
    checksum::{Delta, Sum},
    reason::Reason,
    wire::{Be16, Be128, MacPair},
};

/// An address, [`crate::wire::Be32`] or [`crate::wire::Be128`], whose type selects the IP version.
///
/// Code that handles packets is written once, over this trait, and compiled for each version.
pub trait Ip: Copy + Default + Eq + 'static {
    /// Zero padding at the end of a key of an address and four more bytes, up to a multiple of the address's
    /// alignment: the kernel compares the whole key.
    type Padding: Copy + Debug + Default + Eq + Hash + Ord;

    /// `EtherType` of frames with packets of this version.
    const ETHER_TYPE: Be16;
    /// Length of a header without options or extensions, in bytes.
    const HEADER_LEN: usize;
    /// Offset of the source address in the header.
    const SOURCE: usize;
    /// Offset of the destination address in the header.
    const DESTINATION: usize;
    /// Offset of the time to live or hop limit in the header.
    const TTL: usize;
    /// Protocol number of ICMP in this version.
    const ICMP: u8;
    /// Whether the ICMP checksum covers the addresses too.
    const ICMP_COVERS_ADDRESSES: bool;
    /// Protocol number of packets of this version in a tunnel (RFC 2003, RFC 2473).
    const TUNNELLED: u8;

    /// Returns whether the address can be that of a host behind a router: it is not unspecified, loopback,
    /// link-local, multicast or broadcast, nor an address of the other version.
    fn is_host(self) -> bool;

    /// Returns the address in 128 bits.
    fn wide(self) -> Be128;

    /// Returns the wire form of an address of this version that is given in 128 bits.
    fn narrow(address: Be128) -> Self;

    /// Reads an address.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before.
    fn load(packet: &impl Packet, offset: usize) -> Result<Self, Reason>;

    /// Writes an address.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn store(self, packet: &impl Packet, offset: usize) -> Result<(), Reason>;

    /// Adds the change of a checksum when `new` replaces the covered address `old`.
    fn replace(change: Delta, old: Self, new: Self) -> Delta;

    /// Adds the words of the address to a sum.
    fn add_to(self, sum: Sum) -> Sum;

    /// Mixes both addresses of a flow under a seed: the first part of [`crate::hash::flow`].
    fn mix(source: Self, destination: Self, seed: u64) -> u64;

    /// Returns the network of the address: without the last 8 bits in IPv4, and without the last 64 bits in
    /// IPv6.
    #[must_use]
    fn network(self) -> Self;

    /// Returns a hash of the address for [`crate::schema::AddressFilter`]. Its upper bits are the better
    /// ones.
    fn mark(self) -> u32;

    /// Returns three values for [`crate::schema::CachedPath`]: a hash of the address without its last three
    /// bits; these three bits; and a name that distinguishes the address, under a seed, from others with the
    /// same hash and bits.
    fn near(self, seed: u64) -> (u32, u32, u32);

    /// Returns the address in 32 bits, in the machine's byte order, as IPVS folds it (`ip_vs_addr_fold`).
    fn fold(self) -> u32;

    /// Reads the header at `l3` with its options or extensions.
    ///
    /// # Errors
    /// [`Reason::NotOurs`] if there is no header of this version, [`Reason::Truncated`] if the frame ends
    /// before.
    fn start(packet: &impl Packet, l3: usize) -> Result<Start<Self>, Reason>;

    /// Parses the frame's packet, as [`super::parse`] does, if it is whole, of TCP or UDP, and without options or
    /// extension headers, and if the frame has room for a TCP header. Returns whether it is such a packet; only then
    /// `into` is written.
    fn ordinary(packet: &impl Packet, into: &mut MaybeUninit<Parsed<Self>>) -> bool;

    /// Forwards the frame's packet by one hop: writes the MAC addresses and decrements the time to live. Returns
    /// whether it did; else the time to live has expired or the frame is too short, and is unmodified.
    fn hop(packet: &impl Packet, macs: MacPair) -> bool;

    /// Returns the position of a later fragment in its datagram, in words of eight bytes. The fragment's part
    /// of the datagram is at `l4`.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before.
    fn fragment_offset(packet: &impl Packet, l4: usize) -> Result<u16, Reason>;

    /// Returns the type of service, or traffic class, of the frame's packet.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before.
    fn traffic_class(packet: &impl Packet) -> Result<u8, Reason>;

    /// Decrements the time to live of the frame's packet, and applies this change and `change` to the
    /// checksum of the header, if there is one.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn decrement_ttl(packet: &impl Packet, change: Delta) -> Result<(), Reason>;

    /// Applies a change of the frame's IP header to the checksum of the header, if there is one.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn apply(packet: &impl Packet, change: Delta) -> Result<(), Reason>;

    /// Writes a new header behind the frame's Ethernet header, with a time to live of 64.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if the frame ends before; then nothing is written.
    fn write(packet: &impl Packet, header: &Header<Self>) -> Result<(), Reason>;

    /// Returns the kind of an ICMP message of this type.
    fn icmp(icmp_type: u8) -> Icmp;

    /// Returns whether an ICMP message of this type and code is an error which shows that its packet did not arrive:
    /// "destination unreachable", except "fragmentation needed".
    fn is_unreachable(icmp_type: u8, code: u8) -> bool;

    /// Returns the beginning of an ICMP error: type, code, and the last word of its header in memory order.
    fn error(error: Error) -> (u8, u8, u32);

    /// Returns the length of an ICMP error's quote of a packet of `length` bytes whose transport header is at
    /// offset `behind`: a multiple of four bytes.
    fn quote(length: usize, behind: usize) -> usize;
}

/// The facts of a packet that its header has, with options or extensions.
#[derive(Clone, Copy)]
pub struct Start<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// IANA number of the protocol behind the header.
    pub protocol: u8,
    /// Offset in the frame of the header of that protocol.
    pub l4: usize,
    /// Length of the packet, in bytes.
    pub length: u32,
    /// Identification of the datagram, network byte order.
    pub id: u32,
    /// The part of the datagram that the packet is.
    pub part: Part,
}

/// The fields of a new header.
pub struct Header<A> {
    /// Length of the packet with the header, in bytes.
    pub length: usize,
    /// Type of service, or traffic class.
    pub traffic_class: u8,
    /// IANA number of the protocol behind the header.
    pub protocol: u8,
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
}

/// Kinds of ICMP messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Icmp {
    /// An error, which quotes a packet.
    Error,
    /// An echo request (ping).
    Echo,
    /// A message about the link, such as neighbour discovery, which does for IPv6 what ARP does for IPv4: not
    /// for a balancer.
    Link,
    /// Any other message.
    Other,
}

/// ICMP errors that the director makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// The port cannot be served.
    PortUnreachable,
    /// The packet is larger than this MTU, in bytes.
    TooBig(u16),
    /// The time to live has expired.
    TimeExceeded,
}
