// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every packet test in either IP version: tests are written for IPv4, and under `XVS_TEST_IP=6` their
//! packets are translated to IPv6 on the way to the programs. IPv6 packets in a test are not translated.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::LazyLock,
};

use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, icmpv4, icmpv6};

static SIX: LazyLock<bool> = LazyLock::new(|| match std::env::var("XVS_TEST_IP").as_deref() {
    Ok("6") => true,
    Ok("4") | Err(std::env::VarError::NotPresent) => false,
    other => panic!("XVS_TEST_IP={other:?} is neither 4 nor 6"),
});

/// Returns whether tests are translated to IPv6.
pub fn is_six() -> bool {
    *SIX
}

/// The first 96 bits of addresses that stand for IPv4's.
const NETWORK: u128 = 0x2001_0db8 << 96;

/// Returns the address that stands for another.
pub fn address(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv6Addr::UNSPECIFIED.into(),
        IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => {
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into()
        }
        IpAddr::V4(v4) => Ipv6Addr::from_bits(NETWORK | u128::from(v4.to_bits())).into(),
        IpAddr::V6(_) => ip,
    }
}

/// Returns the translation of an address with its port.
pub fn socket(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(self::address(address.ip()), address.port())
}

/// Returns the original of a translated address.
pub fn original(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(v6) if v6.to_bits() >> 32 == NETWORK >> 32 => {
            SocketAddr::new(Ipv4Addr::from_bits(v6.to_bits() as u32).into(), address.port())
        }
        _ => address,
    }
}

/// Translates a protocol number.
pub fn protocol(number: IpNumber) -> IpNumber {
    match number {
        IpNumber::ICMP => IpNumber::IPV6_ICMP,
        IpNumber::IPV4 => IpNumber::IPV6,
        other => other,
    }
}

/// Translates an ICMP message.
pub fn icmp(kind: &Icmpv4Type) -> Icmpv6Type {
    use icmpv4::DestUnreachableHeader as Unreachable;
    match kind {
        Icmpv4Type::EchoRequest(echo) => Icmpv6Type::EchoRequest(*echo),
        Icmpv4Type::EchoReply(echo) => Icmpv6Type::EchoReply(*echo),
        Icmpv4Type::DestinationUnreachable(Unreachable::FragmentationNeeded { next_hop_mtu }) => {
            Icmpv6Type::PacketTooBig { mtu: (*next_hop_mtu).into() }
        }
        Icmpv4Type::DestinationUnreachable(Unreachable::Port) => {
            Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port)
        }
        Icmpv4Type::DestinationUnreachable(_) => {
            Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Address)
        }
        Icmpv4Type::TimeExceeded(_) => Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
        Icmpv4Type::ParameterProblem(_) => Icmpv6Type::ParameterProblem(icmpv6::ParameterProblemHeader {
            code: icmpv6::ParameterProblemCode::ErroneousHeaderField,
            pointer: 4,
        }),
        Icmpv4Type::Unknown { type_u8: 12, .. } => {
            Icmpv6Type::ParameterProblem(icmpv6::ParameterProblemHeader {
                code: icmpv6::ParameterProblemCode::ErroneousHeaderField,
                pointer: 4,
            })
        }
        // An error type that is still undefined, in place of source quench.
        Icmpv4Type::Unknown { type_u8: 4, .. } => {
            Icmpv6Type::Unknown { type_u8: 100, code_u8: 0, bytes5to8: [0; 4] }
        }
        // Anything else that is no error: a node information query (RFC 4620).
        _ => Icmpv6Type::Unknown { type_u8: 139, code_u8: 0, bytes5to8: [0; 4] },
    }
}
