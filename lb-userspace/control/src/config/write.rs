// SPDX-License-Identifier: MIT OR Apache-2.0
//! Export of services as a config file.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, net::SocketAddr};

use serde::Serialize;

use crate::options::{CheckOptions, RealOptions};
use lb_model::{
    Desired, Endpoint, Forward, GroupId, OnRemoval, Persistence, Real, Scheduler, SchedulerFlag, Service,
    ServiceId, Tracking, Tunnel,
    check::{CheckName, CheckType, Period},
    health::{Admin, Initial, MinHealthy, OnAllDown, OnDown},
};

/// Extent of a written config file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent {
    /// Only values that differ from the defaults.
    Differences,
    /// All values.
    All,
}

#[derive(Serialize)]
struct File {
    // This comes first: in TOML, a key after a section would belong to the section.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Vec<CheckOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Vec<GroupOut>>,
    service: Vec<ServiceOut>,
}

#[derive(Serialize)]
struct CheckOut {
    name: CheckName,
    #[serde(rename = "type")]
    kind: CheckType,
    #[serde(flatten)]
    options: Fields,
}

/// Fields that are set, by name.
type Fields = serde_json::Map<String, serde_json::Value>;

#[derive(Serialize)]
struct GroupOut {
    id: GroupId,
    endpoints: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ServiceOut {
    #[serde(flatten)]
    id: ServiceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler: Option<Scheduler>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<BTreeSet<SchedulerFlag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking: Option<Tracking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    persistent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netmask: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_packet: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_removal: Option<OnRemoval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Vec<CheckName>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial: Option<Initial>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_down: Option<OnDown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_down: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_healthy: Option<MinHealthy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hysteresis: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_all_down: Option<OnAllDown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    real: Option<Vec<RealOut>>,
}

#[derive(Serialize)]
struct RealOut {
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<Forward>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower: Option<u32>,
    #[serde(skip_serializing_if = "Tunnel::is_ipip")]
    tunnel: Tunnel,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Admin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Vec<CheckName>>,
}

/// Writes services as a config file that [`super::parse`] reads back.
///
/// A file without services has `service = []` in any case, to show that this is intended.
#[must_use]
pub fn write(desired: &Desired, extent: Extent) -> String {
    let group = desired.groups.iter().map(|(id, members)| GroupOut {
        id: *id,
        endpoints: members.iter().map(Endpoint::to_string).collect(),
    });
    let check = desired.checks.iter().map(|(name, check)| CheckOut {
        name: name.clone(),
        kind: check.kind,
        options: set_fields(&CheckOptions::of(check)),
    });
    let file = File {
        check: extent.list(check.collect()),
        group: extent.list(group.collect()),
        service: desired.services.iter().map(|(id, service)| extent.service(*id, service)).collect(),
    };
    toml::to_string(&file).unwrap_or_default()
}

/// Returns the options that are set, with the names of the config file.
fn set_fields(options: &CheckOptions) -> Fields {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(options) else { return Fields::new() };
    let is_set =
        |value: &serde_json::Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let fields = fields.into_iter().filter(|(_, value)| is_set(value));
    fields.map(|(name, value)| (name.replace('_', "-"), value)).collect()
}

impl Extent {
    /// Returns a value if it must be written.
    fn value<T: PartialEq>(self, value: T, default: &T) -> Option<T> {
        (self == Self::All || value != *default).then_some(value)
    }

    /// Returns a list if it must be written.
    fn list<T>(self, list: Vec<T>) -> Option<Vec<T>> {
        (self == Self::All || !list.is_empty()).then_some(list)
    }

    fn service(self, id: ServiceId, service: &Service) -> ServiceOut {
        let default = Service::default();
        let reals = service.reals.iter().map(|(address, real)| self.real(*address, real.clone()));
        ServiceOut {
            id,
            scheduler: self.value(service.scheduler, &default.scheduler),
            // The default flags depend on the scheduler.
            flags: self.value(service.flags.clone(), &service.scheduler.default_flags()),
            tracking: self.value(service.tracking, &default.tracking),
            persistent: service.persistence.map(|persistence| format!("{}s", persistence.seconds)),
            netmask: service
                .persistence
                .and_then(|persistence| self.value(persistence.prefix, &Persistence::WHOLE_ADDRESS)),
            one_packet: self.value(service.one_packet, &default.one_packet),
            on_removal: self.value(service.on_removal, &default.on_removal),
            check: self.value(service.health.checks.clone(), &default.health.checks),
            initial: self.value(service.health.initial, &default.health.initial),
            on_down: self.value(service.health.on_down, &default.health.on_down),
            slow_start: self.value(service.health.slow_start, &default.health.slow_start),
            hold_down: self.value(service.health.hold_down, &default.health.hold_down),
            min_healthy: self.value(service.health.min_healthy, &default.health.min_healthy),
            hysteresis: self.value(service.health.hysteresis, &default.health.hysteresis),
            on_all_down: self.value(service.health.on_all_down, &default.health.on_all_down),
            real: self.list(reals.collect()),
        }
    }

    fn real(self, address: SocketAddr, real: Real) -> RealOut {
        let default = RealOptions::default().new_real();
        let Real { forward, weight, upper, lower, tunnel, admin, backup, checks } = real;
        RealOut {
            address,
            forward: self.value(forward, &default.forward),
            weight: self.value(weight, &default.weight),
            upper: self.value(upper, &default.upper),
            lower: self.value(lower, &default.lower),
            tunnel,
            state: self.value(admin, &default.admin),
            backup: self.value(backup, &default.backup),
            check: checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::parse,
        options::{HealthOptions, ServiceOptions},
    };

    fn read(text: &str) -> Desired {
        parse(text, Path::new("xvs.toml")).unwrap_or_else(|failure| panic!("{failure}\n{text}")).desired
    }

    #[test]
    fn defaults_are_left_out() {
        let text = "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.100:80\"\n\n\
                    [[service.real]]\naddress = \"10.0.0.2:80\"\n";
        assert_eq!(write(&read(text), Extent::Differences), text);
        let all = write(&read(text), Extent::All);
        for line in [
            "group = []",
            "scheduler = \"mh\"",
            "flags = [\"mh-port\"]",
            "tracking = \"auto\"",
            "one-packet = false",
            "on-removal = \"reset\"",
            "forward = \"dr\"",
            "weight = 1",
            "upper = 0",
            "lower = 0",
        ] {
            assert!(all.lines().any(|one| one == line), "{line}\n{all}");
        }
        assert_eq!(read(&all), read(text));
    }

    #[test]
    fn what_differs_is_written() {
        let text = "[[service]]\nprotocol = \"tcp\"\naddress = \"10.0.0.100:80\"\nflags = []\n\
                    persistent = \"60s\"\nnetmask = 24\n";
        assert_eq!(write(&read(text), Extent::Differences), text);
        let whole = text.replace("netmask = 24", "netmask = 128");
        assert_eq!(write(&read(&whole), Extent::Differences), text.replace("netmask = 24\n", ""));
        assert_eq!(write(&read(&whole), Extent::All).matches("netmask = 128").count(), 1);
    }

    #[test]
    fn no_services_are_said_to_be_none() {
        assert_eq!(write(&Desired::default(), Extent::Differences), "service = []\n");
        let mut desired = Desired::default();
        desired.groups.insert(7, ["tcp 10.0.0.1:80".parse().unwrap()].into());
        for extent in [Extent::Differences, Extent::All] {
            let config = parse(&write(&desired, extent), Path::new("xvs.toml")).unwrap();
            assert!(config.says_no_services && config.desired == desired);
        }
    }

    fn any_real() -> impl Strategy<Value = RealOptions> {
        let forward = prop::option::of(prop::sample::select(Forward::ALL));
        let number = || prop::option::of(0u32..3);
        (forward, number(), number()).prop_map(|(forward, weight, upper)| RealOptions {
            forward,
            weight,
            upper,
            lower: upper.map(|upper| upper / 2),
            tunnel: (forward == Some(Forward::Tun)).then_some(Tunnel::Gre { csum: upper == Some(1) }),
            backup: (weight == Some(2)).then_some(true),
            ..RealOptions::default()
        })
    }

    fn any_service() -> impl Strategy<Value = ServiceOptions> {
        let bits = prop::option::of(1u8..=32);
        (
            prop::option::of(prop::sample::select(Scheduler::ALL)),
            prop::collection::btree_set(prop::sample::select(SchedulerFlag::ALL), 0..3),
            any::<bool>(),
            prop::option::of(1u32..3),
            bits,
            prop::option::of(prop::sample::select(OnRemoval::ALL)),
        )
            .prop_map(|(scheduler, flags, has_flags, persistent, netmask, on_removal)| {
                let with = scheduler.unwrap_or_default();
                let flags = flags.into_iter().filter_map(|flag| flag.with(with).ok().flatten()).collect();
                ServiceOptions {
                    scheduler,
                    flags: has_flags.then_some(flags),
                    tracking: has_flags.then_some(Tracking::Full),
                    persistent,
                    netmask,
                    one_packet: None,
                    on_removal,
                    health: HealthOptions {
                        hysteresis: persistent,
                        min_healthy: persistent.map(MinHealthy::Reals),
                        ..HealthOptions::default()
                    },
                }
            })
    }

    fn any_desired() -> impl Strategy<Value = Desired> {
        let reals = prop::collection::vec((1u8..250, any_real()), 0..4);
        prop::collection::vec((1u8..250, any_service(), reals), 0..4).prop_map(|services| {
            let mut desired = Desired::default();
            for (vip, options, reals) in services {
                let mut service = Service::default();
                options.apply(&mut service);
                let address = |rip| SocketAddr::from(([10, 0, 1, rip], 80));
                service.reals = reals.iter().map(|(rip, real)| (address(*rip), real.new_real())).collect();
                let id = ServiceId::parse("tcp", &format!("10.0.0.{vip}:80")).unwrap();
                desired.services.insert(id, service);
            }
            desired
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_whatever_it_says(desired in any_desired()) {
            for extent in [Extent::Differences, Extent::All] {
                let text = write(&desired, extent);
                prop_assert_eq!(&read(&text), &desired, "{}", text);
                prop_assert_eq!(&write(&read(&text), extent), &text);
            }
        }
    }
}
