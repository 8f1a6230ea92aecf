// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chains and rules of nftables.

use super::{ChainName, Filter, FirewallError, Rule, run};

/// A base chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Chain {
    name: ChainName,
    hook: String,
    /// A rule or the policy of the chain may drop packets.
    drops: bool,
}

/// Returns every base chain that may drop packets to or from this host, of the families that `wanted` selects.
pub(super) async fn filters(wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<Vec<Filter>, FirewallError> {
    let page = match nft("list ruleset").await {
        Ok(page) => page,
        // Without nft, nothing here filters with nftables.
        Err(FirewallError::Missing { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut filters = Vec::new();
    let concerned = |chain: &Chain| chain.drops && wanted(&chain.name.family);
    for Chain { name, hook, .. } in chains(&page).into_iter().filter(concerned) {
        let rules = rules(&name).await?;
        let leaving = ["output", "postrouting", "egress"].contains(&hook.as_str());
        filters.push(Filter { name, leaving, rules });
    }
    Ok(filters)
}

/// Returns the rules of a chain.
pub(super) async fn rules(chain: &ChainName) -> Result<Vec<Rule>, FirewallError> {
    Ok(rules_of(&nft(&format!("list chain {chain}")).await?))
}

/// Returns the rules on a page of `nft list chain` with their handles, in order.
fn rules_of(page: &str) -> Vec<Rule> {
    let of_rule = |line: &str| {
        let (text, handle) = line.rsplit_once("# handle ")?;
        let comment = text.split_once("comment \"").and_then(|(_, rest)| rest.split_once('"'));
        let is_rule = !text.trim_end().ends_with('{');
        let comment = comment.map_or(String::new(), |(comment, _)| comment.to_owned());
        is_rule.then(|| Rule { comment, name: handle.trim().to_owned() })
    };
    page.lines().filter_map(of_rule).collect()
}

/// Returns the base chains that filter on a page of `nft list ruleset`.
fn chains(page: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let (mut family, mut table, mut open) = (String::new(), String::new(), None::<Chain>);
    for line in page.lines().map(|line| line.split_once(" # handle ").map_or(line, |(line, _)| line).trim()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", of, name, "{"] => (family, table) = ((*of).to_owned(), (*name).to_owned()),
            ["chain", name, "{"] => {
                let chain = (*name).to_owned();
                let name = ChainName { family: family.clone(), table: table.clone(), chain };
                open = Some(Chain { name, ..Chain::default() });
            }
            ["}"] => chains.extend(open.take().filter(|chain| !chain.hook.is_empty())),
            ["type", "filter", "hook", hook, ..] => {
                if let Some(chain) = &mut open {
                    (*hook).clone_into(&mut chain.hook);
                    chain.drops = line.contains("policy drop");
                }
            }
            // The target of a jump may drop packets.
            words => {
                let ends = ["drop", "reject", "jump", "goto", "vmap"];
                if let Some(chain) = &mut open
                    && words.iter().any(|word| ends.contains(word))
                {
                    chain.drops = true;
                }
            }
        }
    }
    chains.retain(|chain| chain.hook != "forward");
    chains
}

async fn nft(line: &str) -> Result<String, FirewallError> {
    run("nft", &["--handle", "--numeric", line].map(str::to_owned)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "table inet filter { # handle 1\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\
        \t\ttcp dport 22 accept\n\t}\n\tchain forward {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n\tchain other {\n\t\tdrop\n\t}\n}\n\
        table ip6 raw {\n\tchain early {\n\t\ttype filter hook prerouting priority -300; policy accept;\n\t\tip6 saddr fd00::/8 drop\n\t}\n\
        \tchain quiet {\n\t\ttype filter hook input priority 0; policy accept;\n\t}\n}\n";

    #[test]
    fn chains_that_drop_are_found() {
        let found: Vec<(String, bool)> =
            chains(PAGE).into_iter().map(|chain| (chain.name.to_string(), chain.drops)).collect();
        let expected = [("inet filter input", true), ("ip6 raw early", true), ("ip6 raw quiet", false)];
        assert_eq!(found, expected.map(|(name, drops)| (name.to_owned(), drops)));
    }

    #[test]
    fn rules_of_a_chain_are_told_apart() {
        let page = "table inet f { # handle 1\n\tchain in { # handle 2\n\t\ttype filter hook input priority 0; policy drop;\n\
            \t\tip daddr 192.0.2.100 tcp dport 80 accept comment \"xvs host open tcp 192.0.2.100:80\" # handle 9\n\
            \t\ttcp dport 22 accept # handle 4\n\t}\n}\n";
        let rule = |comment: &str, name: &str| Rule { comment: comment.to_owned(), name: name.to_owned() };
        assert_eq!(rules_of(page), [rule("xvs host open tcp 192.0.2.100:80", "9"), rule("", "4")]);
    }
}
