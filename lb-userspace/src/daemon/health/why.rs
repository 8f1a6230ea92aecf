// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reasons why reals get no new connections, for `xvs explain`.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Health, RealOf, apply::healthy_of};
use crate::{api::health::HealthView, daemon::network::NextHops};
use lb_control::{
    effective,
    pool::{self, Mode, Pool, RealHealth},
};
use lb_model::{Real, Service, ServiceId, health, health::Admin};

/// Number of reals of a service that are told apart.
const MOST: usize = 8;

impl Health {
    /// Returns a line for each real of a service that gets no new connections, with the reason, and one for the
    /// state of the pool if that is not the normal one. `views` is the health of the reals, as [`Health::views`]
    /// returns it.
    pub(in crate::daemon) fn rotation(
        &self,
        id: &ServiceId,
        service: &Service,
        next_hops: &NextHops,
        views: &BTreeMap<RealOf, HealthView>,
    ) -> Vec<String> {
        let pool = pool::weigh(id, service, &self.table);
        let reached = effective::service(id, pool.service.clone(), next_hops);
        let reason = |(address, real): (&SocketAddr, &Real)| {
            let state = self.table.of(id, service, address, real);
            let why = match (pool.service.reals.get(address)?.weight, reached.reals.get(address)?.weight) {
                (0, _) => why(real, state, views.get(&(*id, *address)), &pool),
                (_, 0) => match next_hops.get(&address.ip()) {
                    Some(Err(why)) => why.to_string(),
                    _ => "its next hop is not known".to_owned(),
                },
                _ => return None,
            };
            Some(format!("{address} gets no new connections: {why}"))
        };
        let mut lines: Vec<String> = mode(&pool).into_iter().collect();
        let mut reals = service.reals.iter().filter_map(reason);
        lines.extend(reals.by_ref().take(MOST));
        let more = reals.count();
        if more > 0 {
            lines.push(format!("{more} more reals get no new connections"));
        }
        lines
    }
}

/// Returns what follows for a pool from the health of its reals; `None` if nothing does.
fn mode(pool: &Pool) -> Option<String> {
    let count = healthy_of(pool.healthy, pool.able);
    match pool.mode {
        Mode::Normal => None,
        Mode::Ignored => Some(format!("health is ignored: {count}")),
        Mode::WithBackup => Some(format!("backup reals serve too: {count}")),
        Mode::Backup => Some(format!("backup reals serve alone: {count}")),
        Mode::AllDown => Some(format!("no real serves: {count}")),
    }
}

/// Returns the reason why the effective weight of a real is 0.
fn why(real: &Real, state: Option<RealHealth>, view: Option<&HealthView>, pool: &Pool) -> String {
    let by = |health: health::Health| {
        let view = view.filter(|view| view.health == health);
        let check = view.and_then(|view| view.check.as_ref());
        let last = view.and_then(|view| view.last.as_ref());
        let by = check.map_or_else(String::new, |check| format!(" by check {check}"));
        last.map_or_else(|| by.clone(), |last| format!("{by}, {last}"))
    };
    match (real.admin, state) {
        _ if real.weight == 0 => "its weight is 0".to_owned(),
        (Admin::Drain, _) => "the operator drains it".to_owned(),
        (Admin::Disabled, _) => "the operator has disabled it".to_owned(),
        (Admin::Enabled, Some(state)) if state.health == health::Health::Down => {
            format!("it is down{}", by(health::Health::Down))
        }
        (Admin::Enabled, Some(state)) if state.health == health::Health::Unknown && !state.is_assumed_up => {
            format!("its checks have no verdict yet{}", by(health::Health::Unknown))
        }
        (Admin::Enabled, Some(RealHealth { weight_percent: 0, .. })) => {
            "its check asks for the weight 0".to_owned()
        }
        (Admin::Enabled, _) if real.backup => {
            format!("it is a backup real, and {} others are healthy", pool.healthy)
        }
        (Admin::Enabled, _) => "backup reals serve alone".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use lb_model::{
        Forward, Protocol,
        health::{LastResult, ResultCode},
    };

    use super::*;

    fn id() -> ServiceId {
        ServiceId::new(Protocol::Tcp, "192.0.2.1:80".parse().unwrap())
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    /// Returns the lines for reals in these states; the names of all begin with `10.0.0.`.
    fn rotation(states: &[Option<RealHealth>], change: impl FnOnce(&mut Service)) -> Vec<String> {
        let mut service = Service::default();
        service.health.checks = vec!["web".parse().unwrap()];
        let (mut health, mut views) = (Health::new(PathBuf::new()), BTreeMap::new());
        for (last, state) in (1..).zip(states) {
            service.reals.insert(address(last), Real::new(Forward::Dr, 10));
            let Some(state) = state else { continue };
            health.table.reals.insert((id(), address(last)), *state);
            let last_result = LastResult {
                code: ResultCode::L7Status,
                text: "HTTP 500".to_owned(),
                duration_us: 1,
                at_ms: 1,
            };
            let view = HealthView {
                health: state.health,
                check: Some("web".parse().unwrap()),
                last: (state.health == health::Health::Down).then_some(last_result),
                ..HealthView::default()
            };
            views.insert((id(), address(last)), view);
        }
        change(&mut service);
        let hop = |rip: SocketAddr| {
            (rip.ip(), Err(lb_control::neighbours::Unresolved::Unknown { why: "not asked".to_owned() }))
        };
        let next_hops: NextHops = [hop(address(9))].into();
        health.rotation(&id(), &service, &next_hops, &views)
    }

    const UP: Option<RealHealth> = Some(RealHealth::UP);
    const DOWN: Option<RealHealth> = Some(RealHealth { health: health::Health::Down, ..RealHealth::UP });

    #[test]
    fn each_real_without_connections_has_its_reason() {
        let idle = Some(RealHealth { weight_percent: 0, ..RealHealth::UP });
        let lines = rotation(&[UP, DOWN, None, UP, UP, UP, idle, UP], |service| {
            service.reals[3].admin = Admin::Drain;
            service.reals[4].admin = Admin::Disabled;
            service.reals[5].weight = 0;
            service.reals[7].backup = true;
        });
        assert_eq!(
            lines,
            [
                "10.0.0.2:80 gets no new connections: it is down by check web, L7STS HTTP 500",
                "10.0.0.3:80 gets no new connections: its checks have no verdict yet",
                "10.0.0.4:80 gets no new connections: the operator drains it",
                "10.0.0.5:80 gets no new connections: the operator has disabled it",
                "10.0.0.6:80 gets no new connections: its weight is 0",
                "10.0.0.7:80 gets no new connections: its check asks for the weight 0",
                "10.0.0.8:80 gets no new connections: it is a backup real, and 1 others are healthy",
            ]
        );
    }

    #[test]
    fn a_pool_that_is_down_comes_first_and_many_reals_are_counted() {
        let lines = rotation(&[DOWN; 11], |_| {});
        assert_eq!(lines.len(), 1 + MOST + 1);
        assert_eq!(lines[0], "no real serves: 0 of 11 reals are healthy");
        assert_eq!(lines[MOST + 1], "3 more reals get no new connections");
        assert_eq!(rotation(&[UP, UP], |_| {}), Vec::<String>::new());
    }

    #[test]
    fn ignored_health_is_told() {
        let all = |service: &mut Service| service.health.on_all_down = health::OnAllDown::All;
        assert_eq!(rotation(&[DOWN, DOWN], all), ["health is ignored: 0 of 2 reals are healthy"]);
    }
}
