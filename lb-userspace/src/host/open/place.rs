// SPDX-License-Identifier: MIT OR Apache-2.0
//! Identification of xvs's rules in a chain, and of their position: they must precede all others.

use super::Opening;

/// Prefix of the comments of all rules of xvs.
const OURS: &str = "xvs host open";

/// A rule of a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    /// Comment; empty if there is none.
    pub comment: String,
    /// Text or handle by which the rule can be deleted.
    pub name: String,
}

impl Rule {
    /// Returns whether the rule is one of xvs's.
    pub fn is_ours(&self) -> bool {
        self.comment.starts_with(OURS)
    }
}

/// Returns the comment of an opening's rules, which identifies them.
pub(super) fn comment(opening: &Opening) -> String {
    let Opening { protocol, address, tunnel } = opening;
    let tunnel = tunnel.map(|tunnel| format!(" {tunnel}")).unwrap_or_default();
    format!("{OURS} {protocol} {address}{tunnel}")
}

/// Returns whether the chain has `count` rules with that comment, with only rules of xvs before them.
pub(super) fn are_at_top(rules: &[Rule], comment: &str, count: usize) -> bool {
    let found = |rules: &mut dyn Iterator<Item = &Rule>| rules.filter(|rule| rule.comment == comment).count();
    found(&mut rules.iter()) == count && found(&mut rules.iter().take_while(|rule| rule.is_ours())) == count
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
