// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host open`: lets a service's packets pass this host's firewall, nftables or iptables, whatever its
//! other rules are. `restore` removes the rules that are inserted for that.
#![forbid(unsafe_code)]

mod rules; // matches of the packets

use std::net::SocketAddr;

use super::{
    Host, HostError, Outcome, Report,
    apply::Apply,
    can_configure_the_network,
    firewall::{self, Filter, are_at_top},
    plan::{DryRun, Plan, Record, Step, run},
    state::{Change, Place},
};
use lb_model::failure::Failure;
use lb_model::{Protocol, Tunnel};
use rules::{comment, concerns, matches};

/// Packets that should pass.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Protocol of the service.
    pub protocol: Protocol,
    /// Destination address of the packets on this host, and port; 0: every port.
    pub address: SocketAddr,
    /// Encapsulation of the packets when they arrive.
    pub tunnel: Option<Tunnel>,
}

/// Inserts rules at the top of every chain that filters, and records them in a state file. Existing rules stay,
/// or move to the top if others came before them.
///
/// # Errors
/// If a firewall's program fails; rules that were inserted stay, and `restore` removes them.
pub async fn open(host: &Host, opening: &Opening, place: &Place, report: Report<'_>) -> Result<(), Failure> {
    can_configure_the_network()?;
    let mut state = place.open()?;
    let plan = plan(opening, &filters(opening).await?);
    let done = run(&plan, &mut Apply { host, state: &mut state }, report).await;
    done.map_err(|stopped| stopped.error.into())
}

/// Reports what [`open`] would do. Changes nothing, not even the state file, but needs privileges to list the
/// rules.
///
/// # Errors
/// If a firewall's program fails.
pub async fn dry_run(opening: &Opening, report: Report<'_>) -> Result<(), Failure> {
    can_configure_the_network()?;
    let plan = plan(opening, &filters(opening).await?);
    run(&plan, &mut DryRun, report).await.map_err(|stopped| stopped.error.into())
}

async fn filters(opening: &Opening) -> Result<Vec<Filter>, HostError> {
    Ok(firewall::filters(&|family| concerns(opening, family)).await?)
}

/// Returns the steps that put the rules of an opening at the top of each of `filters`.
fn plan(opening: &Opening, filters: &[Filter]) -> Plan {
    let mut plan = Plan::default();
    if filters.is_empty() {
        plan.note("firewall", Outcome::Already, "no chain here drops anything");
    }
    let comment = comment(opening);
    for filter in filters {
        let (chain, matches) = (&filter.name, matches(opening, filter));
        if matches.is_empty() {
            continue;
        }
        // Existing rules are recorded too: the file in which they were recorded may be lost.
        plan.record(Record::Found(Change::Rules(chain.clone())));
        if are_at_top(&filter.rules, &comment, matches.len()) {
            plan.note(chain.to_string(), Outcome::Already, "its rules are at the top");
            continue;
        }
        let old = filter.rules.iter().filter(|rule| rule.comment == comment);
        let old = old.map(|rule| Step::Delete { chain: chain.clone(), rule: rule.clone() });
        let new = matches.into_iter().map(|matches| Step::Insert {
            chain: chain.clone(),
            matches,
            comment: comment.clone(),
        });
        // iptables deletes the first equal rule, which would be the new one. With nftables, packets pass
        // meanwhile.
        if chain.is_of_iptables() {
            old.chain(new).for_each(|step| plan.step(step));
        } else {
            new.chain(old).for_each(|step| plan.step(step));
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::firewall::{ChainName, Rule};

    #[test]
    fn rules_move_to_the_top_in_the_order_that_each_program_needs() {
        let opening = Opening {
            protocol: Protocol::Tcp,
            address: SocketAddr::from(([192, 0, 2, 100], 80)),
            tunnel: None,
        };
        let rule = |comment: &str, name: &str| Rule { comment: comment.to_owned(), name: name.to_owned() };
        let own = comment(&opening);
        let filter = |family: &str, rules: &[Rule]| {
            let [family, table, chain] = [family, "filter", "input"].map(str::to_owned);
            Filter { name: ChainName { family, table, chain }, leaving: false, rules: rules.to_vec() }
        };
        let words = |filter: Filter| -> Vec<&'static str> {
            let plan = plan(&opening, &[filter]);
            let word = |step: &Step| if matches!(step, Step::Delete { .. }) { "delete" } else { "insert" };
            plan.steps().map(word).collect()
        };
        let low = [rule("", "1"), rule(&own, "2"), rule(&own, "3")];
        assert_eq!(words(filter("inet", &low)), ["insert", "insert", "delete", "delete"]);
        assert_eq!(words(filter("iptables-legacy", &low)), ["delete", "delete", "insert", "insert"]);
        assert!(words(filter("inet", &low[1..])).is_empty());
        assert!(words(filter("ip6", &low)).is_empty(), "of the other version");
    }
}
