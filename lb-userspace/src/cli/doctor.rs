// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs doctor`: problems, and commands that fix them.
#![forbid(unsafe_code)]

use clap::Args;

use super::ui::Ui;
use crate::api::client::Api;
use lb_model::failure::Failure;
use lb_model::finding::{DIRECTOR, FindingView};

/// Find problems, and print the commands that fix them
///
/// Checks the director and probes every real of every service. Changes nothing. Exit code 0 if nothing is
/// wrong, 1 if something is.
#[derive(Args, Debug)]
pub struct DoctorArgs {}

/// Prints the findings.
///
/// # Errors
/// If there are findings, or the daemon does not answer.
pub async fn doctor(api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let findings: Vec<FindingView> = api.get("/v1/doctor").await?;
    ui.show(&findings, |findings| page(findings))?;
    match findings.len() {
        0 => Ok(()),
        wrong => Err(Failure::failed(wrong_in_all(wrong))),
    }
}

fn wrong_in_all(number: usize) -> String {
    format!("{} wrong", if number == 1 { "1 thing is".to_owned() } else { format!("{number} things are") })
}

/// Returns a summary line, then the findings by the machine on which they are fixed.
fn page(findings: &[FindingView]) -> String {
    if findings.is_empty() {
        return "nothing is wrong".to_owned();
    }
    let mut places: Vec<(&str, Vec<&FindingView>)> = Vec::new();
    for finding in findings {
        match places.iter_mut().find(|(place, _)| *place == finding.place) {
            Some((_, there)) => there.push(finding),
            None => places.push((&finding.place, vec![finding])),
        }
    }
    let numbers: Vec<String> =
        places.iter().map(|(place, there)| format!("{} on {}", there.len(), named(place))).collect();
    let mut lines = vec![format!("{}: {}", wrong_in_all(findings.len()), numbers.join(", "))];
    for (place, there) in &places {
        lines.push(String::new());
        lines.push(format!("on {}:", named(place)));
        lines.extend(alike(there).into_iter().flat_map(|group| paragraph(&group)));
    }
    lines.join("\n")
}

fn named(place: &str) -> String {
    if place == DIRECTOR { "the director".to_owned() } else { place.to_owned() }
}

/// Groups findings of one machine by check and fix. Fixes that set a host up for one VIP each count as one
/// fix.
fn alike<'a>(there: &[&'a FindingView]) -> Vec<Vec<&'a FindingView>> {
    let mut groups: Vec<Vec<&FindingView>> = Vec::new();
    for finding in there {
        let key = |one: &FindingView| (one.check.clone(), without_vips(&one.fix));
        match groups.iter_mut().find(|group| key(group[0]) == key(finding)) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
}

/// Returns a set-up command without its VIPs; any other command as it is.
fn without_vips(fix: &str) -> String {
    let mut words = fix.split(' ').peekable();
    if !is_one_setup(fix) {
        return fix.to_owned();
    }
    let mut left = Vec::new();
    while let Some(word) = words.next() {
        if word == "--vip" {
            words.next();
        } else {
            left.push(word);
        }
    }
    left.join(" ")
}

fn is_one_setup(fix: &str) -> bool {
    fix.starts_with("xvs host setup ") && !fix.contains("&&")
}

/// Returns the command that fixes a whole group.
fn fix(group: &[&FindingView]) -> String {
    let first = &group[0].fix;
    if !is_one_setup(first) {
        return first.clone();
    }
    let mut vips: Vec<&str> = Vec::new();
    for finding in group {
        let words: Vec<&str> = finding.fix.split(' ').collect();
        for pair in words.windows(2).filter(|pair| pair[0] == "--vip") {
            if !vips.contains(&pair[1]) {
                vips.push(pair[1]);
            }
        }
    }
    let vips = vips.join(" --vip ");
    let rest = without_vips(first);
    format!("xvs host setup --vip {vips}{}", rest.trim_start_matches("xvs host setup"))
}

/// Returns the first finding of a group, the subjects of the others, and the fix.
fn paragraph(group: &[&FindingView]) -> Vec<String> {
    let mut lines = vec![format!("  {}", group[0].summary())];
    if let [_, others @ ..] = group
        && !others.is_empty()
    {
        let about: Vec<String> = others.iter().filter_map(|one| one.about()).collect();
        lines.push(format!("        the same of {}", about.join(", ")));
    }
    lines.push(format!("        fix: {}", fix(group)));
    lines
}

/// Returns one line for all findings of a check on a machine.
pub(super) fn short(findings: &[FindingView]) -> Vec<String> {
    let mut groups: Vec<(&FindingView, usize)> = Vec::new();
    for finding in findings {
        let same =
            |(one, _): &&mut (&FindingView, usize)| one.check == finding.check && one.place == finding.place;
        match groups.iter_mut().find(same) {
            Some((_, number)) => *number += 1,
            None => groups.push((finding, 1)),
        }
    }
    let line = |(finding, number): (&FindingView, usize)| match number - 1 {
        0 => finding.summary(),
        more => format!("{} (and {more} more on {})", finding.summary(), named(&finding.place)),
    };
    groups.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_model::finding::Severity;

    fn finding(check: &str, service: &str, place: &str, fix: &str) -> FindingView {
        FindingView {
            check: check.to_owned(),
            service: Some(service.to_owned()),
            real: (place != DIRECTOR).then(|| place.to_owned()),
            severity: Severity::Error,
            cause: "because".to_owned(),
            place: place.to_owned(),
            fix: fix.to_owned(),
        }
    }

    #[test]
    fn findings_are_grouped_by_machine_and_set_up_once() {
        let setup = |vip: &str| format!("xvs host setup --vip {vip} --forward dr --rip 10.0.0.11");
        let findings = [
            finding("dr-blackhole", "tcp 192.0.2.100:80", "10.0.0.11", &setup("192.0.2.100")),
            finding("no-real", "tcp 192.0.2.102:80", "director", "xvs x"),
            finding("dr-blackhole", "tcp 192.0.2.101:80", "10.0.0.11", &setup("192.0.2.101")),
        ];
        assert_eq!(
            page(&findings),
            "3 things are wrong: 2 on 10.0.0.11, 1 on the director\n\n\
             on 10.0.0.11:\n  WRONG dr-blackhole tcp 192.0.2.100:80 -> 10.0.0.11: because\n        \
             the same of tcp 192.0.2.101:80 -> 10.0.0.11\n        \
             fix: xvs host setup --vip 192.0.2.100 --vip 192.0.2.101 --forward dr --rip 10.0.0.11\n\n\
             on the director:\n  WRONG no-real tcp 192.0.2.102:80: because\n        fix: xvs x"
        );
        assert_eq!(page(&[]), "nothing is wrong");
        assert_eq!(short(&findings).len(), 2);
        assert!(short(&findings)[0].ends_with("(and 1 more on 10.0.0.11)"));
    }

    #[test]
    fn other_commands_are_not_put_together() {
        let one = "xvs host setup --vip 192.0.2.100 --forward dr && xvs host open tcp 192.0.2.100:80";
        let other = "xvs host setup --vip 192.0.2.101 --forward dr && xvs host open tcp 192.0.2.101:80";
        let findings = [
            finding("dr-blackhole", "a", "10.0.0.11", one),
            finding("dr-blackhole", "b", "10.0.0.11", other),
        ];
        let page = page(&findings);
        assert!(page.contains(&format!("fix: {one}")) && page.contains(&format!("fix: {other}")), "{page}");
    }
}
