// SPDX-License-Identifier: MIT OR Apache-2.0
//! Order of lists.
#![forbid(unsafe_code)]

use std::{
    cmp::Ordering,
    net::{IpAddr, SocketAddr},
};

use lb_model::ServiceId;

/// Compares services: by firewall mark, which is 0 for an endpoint, then by IP version, protocol, address and
/// port.
#[must_use]
pub fn services(a: &ServiceId, b: &ServiceId) -> Ordering {
    let mark = |id: &ServiceId| match id {
        ServiceId::Group { group, .. } => *group,
        ServiceId::Endpoint(_) => 0,
    };
    difference(mark(a), mark(b)).then_with(|| match (a, b) {
        (ServiceId::Endpoint(a), ServiceId::Endpoint(b)) => (a.address.is_ipv6().cmp(&b.address.is_ipv6()))
            .then(a.protocol.number().cmp(&b.protocol.number()))
            .then_with(|| addresses(&a.address, &b.address)),
        (ServiceId::Group { ipv6: a, .. }, ServiceId::Group { ipv6: b, .. }) => a.cmp(b),
        _ => Ordering::Equal,
    })
}

/// Compares reals: by address and port.
#[must_use]
pub fn addresses(a: &SocketAddr, b: &SocketAddr) -> Ordering {
    let ips = match (a.ip(), b.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => difference(a.to_bits(), b.to_bits()),
        (a, b) => a.cmp(&b),
    };
    ips.then_with(|| a.port().cmp(&b.port()))
}

/// Compares two numbers as libipvs does, by the sign of their 32-bit difference: of two distant addresses,
/// the larger one comes first.
fn difference(a: u32, b: u32) -> Ordering {
    a.wrapping_sub(b).cast_signed().cmp(&0)
}

/// Sorts by merging halves, as qsort of glibc does: the order above is not transitive, so that the result
/// depends on the algorithm, and that of Rust would panic.
pub fn sort<T>(mut items: Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let second = sort(items.split_off(items.len() / 2), compare);
    let mut first = sort(items, compare).into_iter().peekable();
    let mut second = second.into_iter().peekable();
    let mut merged = Vec::with_capacity(first.len() + second.len());
    while let (Some(a), Some(b)) = (first.peek(), second.peek()) {
        let next = if compare(a, b) == Ordering::Greater { second.next() } else { first.next() };
        merged.extend(next);
    }
    merged.extend(first);
    merged.extend(second);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_sorted_as_libipvs_does() {
        let expected = [
            "tcp 10.0.0.1:80",
            "tcp 10.0.0.1:443",
            "tcp 10.0.0.2:80",
            "udp 10.0.0.1:53",
            "sctp 10.0.0.1:9",
            "tcp [2001:db8::1]:80",
            "udp [2001:db8::1]:53",
            "group 3",
            "group 3/ipv6",
            "group 7",
        ];
        let id = |text: &&str| {
            let (kind, name) = text.split_once(' ').unwrap();
            ServiceId::parse(kind, name).unwrap()
        };
        let mut ids: Vec<ServiceId> = expected.iter().map(id).collect();
        ids.reverse();
        let sorted: Vec<String> = sort(ids, &services).iter().map(ToString::to_string).collect();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn addresses_that_are_far_apart_come_the_other_way_round() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert_eq!(
            sort(of(&["10.0.0.1:80", "192.168.0.1:80"]), &addresses),
            of(&["192.168.0.1:80", "10.0.0.1:80"])
        );
    }

    proptest::proptest! {
        #[test]
        fn sorting_is_right_where_the_order_is_one(numbers: Vec<u8>) {
            let mut expected = numbers.clone();
            expected.sort_unstable();
            proptest::prop_assert_eq!(sort(numbers, &u8::cmp), expected);
        }
    }
}
