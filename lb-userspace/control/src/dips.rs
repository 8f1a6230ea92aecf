// SPDX-License-Identifier: MIT OR Apache-2.0
//! SNAT addresses and ports of `fnat` requests. These functions are pure.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use lb_common::{
    schema::{Settings, SnatBinding},
    wire::Be128,
};
use serde::{Deserialize, Serialize};

/// A pool of SNAT addresses, each at a fixed index that flow table entries refer to. The index of a removed
/// address stays empty until another address takes it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Dips {
    v4: Vec<Option<IpAddr>>,
    v6: Vec<Option<IpAddr>>,
}

impl Dips {
    /// Maximum number of addresses per IP version; index 0 is the source address of the route.
    pub const MOST: usize = SnatBinding::ADDRESSES - 1;

    /// Creates the pool of `wanted` addresses; addresses that `before` has keep their index.
    #[must_use]
    pub fn of(before: &Self, wanted: &[IpAddr]) -> Self {
        let wanted: BTreeSet<IpAddr> = wanted.iter().copied().collect();
        let places = |before: &[Option<IpAddr>], six: bool| {
            let stays = |place: &Option<IpAddr>| place.filter(|address| wanted.contains(address));
            let mut places: Vec<Option<IpAddr>> = before.iter().map(stays).collect();
            for address in wanted.iter().filter(|address| address.is_ipv6() == six) {
                if places.contains(&Some(*address)) {
                    continue;
                }
                match places.iter_mut().find(|place| place.is_none()) {
                    Some(empty) => *empty = Some(*address),
                    None => places.push(Some(*address)),
                }
            }
            let used = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            places.truncate(used);
            places
        };
        Self { v4: places(&before.v4, false), v6: places(&before.v6, true) }
    }

    /// Returns the pool of the IPv4 and the IPv6 table, in the form that [`table`](Self::table) returns.
    #[must_use]
    pub fn told(tables: &[Vec<Be128>; 2]) -> Self {
        let places = |table: &[Be128]| {
            let places =
                table.iter().skip(1).map(|address| (*address != Be128::ZERO).then(|| (*address).into()));
            let mut places: Vec<Option<IpAddr>> = places.collect();
            let used = places.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            places.truncate(used);
            places
        };
        Self { v4: places(&tables[0]), v6: places(&tables[1]) }
    }

    /// Returns every address.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4.iter().chain(&self.v6).flatten().copied()
    }

    /// Returns the first address of an IP version, and its index in `SNAT_ADDRESSES`; `None` if the pool has none.
    #[must_use]
    pub fn first(&self, six: bool) -> Option<(u16, IpAddr)> {
        let mut places = (1..).zip(self.places(six));
        places.find_map(|(index, place)| place.map(|address| (index, address)))
    }

    /// Returns the index of an address, if the pool has it.
    #[must_use]
    pub fn place_of(&self, address: IpAddr) -> Option<u16> {
        let place = self.places(address.is_ipv6()).iter().position(|place| *place == Some(address))?;
        u16::try_from(place + 1).ok()
    }

    /// Returns whether the index in a flow table entry has an address. Index 0 is the address of the route.
    #[must_use]
    pub fn has(&self, place: u16, six: bool) -> bool {
        let places = self.places(six);
        place == 0 || places.get(usize::from(place) - 1).is_some_and(Option::is_some)
    }

    /// Returns the contents of `SNAT_ADDRESSES` or, for IPv6, `SNAT_ADDRESSES6`.
    #[must_use]
    pub fn table(&self, six: bool) -> Vec<Be128> {
        let mut table = vec![Be128::ZERO; SnatBinding::ADDRESSES];
        for (place, address) in table[1..].iter_mut().zip(self.places(six)) {
            *place = address.map_or(Be128::ZERO, Be128::from);
        }
        table
    }

    /// Sets the number of indexes in the programs' settings.
    #[must_use]
    pub fn count_in(&self, settings: Settings) -> Settings {
        Settings { dips: self.v4.len() as u64, dips6: self.v6.len() as u64, ..settings }
    }

    fn places(&self, six: bool) -> &[Option<IpAddr>] {
        if six { &self.v6 } else { &self.v4 }
    }
}

/// A range of ports, such as `1024-32767`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Ports(pub RangeInclusive<u16>);

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("'{text}' is not a range of ports from 1 on, such as 1024-32767");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first == 0 || first > last {
            return Err(wrong());
        }
        Ok(Self(first..=last))
    }
}

impl Ports {
    /// Sets the range in the programs' settings.
    #[must_use]
    pub fn put_in(&self, settings: Settings) -> Settings {
        let (first, last) = (u64::from(*self.0.start()), u64::from(*self.0.end()));
        Settings { first_dip_port: first, dip_ports: last - first + 1, ..settings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_keeps_its_place_as_long_as_it_is_wanted() {
        let first = Dips::of(&Dips::default(), &pool(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]));
        let second = Dips::of(&first, &pool(&["10.0.0.2", "10.0.0.3", "10.0.0.0"]));
        assert_eq!(
            second.v4,
            pool(&["10.0.0.0", "10.0.0.2", "10.0.0.3"]).into_iter().map(Some).collect::<Vec<_>>()
        );
        assert!(second.v6.is_empty());
        let third = Dips::of(&second, &pool(&["10.0.0.2"]));
        assert_eq!(third.table(false)[1..3], [Be128::ZERO, pool(&["10.0.0.2"])[0].into()]);
        assert_eq!([0, 1, 2, 3].map(|place| third.has(place, false)), [true, false, true, false]);
        assert_eq!(Dips::told(&[false, true].map(|six| third.table(six))), third);
        let settings = third.count_in(Settings::DEFAULT);
        assert_eq!((settings.dips, settings.dips6), (2, 0));
    }

    #[test]
    fn ranges_of_ports_are_read() {
        let settings = Ports::try_from("2000-2009".to_owned()).unwrap().put_in(Settings::DEFAULT);
        assert_eq!((settings.first_dip_port, settings.dip_ports), (2000, 10));
        let all = Ports::try_from("1-65535".to_owned()).unwrap().put_in(Settings::DEFAULT);
        assert_eq!((all.first_dip_port, all.dip_ports), (1, 65_535));
        for wrong in ["", "80", "0-9", "9-8", "1-65536", "a-b"] {
            assert!(Ports::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
