// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host agent`: keeps this real server as the director's table requires, by asking the director and
//! setting up accordingly.
//!
//! The director's answer for this host's addresses is authoritative: the agent sets up the roles in it, and
//! restores what no role needs any more. While the director cannot be reached, the agent keeps and repairs
//! the present set-up.

mod ask; //       requests to the director, over HTTP
mod moved; //     changes of this host's addresses
mod reconcile; // set-up according to the roles
mod refused; //   VIPs that would cut this host off

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};

use super::{Done, Host, Outcome, Report, arp::Levels, decap::Choice, state::AgentLock};
use crate::{
    api::{roles::Role, token::Token},
    observe::manager,
    privileges,
};
pub use ask::Address;
use ask::{Answer, Ask};

use lb_model::{failure::Failure, text};
use lb_netlink::{NetlinkError, Watch};
use moved::own_addresses;
use refused::Needed;

/// Time for which the director may delay an answer while nothing changes. Then this host is checked again.
const WAIT: Duration = Duration::from_secs(20);
/// Time for which the director may delay an answer while there is a problem on this host.
const WAIT_WHEN_WRONG: Duration = Duration::from_secs(5);
/// Pause after the director was not reached: the first one, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));

/// Options of an agent.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the director's agent API.
    pub director: Address,
    /// File with the token; it is read for each request, so that it can be replaced.
    pub token_file: PathBuf,
    /// ARP settings.
    pub arp: Levels,
    /// Way of decapsulation.
    pub decap: Choice,
    /// Directors whose tunnels the XDP decapsulator accepts; empty for all.
    pub from: BTreeSet<IpAddr>,
    /// Directory for the pins of the XDP decapsulator.
    pub bpffs: PathBuf,
    /// Networks to which VIPs must belong; empty for any.
    pub vips: Vec<IpNet>,
    /// State file of this agent, which lists only its own changes.
    pub state: PathBuf,
}

/// Follows the director until a signal ends the agent. The set-up then stays.
///
/// # Errors
/// If the agent cannot start. Later errors are logged, and the agent retries.
pub async fn run(host: &Host, options: Options, report: Report<'_>) -> Result<(), Failure> {
    super::can_configure_the_network()?;
    Token::read_copy(&options.token_file)?;
    // Mounting a bpffs needs more capabilities than are kept. Without it only the XDP program is unavailable,
    // which is reported when it is needed.
    if let Err(error) = lb_dataplane::decap::prepare(&options.bpffs) {
        tracing::debug!("{error}");
    }
    privileges::keep_only(privileges::AGENT, privileges::NONE)?;
    let _lock = AgentLock::take(&options.state)?;
    let failed = |error: std::io::Error| Failure::failed(format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let state = options.state.display().to_string();
    let watch = Watch::open()?;
    let mut agent =
        Agent { host, watch, options, known: None, peer: None, said: BTreeSet::new(), lost: None };
    manager::ready(&format!("asks the director at {}", agent.options.director));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = agent.follow(report) => {}
    }
    manager::stopping();
    tracing::info!("stopped: what was set up stays; `xvs host restore --state {state}` reverts it");
    Ok(())
}

struct Agent<'a> {
    host: &'a Host,
    watch: Watch,
    options: Options,
    /// Last roles from the director, and their tag.
    known: Option<(Vec<Role>, String)>,
    /// Address of the director's last answer.
    peer: Option<IpAddr>,
    /// Problems that were logged.
    said: BTreeSet<String>,
    /// Reason why the director could not be reached last time.
    lost: Option<String>,
}

impl Agent<'_> {
    async fn follow(&mut self, report: Report<'_>) {
        let mut pause = BACKOFF.0;
        let mut wrong = false;
        loop {
            let wait = match (self.lost.is_some(), wrong) {
                // The first answer of a director that returns must not be delayed.
                (true, _) => Duration::ZERO,
                (false, true) => WAIT_WHEN_WRONG,
                (false, false) => WAIT,
            };
            match self.ask(wait).await {
                Ok((answer, peer)) => {
                    self.peer = Some(peer);
                    if self.lost.take().is_some() || self.known.is_none() {
                        tracing::info!("the director at {} answers", self.options.director);
                    }
                    pause = BACKOFF.0;
                    if let Answer::Roles(roles, tag) = answer {
                        if roles.is_empty() && self.known.is_none() {
                            let addresses = own_addresses(self.host).await.unwrap_or_default();
                            tracing::info!("{}", idle(&addresses));
                        }
                        self.known = Some((roles, tag));
                    }
                }
                Err(failure) => {
                    let before = self.lost.replace(failure.message.clone());
                    if before.is_none_or(|before| before != failure.message) {
                        tracing::warn!("{}; the set-up stays", failure.message);
                        if let Some(hint) = failure.hint {
                            tracing::warn!("hint: {hint}");
                        }
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
            if let Some((roles, _)) = self.known.clone() {
                wrong = !self.reconcile(&roles, report).await;
            }
            manager::alive();
            manager::status(&self.summary(wrong));
        }
    }

    /// Returns the state in one line, for the service manager.
    fn summary(&self, wrong: bool) -> String {
        let roles = self.known.as_ref().map_or(0, |(roles, _)| roles.len());
        let roles = text::count(roles, "role");
        match &self.lost {
            Some(why) => format!("{roles}; {why}"),
            None if wrong => format!("{roles} of {}; there are problems, see the log", self.options.director),
            None => format!("{roles} of {}", self.options.director),
        }
    }

    /// Sends a request, and sends another one if the addresses of this host change before the answer arrives.
    async fn ask(&mut self, wait: Duration) -> Result<(Answer, IpAddr), Failure> {
        loop {
            let addresses = own_addresses(self.host).await?;
            if addresses.is_empty() {
                return Err(Failure::failed("this host has no address by which a director could know it"));
            }
            let token = Token::read_copy(&self.options.token_file)?;
            let tag = self.known.as_ref().map(|(_, tag)| tag.as_str());
            let ask = Ask { addresses: addresses.clone(), token, tag, wait };
            tokio::select! {
                answer = self.options.director.ask(&ask) => return answer,
                () = moved::moved(self.host, &mut self.watch, &addresses) => {}
            }
        }
    }

    /// Sets up the roles. Returns whether there are no problems. Each problem is logged once.
    async fn reconcile(&mut self, roles: &[Role], report: Report<'_>) -> bool {
        let mut wrong = BTreeSet::new();
        let said = &self.said;
        let mut say = |done: Done| match done.outcome {
            Outcome::Already => {}
            Outcome::Changed | Outcome::Restored | Outcome::Planned => report(done),
            Outcome::Warning | Outcome::Skipped => {
                let line = format!("{}: {}", done.item, done.detail);
                if !said.contains(&line) && wrong.insert(line) {
                    report(done);
                }
            }
        };
        let failures = match self.without_refused(roles).await {
            Ok((roles, mut refused)) => {
                refused.extend(reconcile::reconcile(self.host, &roles, &self.options, &mut say).await);
                refused
            }
            // If the check of the VIPs fails, nothing is changed.
            Err(error) => vec![error.into()],
        };
        let all_is_well = failures.is_empty();
        wrong.extend(said.iter().filter(|line| !line.starts_with("error: ")).cloned());
        for failure in failures {
            let line = failure.to_string();
            if !self.said.contains(&line) && !wrong.contains(&line) {
                let detail = failure
                    .hint
                    .map_or(failure.message.clone(), |hint| format!("{}; {hint}", failure.message));
                report(Done::new("set-up", Outcome::Warning, detail));
            }
            wrong.insert(line);
        }
        self.said = wrong;
        all_is_well
    }
    /// Returns the roles whose VIPs this host accepts, and the reasons for the others.
    async fn without_refused(&self, roles: &[Role]) -> Result<(Vec<Role>, Vec<Failure>), NetlinkError> {
        let needed = Needed::by(self.host, self.peer, &self.options.vips).await?;
        let mut refused: BTreeMap<IpAddr, Option<String>> = BTreeMap::new();
        for role in roles {
            if let Entry::Vacant(entry) = refused.entry(role.vip) {
                entry.insert(needed.refusal(self.host, role.vip).await?);
            }
        }
        let taken =
            roles.iter().filter(|role| matches!(refused.get(&role.vip), Some(None))).copied().collect();
        let why = refused.iter().filter_map(|(vip, why)| {
            let failure = Failure::failed(format!("VIP {vip} is refused: {}", why.as_ref()?));
            Some(failure.hint(
                "is it a mistake on the director? `--vips NET` lists the networks from which VIPs are accepted",
            ))
        });
        Ok((taken, why.collect()))
    }
}

/// Returns the log message of an agent whose host is in no service.
fn idle(addresses: &[IpAddr]) -> String {
    /// Number of addresses in the message.
    const NAMED: usize = 4;
    let named: Vec<String> = addresses.iter().take(NAMED).map(IpAddr::to_string).collect();
    let more = addresses.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" or {more} more") };
    format!("no service has {}{more} yet; waiting", named.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_service_says_by_which_addresses_it_is_looked_for() {
        let addresses = |last: std::ops::Range<u8>| -> Vec<IpAddr> {
            last.map(|last| IpAddr::from([192, 0, 2, last])).collect()
        };
        assert_eq!(idle(&addresses(13..14)), "no service has 192.0.2.13 yet; waiting");
        assert_eq!(idle(&addresses(13..15)), "no service has 192.0.2.13 or 192.0.2.14 yet; waiting");
        assert!(idle(&addresses(13..30)).ends_with("or 192.0.2.16 or 13 more yet; waiting"));
    }
}
