// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules of the legacy iptables, which nftables does not show; or of any iptables, if nft is not installed.

use tokio::process::Command;

use super::{Finding, Matches, Wanted, finding};

/// Commands that list and change rules, and the files in which the kernel lists existing tables.
const OLD: [(&str, &str); 2] =
    [("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")];

/// Returns the output of `iptables-save` and its variants. Listing would load kernel modules, so commands
/// only run if a table exists.
pub(super) async fn pages(has_nft: bool) -> Vec<(&'static str, String)> {
    let mut pages = Vec::new();
    for (program, names) in OLD {
        // `thread-self`, because a namespace belongs to a thread.
        let tables = std::fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
        if !tables.trim().is_empty() {
            // With only one variant installed, it has the plain name.
            let plain = if program.starts_with("ip6") { "ip6tables" } else { "iptables" };
            let page = match save(program).await {
                Some(page) => Some((program, page)),
                None => save(plain).await.map(|page| (plain, page)),
            };
            pages.extend(page);
        }
    }
    if !has_nft && pages.is_empty() {
        for program in ["iptables", "ip6tables"] {
            pages.extend(save(program).await.map(|page| (program, page)));
        }
    }
    pages
}

async fn save(program: &str) -> Option<String> {
    let output = Command::new(format!("{program}-save")).output().await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns findings for rules on a page that should match a service's packets.
pub(super) fn check(program: &str, page: &str, wanted: &Wanted<'_>) -> Vec<Finding> {
    let mut table = "";
    let mut findings = Vec::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let Some(rule) = line.strip_prefix("-A ") else { continue };
        let chain = rule.split(' ').next().unwrap_or_default();
        // Packets that the director itself sends to a VIP do pass these chains.
        if ["OUTPUT", "POSTROUTING"].contains(&chain) {
            continue;
        }
        if let Some((_, about)) = wanted.meant_by(&matches(rule)) {
            let fix = format!("{program} -t {table} -D {rule}");
            findings.push(finding(rule, &format!("{program} {table}"), &about, fix));
        }
    }
    findings
}

/// Returns the criteria of a rule in the syntax of iptables-save.
fn matches(rule: &str) -> Matches<'_> {
    const STOPS: [&str; 7] = ["DROP", "REJECT", "DNAT", "REDIRECT", "TPROXY", "NFQUEUE", "QUEUE"];
    let mut found = Matches::default();
    let (mut protocol, mut ports, mut negated) = ("", None, false);
    let mut words = rule.split(' ');
    while let Some(word) = words.next() {
        match word {
            "-d" | "--dst-range" => {
                found.is_for_destinations = true;
                found.addresses.extend(words.next().filter(|_| !negated));
            }
            "-s" | "--src-range" | "--to-destination" => {
                found.addresses.extend(words.next().filter(|_| !negated));
            }
            "-p" if !negated => protocol = words.next().unwrap_or_default(),
            "-i" if !negated => found.interfaces.extend(words.next()),
            "--dport" | "--dports" | "--destination-ports" if !negated => {
                ports = words.next().map(|list| list.split(',').collect());
            }
            "-j" | "-g" => found.stops = words.next().is_some_and(|target| STOPS.contains(&target)),
            _ => {}
        }
        negated = word == "!";
    }
    found.ports = ports.map(|ports| (protocol, ports));
    found
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use lb_model::{Endpoint, Protocol};

    #[rstest]
    #[case::by_address("INPUT -d 192.0.2.100/32 -j DROP", true)]
    #[case::by_network("FORWARD -d 192.0.2.0/24 -p tcp -m tcp --dport 443 -j ACCEPT", true)]
    #[case::by_range("INPUT -m iprange --dst-range 192.0.2.90-192.0.2.110 -j DROP", true)]
    #[case::all_but_it("INPUT ! -d 192.0.2.100/32 -p tcp -m tcp --dport 80 -j DROP", false)]
    #[case::by_port("INPUT -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable", true)]
    #[case::by_ports(
        "PREROUTING -p tcp -m multiport --dports 22,70:90 -j DNAT --to-destination 10.0.0.5",
        true
    )]
    #[case::lets_it_pass("INPUT -p tcp -m tcp --dport 80 -j ACCEPT", false)]
    #[case::of_another_protocol("INPUT -p udp -m udp --dport 80 -j DROP", false)]
    #[case::from_elsewhere("INPUT -i eth7 -p tcp -m tcp --dport 80 -j DROP", false)]
    #[case::leaving("OUTPUT -d 192.0.2.100/32 -j DROP", false)]
    #[case::of_nobody("INPUT -m conntrack --ctstate INVALID -j DROP", false)]
    fn rules_for_a_service_are_found(#[case] rule: &str, #[case] is_found: bool) {
        let page = format!("# Generated\n*filter\n:INPUT ACCEPT [0:0]\n-A {rule}\nCOMMIT\n");
        let web = Endpoint { protocol: Protocol::Tcp, address: ([192, 0, 2, 100], 80).into() };
        let wanted = Wanted { endpoints: vec![&web], interfaces: vec!["eth0"] };
        let found: Vec<String> =
            check("iptables-legacy", &page, &wanted).into_iter().map(|finding| finding.fix.command).collect();
        let expected = is_found.then(|| format!("iptables-legacy -t filter -D {rule}"));
        assert_eq!(found, Vec::from_iter(expected));
    }
}
