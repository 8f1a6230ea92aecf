// SPDX-License-Identifier: MIT OR Apache-2.0
//! Findings as the checks make them. Names and addresses become text in [`FindingView`] only, for the API, the metrics
//! and the log.
#![forbid(unsafe_code)]

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{Check, frame};
use lb_model::{
    Endpoint, ServiceId,
    finding::{DIRECTOR, FindingView, Severity},
};
use lb_netlink::Mac;

/// Object that has the fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    /// The director as a whole.
    Director,
    /// An interface of the director.
    Interface(String),
    /// A VIP.
    Vip(IpAddr),
    /// A service.
    Service(ServiceId),
    /// An endpoint of a service.
    Endpoint(Endpoint),
    /// A real of a service.
    Real {
        /// Service.
        service: ServiceId,
        /// RIP, and the port to which the real's packets go.
        address: SocketAddr,
    },
    /// A host that is neither the director nor a real.
    Host(Mac),
}

/// Host on which a fix is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Host {
    /// The director.
    Director,
    /// The real with this RIP.
    Real(IpAddr),
    /// A host of which only the Ethernet address is known.
    Unknown(Mac),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Director => f.write_str(DIRECTOR),
            Self::Real(rip) => rip.fmt(f),
            Self::Unknown(mac) => f.write_str(&frame::mac(*mac)),
        }
    }
}

/// Command line that fixes a fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fix {
    /// Host on which to run it.
    pub host: Host,
    /// Line for a shell.
    pub command: String,
}

impl Fix {
    pub(super) fn on_director(command: impl Into<String>) -> Self {
        Self { host: Host::Director, command: command.into() }
    }

    pub(super) fn on_real(rip: IpAddr, command: impl Into<String>) -> Self {
        Self { host: Host::Real(rip), command: command.into() }
    }

    pub(super) fn on_unknown(mac: Mac, command: impl Into<String>) -> Self {
        Self { host: Host::Unknown(mac), command: command.into() }
    }
}

/// A fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Check that found the fault.
    pub check: Check,
    /// One of the check's severities.
    pub severity: Severity,
    /// Object that has the fault.
    pub location: Location,
    /// Fault, and how it was detected.
    pub cause: String,
    /// Fix.
    pub fix: Fix,
}

impl Finding {
    /// Creates a finding with the usual severity of the check.
    pub(super) fn new(check: Check, location: Location, cause: impl Into<String>, fix: Fix) -> Self {
        Self { check, severity: check.severity(), location, cause: cause.into(), fix }
    }

    /// Returns the finding with another severity that the check can have.
    pub(super) fn with_severity(self, severity: Severity) -> Self {
        debug_assert!(self.check.severities().contains(&severity), "{}: {severity:?}", self.check);
        Self { severity, ..self }
    }

    /// Returns whether both findings have the same check, location and fix; their wording may differ.
    #[must_use]
    pub fn is_same_fault(&self, other: &Self) -> bool {
        (self.check, &self.location, &self.fix) == (other.check, &other.location, &other.fix)
    }
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        let Finding { check, severity, location, cause, fix } = finding;
        let (service, real) = match location {
            Location::Director | Location::Interface(_) | Location::Vip(_) | Location::Host(_) => {
                (None, None)
            }
            Location::Service(service) => (Some(service.to_string()), None),
            Location::Endpoint(endpoint) => (Some(endpoint.to_string()), None),
            Location::Real { service, address } => (Some(service.to_string()), Some(address.to_string())),
        };
        Self {
            check: check.as_str().to_owned(),
            service,
            real,
            severity: *severity,
            cause: cause.clone(),
            place: fix.host.to_string(),
            fix: fix.command.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RIP: [u8; 4] = [10, 0, 0, 11];
    const MAC: Mac = [2, 0, 0xc0, 0, 2, 10];

    #[test]
    fn the_json_of_a_finding_has_the_names_and_values_of_the_api() {
        let web: Endpoint = "tcp 192.0.2.100:80".parse().unwrap();
        let real6 = Location::Real { service: ServiceId::group(7), address: "[fd00::b]:0".parse().unwrap() };
        let real = Location::Real { service: ServiceId::Endpoint(web), address: (RIP, 8080).into() };
        let by_real = Fix::on_real(RIP.into(), "a && b");
        let by_director = Fix::on_director("a && b");
        for (location, fix, service, name, place) in [
            (Location::Director, &by_director, None, None, "director"),
            (Location::Interface("eth0".to_owned()), &by_director, None, None, "director"),
            (Location::Vip([192, 0, 2, 100].into()), &by_director, None, None, "director"),
            (Location::Host(MAC), &Fix::on_unknown(MAC, "a && b"), None, None, "02:00:c0:00:02:0a"),
            (Location::Service(ServiceId::group(7)), &by_director, Some("group 7"), None, "director"),
            (Location::Endpoint(web), &by_director, Some("tcp 192.0.2.100:80"), None, "director"),
            (real.clone(), &by_director, Some("tcp 192.0.2.100:80"), Some("10.0.0.11:8080"), "director"),
            (real, &by_real, Some("tcp 192.0.2.100:80"), Some("10.0.0.11:8080"), "10.0.0.11"),
            (real6, &by_real, Some("group 7"), Some("[fd00::b]:0"), "10.0.0.11"),
        ] {
            let finding = Finding::new(Check::VipMissing, location, "because", fix.clone());
            let expected = json!({
                "check": "vip-missing",
                "service": service,
                "real": name,
                "severity": "error",
                "cause": "because",
                "place": place,
                "fix": "a && b",
            });
            assert_eq!(json!(FindingView::from(&finding)), expected);
            let warning = FindingView::from(&finding.with_severity(Severity::Warning));
            assert_eq!(json!(warning)["severity"], "warning");
        }
    }

    #[test]
    fn a_fault_stays_the_same_when_its_wording_changes() {
        let finding = |vip: [u8; 4], cause: &str| {
            let fix = Fix::on_director("ip address add");
            Finding::new(Check::VipMissing, Location::Vip(vip.into()), cause, fix)
        };
        assert!(finding([192, 0, 2, 1], "a").is_same_fault(&finding([192, 0, 2, 1], "b")));
        assert!(!finding([192, 0, 2, 1], "a").is_same_fault(&finding([192, 0, 2, 2], "a")));
    }
}
