// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selection of the real of a new connection: the schedulers of IPVS (`ip_vs_lc.c` and so on), each by a sort
//! or a search.

use std::cmp::Ordering;

use lb_common::reason::Reason;

use super::{
    Chance, Model, Tuple, hash,
    state::Load,
    world::{Real, Scheduler, Service},
};

/// A real that takes connections.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    weight: u64,
    active: u64,
    inactive: u64,
}

impl Candidate {
    /// Returns the load in units of an inactive connection, of which an active one has 256.
    const fn overhead(&self) -> u64 {
        256 * self.active + self.inactive
    }

    /// Compares the loads relative to the weights.
    fn by_load(&self, other: &Self) -> Ordering {
        (self.overhead() * other.weight).cmp(&(other.overhead() * self.weight))
    }

    /// Compares the expected delays of one more connection.
    fn by_delay(&self, other: &Self) -> Ordering {
        ((self.active + 1) * other.weight).cmp(&((other.active + 1) * self.weight))
    }
}

impl Model {
    /// Returns the real for a new connection.
    pub fn schedule(&mut self, service: &Service, tuple: &Tuple, chance: &mut Chance) -> Result<u32, Reason> {
        if service.table.is_empty() {
            return Err(Reason::NoReal);
        }
        let id = match service.scheduler {
            Scheduler::Mh | Scheduler::Sh | Scheduler::Dh => return self.by_hash(service, tuple),
            Scheduler::Rotate => self.next_turn(service),
            Scheduler::Twos => self.of_two(service, chance),
            Scheduler::Lblc => self.by_locality(service, tuple, false),
            Scheduler::Lblcr => self.by_locality(service, tuple, true),
            scheduler => {
                let pool = self.pool(service);
                least_loaded(scheduler, &pool)
            }
        };
        id.ok_or(Reason::NoReal)
    }

    /// Returns whether a real is overloaded: above its upper threshold, or not yet below the lower one again.
    fn is_overloaded(&mut self, id: u32, real: &Real) -> bool {
        let (upper, lower) = real.thresholds;
        if upper == 0 {
            return false;
        }
        let load = self.state.loads.entry(id).or_default();
        let connections = count(load.active) + count(load.inactive);
        let (upper, lower) = (u64::from(upper), u64::from(lower));
        let below = if lower == 0 { 4 * connections < 3 * upper } else { connections < lower };
        load.overloaded = connections >= upper || (load.overloaded && !below);
        load.overloaded
    }

    /// Returns a real of the service, if it accepts new connections.
    fn usable(&mut self, service: &Service, id: u32) -> Option<Candidate> {
        let real = self.world.reals.get(&id)?.clone();
        if real.service != service.id || real.weight == 0 || real.leaving || self.is_overloaded(id, &real) {
            return None;
        }
        let Load { active, inactive, .. } = self.state.loads.get(&id).copied().unwrap_or_default();
        Some(Candidate { id, weight: real.weight.into(), active: count(active), inactive: count(inactive) })
    }

    /// Returns every real that accepts new connections, in the table's order.
    fn pool(&mut self, service: &Service) -> Vec<Candidate> {
        service.table.iter().filter_map(|slot| self.usable(service, slot.now)).collect()
    }

    /// Selects by hash, for `mh`, `sh` and `dh`. If the hashed real is overloaded, the next one serves, or
    /// none.
    fn by_hash(&mut self, service: &Service, tuple: &Tuple) -> Result<u32, Reason> {
        let place = service.place(tuple, self.world.seed);
        let id = service.table[place].now;
        let real = self.world.reals.get(&id).cloned().ok_or(Reason::NoReal)?;
        if !self.is_overloaded(id, &real) {
            return Ok(id);
        }
        if !service.fallback {
            return Err(Reason::Overloaded);
        }
        let next = service.table[place..].iter().chain(&service.table[..place]);
        let found = next.into_iter().find_map(|slot| self.usable(service, slot.now));
        found.map(|real| real.id).ok_or(Reason::NoReal)
    }

    /// Selects by turns, for `rr` and `wrr`, and skips reals that accept no connections.
    fn next_turn(&mut self, service: &Service) -> Option<u32> {
        (0..service.table.len()).find_map(|_| {
            let turn = self.state.turns.entry(service.id).or_default();
            let place = *turn % service.table.len() as u64;
            *turn += 1;
            self.usable(service, service.table[place as usize].now).map(|real| real.id)
        })
    }

    /// Selects the less loaded of two drawn reals, for `twos`; the first of equals; any other if neither
    /// accepts connections.
    fn of_two(&mut self, service: &Service, chance: &mut Chance) -> Option<u32> {
        let mut draw = || {
            let number = chance.random.pop_front().unwrap_or(0);
            let id = service.table[hash::place(number, service.table.len())].now;
            self.usable(service, id)
        };
        let (one, other) = (draw(), draw());
        match (one, other) {
            (Some(one), Some(other)) if other.by_load(&one) == Ordering::Less => Some(other.id),
            (Some(one), _) => Some(one.id),
            (None, Some(other)) => Some(other.id),
            (None, None) => {
                service.table.iter().find_map(|slot| self.usable(service, slot.now)).map(|real| real.id)
            }
        }
    }

    /// Selects by destination, for `lblc` and `lblcr`: a destination stays on its real, or its set of reals,
    /// while they have capacity or no other real has.
    fn by_locality(&mut self, service: &Service, tuple: &Tuple, replicates: bool) -> Option<u32> {
        let key = (service.id, tuple.destination.ip());
        let mut set = self.state.localities.get(&key).copied().unwrap_or_default();
        let members: Vec<Option<Candidate>> = set.iter().map(|&id| self.usable(service, id)).collect();
        let best = members.iter().flatten().copied().min_by(Candidate::by_load);
        if let Some(best) = best {
            let full = best.active > best.weight;
            let idle = |model: &mut Self| {
                let mut pool = service.table.iter().filter_map(|slot| model.usable(service, slot.now));
                pool.any(|real| 2 * real.active < real.weight)
            };
            if !(full && idle(self)) {
                return Some(best.id);
            }
        }
        let pool = self.pool(service);
        let id = least_loaded(Scheduler::Wlc, &pool)?;
        let place = match (replicates, members.iter().position(Option::is_none)) {
            (false, _) => 0,
            (true, Some(free)) => free,
            // A full set gives up its most loaded real, the first of equals.
            (true, None) => (0..members.len()).rev().max_by(|&a, &b| {
                let [a, b] = [a, b].map(|at| members[at].expect("the set is full"));
                a.by_load(&b)
            })?,
        };
        if !(replicates && set.contains(&id)) {
            set[place] = id;
        }
        self.state.localities.insert(key, set);
        Some(id)
    }
}

/// Returns the best of a pool by the rule of a scheduler; the first of equals.
fn least_loaded(scheduler: Scheduler, pool: &[Candidate]) -> Option<u32> {
    let heaviest = |pool: Vec<&Candidate>| pool.into_iter().rev().max_by_key(|real| real.weight).copied();
    let by_delay = || pool.iter().min_by(|a, b| a.by_delay(b)).copied();
    let best = match scheduler {
        Scheduler::Lc => pool.iter().min_by_key(|real| real.overhead()).copied(),
        Scheduler::Sed => by_delay(),
        Scheduler::Nq => pool.iter().find(|real| real.active == 0).copied().or_else(by_delay),
        Scheduler::Fo => heaviest(pool.iter().collect()),
        Scheduler::Ovf => heaviest(pool.iter().filter(|real| real.active <= real.weight).collect()),
        _ => pool.iter().min_by(|a, b| a.by_load(b)).copied(),
    };
    best.map(|real| real.id)
}

/// Returns a count, or 0 while it is below zero for a moment.
fn count(connections: i32) -> u64 {
    connections.max(0).cast_unsigned().into()
}
