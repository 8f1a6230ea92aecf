// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of nftables.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::process::Command;

use super::{super::fix, Finding, Matches, Wanted, covers, finding};

/// Returns the output of `nft -a list ruleset`; `None` if nft is not installed. It includes rules of
/// iptables, if that is the variant based on nftables.
pub(super) async fn page() -> Option<String> {
    let output = Command::new("nft").args(["-a", "-n", "list", "ruleset"]).output().await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A rule and its place.
struct Rule<'a> {
    table: &'a str,
    chain: &'a str,
    /// Hook of the chain, if that is a base chain.
    hook: &'a str,
    text: &'a str,
    handle: &'a str,
}

/// Elements of sets and maps, by table and name.
type Sets<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a str>>;

/// Returns every rule on a page, and every named set.
fn each(page: &str) -> (Vec<Rule<'_>>, Sets<'_>) {
    let (mut table, mut chain, mut hook, mut set) = ("", "", "", None);
    let (mut rules, mut sets) = (Vec::new(), Sets::new());
    for line in page.lines().map(str::trim) {
        let (text, handle) = line.split_once(" # handle ").unwrap_or((line, ""));
        let opens = |what| text.strip_prefix(what).and_then(|rest| rest.strip_suffix(" {"));
        if let Some(name) = opens("table ") {
            (table, set) = (name, None);
        } else if let Some(name) = opens("chain ") {
            (chain, hook, set) = (name, "", None);
        } else if let Some(name) = opens("set ").or_else(|| opens("map ")) {
            set = Some(name);
        } else if let Some(name) = set {
            // A line of elements, or properties of the set, which are not addresses.
            let elements: &mut Vec<&str> = sets.entry((table, name)).or_default();
            let items = text.strip_prefix("elements = {").unwrap_or(text).trim_end_matches('}');
            elements.extend(items.split(',').map(str::trim).filter(|item| !item.is_empty()));
        } else if let Some((_, rest)) = text.split_once(" hook ").filter(|_| handle.is_empty()) {
            hook = rest.split(' ').next().unwrap_or_default();
        } else if !handle.is_empty() {
            rules.push(Rule { table, chain, hook, text, handle });
        }
    }
    (rules, sets)
}

/// Returns findings for rules that should match a service's packets.
pub(super) fn check(page: &str, wanted: &Wanted<'_>) -> Vec<Finding> {
    let (rules, sets) = each(page);
    // Packets that the director itself sends to a VIP do pass these hooks.
    let is_passed =
        |rule: &&Rule<'_>| ["output", "postrouting"].contains(&rule.hook) || rule.table.ends_with(fix::OWN);
    let mut findings = Vec::new();
    for Rule { table, chain, text, handle, .. } in rules.iter().filter(|rule| !is_passed(rule)) {
        let (matches, used) = matches(text, table, &sets);
        let Some((vip, about)) = wanted.meant_by(&matches) else { continue };
        // If an element of the set is the VIP alone, removing the element is enough; otherwise the rule must
        // be deleted.
        let own = used.iter().find_map(|name| {
            let elements = sets.get(&(*table, *name))?;
            let own =
                elements.iter().filter(|one| one.split(' ').next().is_some_and(|key| key.parse() == Ok(vip)));
            let own: Vec<_> = own.map(|one| key(one)).collect();
            let covered = elements.iter().filter(|one| one.split(' ').any(|word| covers(word, vip))).count();
            (!own.is_empty() && own.len() == covered).then(|| (*name, own.join(", ")))
        });
        let place = format!("{table} {chain}");
        findings.push(match own {
            Some((name, own)) => {
                let about = format!("{about}, by its set {name}");
                finding(text, &place, &about, format!("nft 'delete element {table} {name} {{ {own} }}'"))
            }
            None => finding(text, &place, &about, format!("nft delete rule {place} handle {handle}")),
        });
    }
    findings
}

/// Returns an element without its counter or timer.
fn key(element: &str) -> &str {
    let ends = [" timeout ", " expires ", " counter ", " comment "];
    let end = ends.iter().filter_map(|word| element.find(word)).min();
    element.get(..end.unwrap_or(element.len())).unwrap_or(element)
}

/// Returns the criteria of a rule, and the sets that it uses.
fn matches<'a>(text: &'a str, table: &'a str, sets: &Sets<'a>) -> (Matches<'a>, Vec<&'a str>) {
    const STOPS: [&str; 7] = ["drop", "reject", "queue", "redirect", "dnat", "tproxy", "masquerade"];
    let mut found = Matches::default();
    let mut used = Vec::new();
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty()).peekable();
    let mut before = "";
    while let Some(word) = words.next() {
        match word {
            // A negation: skip the operand, or everything in its braces.
            "!=" => {
                if words.next() == Some("{") {
                    words.by_ref().find(|word| *word == "}");
                }
            }
            "dport" if words.peek() != Some(&"!=") => {
                // The remaining items of a verdict map block packets.
                found.stops |= words.peek() == Some(&"vmap");
                let ports = operand(&mut words, table, sets, &mut used, &mut found.addresses);
                found.ports = Some((if before == "th" { "" } else { before }, ports));
            }
            "daddr" => found.is_for_destinations = true,
            "iif" | "iifname" if words.peek() != Some(&"!=") => found.interfaces.extend(words.next()),
            word if word.starts_with('@') => {
                let name = word.trim_start_matches('@');
                used.push(name);
                let elements = sets.get(&(table, name)).into_iter().flatten();
                found.addresses.extend(elements.flat_map(|one| one.split(' ')));
            }
            word => {
                found.stops |= STOPS.contains(&word);
                found.addresses.push(word);
            }
        }
        before = word;
    }
    (found, used)
}

/// Returns the ports in a comparison, without those of a verdict map whose verdict does not block.
fn operand<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    table: &'a str,
    sets: &Sets<'a>,
    used: &mut Vec<&'a str>,
    addresses: &mut Vec<&'a str>,
) -> Vec<&'a str> {
    let is_map = words.next_if_eq(&"vmap").is_some();
    let items: Vec<Vec<&str>> = match words.next() {
        Some("{") => {
            // Keys and verdicts alternate, with colons between: "80", ":", "drop".
            let inside: Vec<&str> = words.by_ref().take_while(|word| *word != "}").collect();
            // The item has an address beside the port: `ip daddr . tcp dport { 192.0.2.100 . 80 }`.
            if inside.contains(&".") {
                addresses.extend(inside.iter().filter(|word| **word != "."));
            }
            if is_map { inside.chunks(3).map(<[_]>::to_vec).collect() } else { vec![inside] }
        }
        Some(word) if word.starts_with('@') => {
            let name = word.trim_start_matches('@');
            used.push(name);
            let elements = sets.get(&(table, name)).into_iter().flatten();
            let elements: Vec<Vec<&str>> = elements.map(|one| one.split(' ').collect()).collect();
            // The item has an address beside the port: `ip daddr . tcp dport @services`.
            addresses.extend(elements.iter().flatten());
            elements
        }
        Some(word) => vec![vec![word]],
        None => Vec::new(),
    };
    let harmless =
        |item: &Vec<&str>| is_map && item.iter().any(|word| ["accept", "continue", "return"].contains(word));
    items.into_iter().filter(|item| !harmless(item)).flatten().collect()
}

/// Returns the services for which the director's own packets are translated.
pub(super) fn translated(page: &str) -> Vec<SocketAddr> {
    let target = |rule: &Rule<'_>| {
        let words: Vec<&str> = rule.text.split(' ').collect();
        let behind = |name| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
        let ip = behind("daddr")?.parse().ok()?;
        Some(SocketAddr::new(ip, behind("dport").map_or(Some(0), |port| port.parse().ok())?))
    };
    let (rules, _) = each(page);
    let translates = |rule: &&Rule<'_>| rule.hook == "output" && rule.text.contains(" dnat to ");
    rules.iter().filter(translates).filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use lb_model::{Endpoint, Protocol};

    /// Returns the fixes for rules in a chain `input`, for a TCP service at 192.0.2.100, port 80, and a UDP
    /// service at `2001:db8::100`, port 53.
    fn fixes(inside: &str) -> Vec<String> {
        let page = format!(
            "table inet filter {{ # handle 1\n{inside}\n\tchain input {{ # handle 2\n\t\ttype filter hook input priority 0; policy accept;\n\t}}\n}}"
        );
        let web = Endpoint { protocol: Protocol::Tcp, address: ([192, 0, 2, 100], 80).into() };
        let dns = Endpoint { protocol: Protocol::Udp, address: "[2001:db8::100]:53".parse().unwrap() };
        let wanted = Wanted { endpoints: vec![&web, &dns], interfaces: vec!["eth0"] };
        check(&page, &wanted).into_iter().map(|finding| finding.fix.command).collect()
    }

    #[rstest]
    #[case::by_address("ip daddr 192.0.2.100 drop", true)]
    #[case::of_ipv6("ip6 daddr 2001:db8::100 counter packets 0 bytes 0 drop", true)]
    #[case::another("ip daddr 192.0.2.10 drop", false)]
    #[case::all_but_it("ip daddr != 192.0.2.100 drop", false)]
    #[case::all_but_some("ip daddr != { 192.0.2.99, 192.0.2.100 } tcp dport 80 drop", false)]
    #[case::in_braces("ip daddr { 192.0.2.99, 192.0.2.100 } drop", true)]
    #[case::by_a_map("ip daddr vmap { 192.0.2.99 : accept, 192.0.2.100 : drop }", true)]
    #[case::beside_the_port("ip daddr . tcp dport { 192.0.2.99 . 22, 192.0.2.100 . 80 } drop", true)]
    #[case::others_beside_the_port("ip daddr . tcp dport { 192.0.2.99 . 80 } drop", false)]
    #[case::jumps("ip daddr 192.0.2.0/24 jump others", true)]
    #[case::by_port("tcp dport 80 drop", true)]
    #[case::by_ports("tcp dport { 22, 79-81 } reject with icmp port-unreachable", true)]
    #[case::by_any_protocol("meta l4proto { 6, 17 } th dport 53 drop", true)]
    #[case::by_a_map_of_ports("tcp dport vmap { 22 : accept, 80 : drop }", true)]
    #[case::by_a_map_that_lets_it_pass("tcp dport vmap { 22 : drop, 80 : accept }", false)]
    #[case::of_another_protocol("udp dport 80 drop", false)]
    #[case::another_port("tcp dport 22 drop", false)]
    #[case::lets_it_pass("tcp dport 80 accept", false)]
    #[case::at_another_address("ip daddr 10.0.0.1 tcp dport 80 drop", false)]
    #[case::from_elsewhere("iifname \"eth7\" tcp dport 80 drop", false)]
    #[case::from_there("iifname \"eth0\" tcp dport 80 drop", true)]
    #[case::other_ports("tcp dport != 80 drop", false)]
    #[case::of_nobody("ct state invalid drop", false)]
    fn rules_for_a_service_are_found(#[case] rule: &str, #[case] is_found: bool) {
        let found = fixes(&format!(
            "\tchain early {{ # handle 9\n\t\ttype filter hook prerouting priority -300; policy accept;\n\t\t{rule} # handle 3\n\t}}"
        ));
        let expected = is_found.then(|| "nft delete rule inet filter early handle 3".to_owned());
        assert_eq!(found, Vec::from_iter(expected), "{rule}");
        let leaving = fixes(&format!(
            "\tchain late {{ # handle 9\n\t\ttype filter hook output priority 0; policy accept;\n\t\t{rule} # handle 3\n\t}}"
        ));
        assert!(leaving.is_empty(), "{rule}");
    }

    #[rstest]
    #[case::a_set(
        "set vips { # handle 5\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.99, 192.0.2.100 }\n\t}",
        "ip daddr @vips drop",
        Some("nft 'delete element inet filter s { 192.0.2.100 }'")
    )]
    #[case::over_lines(
        "set vips { # handle 5\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 10.0.0.0/8, 192.0.2.99,\n\t\t\t     192.0.2.0/24 }\n\t}",
        "ip daddr @vips drop",
        Some("nft delete rule inet filter input handle 3")
    )]
    #[case::a_map(
        "map vips { # handle 5\n\t\ttype ipv4_addr : verdict\n\t\telements = { 192.0.2.100 : drop }\n\t}",
        "ip daddr vmap @vips",
        Some("nft 'delete element inet filter s { 192.0.2.100 : drop }'")
    )]
    #[case::address_and_port(
        "set vips { # handle 5\n\t\ttype ipv4_addr . inet_service\n\t\telements = { 192.0.2.100 . 80 timeout 1m expires 50s }\n\t}",
        "ip daddr . tcp dport @vips drop",
        Some("nft 'delete element inet filter s { 192.0.2.100 . 80 }'")
    )]
    #[case::of_others(
        "set vips { # handle 5\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.99 }\n\t}",
        "ip daddr @vips drop",
        None
    )]
    #[case::all_but_these(
        "set vips { # handle 5\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.100 }\n\t}",
        "ip daddr != @vips drop",
        None
    )]
    #[case::ports(
        "set vips { # handle 5\n\t\ttype inet_service\n\t\telements = { 80, 443 }\n\t}",
        "tcp dport @vips drop",
        Some("nft delete rule inet filter input handle 3")
    )]
    fn a_rule_with_a_named_set(#[case] set: &str, #[case] rule: &str, #[case] fix: Option<&str>) {
        let (set, rule) = (set.replace("vips", "s"), rule.replace("vips", "s"));
        let found = fixes(&format!(
            "\t{set}\n\tchain input {{ # handle 2\n\t\ttype filter hook input priority 0; policy accept;\n\t\t{rule} # handle 3\n\t}}"
        ));
        assert_eq!(found, Vec::from_iter(fix.map(str::to_owned)), "{rule}");
    }

    #[test]
    fn the_translation_of_the_directors_own_packets_is_no_fault() {
        let page = "table ip xvs-local { # handle 1\n\tchain output { # handle 2\n\t\ttype nat hook output priority -100; policy accept;\n\
                    \t\tip daddr 192.0.2.100 tcp dport 80 dnat to 10.0.0.11:80 # handle 3\n\t}\n\
                    \tchain leave { # handle 4\n\t\ttype nat hook postrouting priority 100; policy accept;\n\
                    \t\tip saddr 192.0.2.100 ip daddr 10.0.0.11 tcp dport 80 snat to 10.0.0.1 # handle 5\n\t}\n}";
        let web = Endpoint { protocol: Protocol::Tcp, address: ([192, 0, 2, 100], 80).into() };
        assert!(check(page, &Wanted { endpoints: vec![&web], interfaces: Vec::new() }).is_empty());
        assert_eq!(translated(page), [SocketAddr::from(([192, 0, 2, 100], 80))]);
    }
}
