// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chains of this host's firewalls, nftables and the legacy iptables, and xvs's rules in them.
//!
//! A packet must be accepted by every base chain that it passes, by a rule before those that drop it. So xvs
//! inserts its rules at the top of a chain.
#![forbid(unsafe_code)]

mod iptables; // the legacy iptables
mod nft; //      nftables

use std::{fmt, io, process::Output};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{Done, Outcome};

/// Prefix of the comments of all rules of xvs.
pub const OURS: &str = "xvs host open";

/// Reason why a firewall's program failed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The program is not installed.
    #[error("{program} is not installed")]
    Missing {
        /// Name of the program.
        program: String,
    },
    /// The program cannot be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// Name of the program.
        program: String,
        /// Error of the system.
        error: io::Error,
    },
    /// The program reported an error.
    #[error("`{line}` failed: {message}")]
    Refused {
        /// Command line.
        line: String,
        /// Message of the program.
        message: String,
    },
}

impl FirewallError {
    /// Returns whether nft reported that there is no such chain.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("No such file or directory"))
    }
}

/// Name of a chain. It is displayed as nft names it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChainName {
    /// Family of the chain in nftables, or name of the program: `iptables-legacy`.
    pub family: String,
    /// Table of the chain.
    pub table: String,
    /// Name within the table.
    pub chain: String,
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain } = self;
        write!(f, "{family} {table} {chain}")
    }
}

/// A rule of a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Comment; empty if there is none.
    pub comment: String,
    /// Text or handle by which the rule can be deleted.
    pub name: String,
}

impl Rule {
    /// Returns whether the rule is one of xvs's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.comment.starts_with(OURS)
    }
}

/// A chain that may drop packets, with its rules in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// Name of the chain.
    pub name: ChainName,
    /// Packets that this host sends pass the chain.
    pub leaving: bool,
    /// Rules, first the one at the top.
    pub rules: Vec<Rule>,
}

/// Returns every chain that may drop packets to or from this host, first those of the legacy iptables.
/// `wanted` selects families of nftables (`inet`) and programs (`ip6tables`).
pub async fn filters(wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<Vec<Filter>, FirewallError> {
    let mut filters = iptables::filters(wanted).await?;
    filters.extend(nft::filters(wanted).await?);
    Ok(filters)
}

impl ChainName {
    /// Returns whether the chain is one of the legacy iptables.
    #[must_use]
    pub fn is_of_iptables(&self) -> bool {
        iptables::is_program(&self.family)
    }

    /// Inserts a rule that accepts packets at the top of the chain.
    pub async fn insert(&self, matches: &str, comment: &str) -> Result<(), FirewallError> {
        self.run(&self.insert_words(matches, comment)).await
    }

    /// Deletes a rule.
    pub async fn delete(&self, rule: &Rule) -> Result<(), FirewallError> {
        self.run(&self.delete_words(rule)).await
    }

    /// Returns the command of [`ChainName::insert`].
    #[must_use]
    pub fn insert_words(&self, matches: &str, comment: &str) -> Vec<String> {
        if self.is_of_iptables() {
            return iptables::insert(self, matches, comment);
        }
        vec!["nft".to_owned(), format!("insert rule {self} {matches} accept comment \"{comment}\"")]
    }

    /// Returns the command of [`ChainName::delete`].
    #[must_use]
    pub fn delete_words(&self, rule: &Rule) -> Vec<String> {
        if self.is_of_iptables() {
            return iptables::delete(self, rule);
        }
        vec!["nft".to_owned(), format!("delete rule {self} handle {}", rule.name)]
    }

    /// Returns the rules of the chain.
    ///
    /// # Errors
    /// If they cannot be listed, because there is no such chain for instance.
    pub async fn rules(&self) -> Result<Vec<Rule>, FirewallError> {
        if self.is_of_iptables() { iptables::rules(self).await } else { nft::rules(self).await }
    }

    /// Removes the rules of xvs from the chain.
    pub(super) async fn close(&self) -> Result<Done, FirewallError> {
        let Ok(rules) = self.rules().await else {
            return Ok(Done::new(self.to_string(), Outcome::Restored, "is gone"));
        };
        for rule in rules.iter().filter(|rule| rule.is_ours()) {
            self.delete(rule).await?;
        }
        Ok(Done::new(self.to_string(), Outcome::Restored, "without rules of xvs"))
    }

    /// Returns a command line that does the same as [`ChainName::close`].
    #[must_use]
    pub fn command_to_close(&self) -> String {
        let Self { family, table, chain } = self;
        if self.is_of_iptables() {
            let select = format!("/--comment \"{OURS} /s/^-A {chain} /-D {chain} /p");
            return format!("{family}-save -t {table} | sed -n '{select}' | xargs -rL1 {family} -t {table}");
        }
        let handles = format!("s/.* comment \"{OURS} .*# handle //p");
        format!("nft -a list chain {self} | sed -n '{handles}' | xargs -rn1 nft delete rule {self} handle")
    }

    async fn run(&self, words: &[String]) -> Result<(), FirewallError> {
        run(&words[0], &words[1..]).await.map(drop)
    }
}

/// Returns whether the chain has `count` rules with that comment, with only rules of xvs before them.
#[must_use]
pub fn are_at_top(rules: &[Rule], comment: &str, count: usize) -> bool {
    let found = |rules: &mut dyn Iterator<Item = &Rule>| rules.filter(|rule| rule.comment == comment).count();
    found(&mut rules.iter()) == count && found(&mut rules.iter().take_while(|rule| rule.is_ours())) == count
}

/// Runs a firewall's program, and returns its output.
async fn run(program: &str, words: &[String]) -> Result<String, FirewallError> {
    let output = Command::new(program).args(words).output().await;
    let Output { status, stdout, stderr } = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FirewallError::Missing { program: program.to_owned() },
        _ => FirewallError::Start { program: program.to_owned(), error },
    })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&stderr).lines().next().unwrap_or_default().to_owned();
    Err(FirewallError::Refused { line: format!("{program} {}", words.join(" ")), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_of_xvs_may_come_before() {
        let rules = |comments: &[&str]| -> Vec<Rule> {
            comments.iter().map(|one| Rule { comment: (*one).to_owned(), name: String::new() }).collect()
        };
        let (own, other) = ("xvs host open tcp 192.0.2.100:80", "xvs host open tcp 192.0.2.100:443");
        for (found, expected) in [
            (rules(&[own, own, ""]), true),
            (rules(&[other, own, other, own]), true),
            (rules(&[own, "", own]), false),
            (rules(&["", own, own]), false),
            (rules(&[own, own, own]), false),
            (rules(&[own]), false),
            (rules(&[other, ""]), false),
        ] {
            assert_eq!(are_at_top(&found, own, 2), expected, "{found:?}");
        }
    }
}
