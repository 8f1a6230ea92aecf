// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results of health checks as findings. The doctor examines reals by itself; if it finds the cause why a real is down,
//! the result of the checks becomes a part of that finding.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use lb_control::pool::Mode;
use lb_model::text;

use super::{Check, Down, Facts, Finding, Fix, Location, PoolHealth, Target, fix};

/// Returns findings for services with too few healthy reals, and for frozen states.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let frozen = facts.frozen.iter().map(|why| {
        let cause = format!(
            "the states of reals are frozen, and no further real goes down: {why}; the director or its network may be the cause"
        );
        Finding::new(Check::ChecksFrozen, Location::Director, cause, Fix::on_director("xvs check list"))
    });
    frozen.chain(facts.pools.iter().filter_map(pool)).collect()
}

/// Returns the finding for a service with too few healthy reals.
fn pool(pool: &PoolHealth) -> Option<Finding> {
    let PoolHealth { service, mode, healthy, able, needed } = pool;
    let (check, then) = match (mode, healthy) {
        (Mode::Normal, _) => return None,
        (Mode::AllDown, _) => (Check::NoHealthyReal, "its clients get no connection"),
        (Mode::Ignored, 0) => (
            Check::NoHealthyReal,
            "health is ignored, and all reals get connections, though their checks fail",
        ),
        (Mode::Ignored, _) => {
            (Check::FewHealthyReals, "health is ignored, and reals whose checks fail get connections too")
        }
        (Mode::WithBackup, _) => (Check::FewHealthyReals, "its backup reals serve too"),
        // Without a real that could serve, the operator has chosen the backup reals.
        (Mode::Backup, _) if *able == 0 => return None,
        (Mode::Backup, _) => (Check::FewHealthyReals, "its backup reals serve alone"),
    };
    let needs = if *needed > 0 { format!(", and it needs {needed}") } else { String::new() };
    let cause = format!(
        "{healthy} of {} of {service} {} healthy{needs}: {then}",
        text::count(*able, "real"),
        if *able == 1 { "is" } else { "are" }
    );
    let fix = Fix::on_director(fix::quoted(&format!("xvs real list {service}")));
    Some(Finding::new(check, Location::Service(*service), cause, fix))
}

/// Verdicts of the checks on reals that are down.
pub(super) struct Verdicts(Vec<Verdict>);

/// Verdict of the checks on a real.
struct Verdict {
    /// Locations of the real in findings: one for each port of the service.
    locations: Vec<Location>,
    /// The verdict in words.
    words: String,
    /// Finding, in case that there is no other one about the real.
    finding: Finding,
}

impl Verdicts {
    /// Returns the verdicts on all reals that would get connections otherwise.
    pub(super) fn of(facts: &Facts) -> Self {
        let mut reals: BTreeMap<_, Verdict> = BTreeMap::new();
        // A real that the operator has taken out of service may be switched off.
        for target in facts.targets.iter().filter(|target| target.weight > 0) {
            let Some(down) = &target.down else { continue };
            let verdict =
                reals.entry((target.service, target.address)).or_insert_with(|| Verdict::of(target, down));
            verdict.locations.push(target.location());
        }
        Self(reals.into_values().collect())
    }

    /// Adds the verdicts to the findings about the same reals, or as findings of their own.
    pub(super) fn join(self, findings: &mut Vec<Finding>) {
        let mut others = Vec::new();
        for Verdict { locations, words, finding } in self.0 {
            let mut is_explained = false;
            for known in findings.iter_mut().filter(|known| locations.contains(&known.location)) {
                known.cause.push_str("; ");
                known.cause.push_str(&words);
                is_explained = true;
            }
            if !is_explained {
                others.push(finding);
            }
        }
        findings.extend(others);
    }
}

impl Verdict {
    fn of(target: &Target, down: &Down) -> Self {
        let Down { check, last, seconds } = down;
        let result = last.as_ref().map_or_else(String::new, |last| format!(": {last}"));
        let since = match seconds {
            0 => String::new(),
            seconds => format!(" for {}", text::duration(*seconds)),
        };
        let words = format!("it has been down by its check {check}{since}{result}");
        let cause = format!(
            "{} gets no connections of {}: {words}; the doctor finds no other fault, and the fix shows the steps of a probe",
            target.named(),
            target.service
        );
        let fix = Fix::on_director(target.run_check(check));
        let finding = Finding::new(Check::RealDown, target.location(), cause, fix);
        Self { locations: Vec::new(), words, finding }
    }
}

#[cfg(test)]
mod tests {
    use lb_control::neighbours::Unresolved;
    use lb_model::{
        Forward, Protocol, ServiceId, Tunnel,
        health::{LastResult, ResultCode},
    };
    use rstest::rstest;

    use super::*;

    const RIP: [u8; 4] = [10, 0, 0, 11];

    fn service() -> ServiceId {
        ServiceId::new(Protocol::Tcp, ([192, 0, 2, 100], 80).into())
    }

    fn target(rip: [u8; 4], port: u16, is_down: bool) -> Target {
        let last = LastResult {
            code: ResultCode::L7Status,
            text: "HTTP 500".to_owned(),
            duration_us: 900,
            at_ms: 0,
        };
        Target {
            service: service(),
            protocol: Protocol::Tcp,
            vip: [192, 0, 2, 100].into(),
            port,
            rip: rip.into(),
            real_port: port,
            forward: Forward::Dr,
            tunnel: Tunnel::Ipip,
            weight: 1,
            down: is_down.then(|| Down { check: "web".parse().unwrap(), last: Some(last), seconds: 300 }),
            address: (rip, 0).into(),
            entry: None,
            next_hop: Err(Unresolved::Unknown { why: "not asked".to_owned() }),
            dip: None,
            gateway: None,
        }
    }

    fn facts(targets: Vec<Target>) -> Facts {
        Facts {
            targets,
            without_real: Vec::new(),
            pools: Vec::new(),
            frozen: None,
            endpoints: [].into(),
            interfaces: Vec::new(),
            deaf_veths: [].into(),
            lost_sends: [].into(),
            is_standby: false,
            addresses: Vec::new(),
            attached: [].into(),
            program: None,
            generic_wanted: false,
            flows: 0,
            max_flows: 0,
            flows6: 0,
            max_flows6: 0,
            evicted: [None, None],
        }
    }

    #[test]
    fn a_real_that_is_down_is_one_finding_however_many_ports_the_service_has() {
        let facts =
            facts(vec![target(RIP, 80, true), target(RIP, 443, true), target([10, 0, 0, 12], 80, false)]);
        let mut findings = Vec::new();
        Verdicts::of(&facts).join(&mut findings);
        assert_eq!(findings.len(), 1);
        let found = &findings[0];
        assert_eq!((found.check, &found.location), (Check::RealDown, &facts.targets[0].location()));
        assert!(found.cause.contains("down by its check web for 5m: L7STS HTTP 500"), "{}", found.cause);
        assert_eq!(found.fix.command, "xvs check run web tcp 192.0.2.100:80 10.0.0.11");
    }

    #[test]
    fn a_real_that_the_operator_has_taken_out_of_service_is_no_finding() {
        let facts = facts(vec![Target { weight: 0, ..target(RIP, 80, true) }]);
        let mut findings = Vec::new();
        Verdicts::of(&facts).join(&mut findings);
        assert_eq!(findings, []);
    }

    #[test]
    fn a_cause_that_the_doctor_has_found_takes_up_the_verdict() {
        let facts = facts(vec![target(RIP, 80, true), target(RIP, 443, true)]);
        let blackhole = |port| {
            let fix = Fix::on_real(RIP.into(), "xvs host setup");
            Finding::new(Check::DrBlackhole, target(RIP, port, true).location(), "no VIP", fix)
        };
        let other = target([10, 0, 0, 12], 80, false).location();
        let elsewhere = Finding::new(Check::RealSilent, other, "silent", Fix::on_director("true"));
        let mut findings = vec![elsewhere.clone(), blackhole(443)];
        Verdicts::of(&facts).join(&mut findings);
        assert_eq!(findings.len(), 2);
        assert_eq!(findings[0], elsewhere);
        assert_eq!(findings[1].cause, "no VIP; it has been down by its check web for 5m: L7STS HTTP 500");
    }

    #[rstest]
    #[case(Mode::Normal, 1, 2, 1, None)]
    #[case(Mode::AllDown, 0, 2, 0, Some((Check::NoHealthyReal, "0 of 2 reals of tcp 192.0.2.100:80 are healthy: its clients get no connection")))]
    #[case(Mode::Ignored, 0, 1, 1, Some((Check::NoHealthyReal, "0 of 1 real of tcp 192.0.2.100:80 is healthy, and it needs 1: health is ignored, and all reals get connections, though their checks fail")))]
    #[case(Mode::Ignored, 1, 4, 2, Some((Check::FewHealthyReals, "1 of 4 reals of tcp 192.0.2.100:80 are healthy, and it needs 2: health is ignored, and reals whose checks fail get connections too")))]
    #[case(Mode::WithBackup, 1, 2, 2, Some((Check::FewHealthyReals, "1 of 2 reals of tcp 192.0.2.100:80 are healthy, and it needs 2: its backup reals serve too")))]
    #[case(Mode::Backup, 0, 2, 0, Some((Check::FewHealthyReals, "0 of 2 reals of tcp 192.0.2.100:80 are healthy: its backup reals serve alone")))]
    #[case(Mode::Backup, 0, 0, 0, None)]
    fn a_service_with_too_few_healthy_reals_is_a_finding(
        #[case] mode: Mode,
        #[case] healthy: usize,
        #[case] able: usize,
        #[case] needed: usize,
        #[case] expected: Option<(Check, &str)>,
    ) {
        let found = pool(&PoolHealth { service: service(), mode, healthy, able, needed });
        assert_eq!(found.as_ref().map(|found| (found.check, &*found.cause)), expected);
        let fix = found.map(|found| found.fix.command);
        assert!(fix.is_none_or(|fix| fix == "xvs real list tcp 192.0.2.100:80"));
    }

    #[test]
    fn frozen_states_are_a_finding() {
        let found = check(&Facts { frozen: Some("9 of 9 targets fail".to_owned()), ..facts(Vec::new()) });
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].check, &found[0].location), (Check::ChecksFrozen, &Location::Director));
        assert!(found[0].cause.contains("9 of 9 targets fail"), "{}", found[0].cause);
    }
}
