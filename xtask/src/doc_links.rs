// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links between the pages of the docs must lead somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{doc_paths::files, workspace};

/// Returns the lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Returns the anchor that forges make of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the anchors of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let numbered = headings.map(|line| {
        let anchor = anchor(line.trim_start_matches('#').trim());
        let count = seen.entry(anchor.clone()).or_default();
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    });
    numbered.collect()
}

/// Returns the targets of the links in a text.
fn links(text: &str) -> Vec<&str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

#[test]
fn anchors_are_those_of_the_forge() {
    let text =
        "# From LVS to xvs\n```\n# no heading\n```\n## Replies of `nat` and `fnat`\n## A\n## A\n## 概念\n";
    let expected = ["a", "a-1", "from-lvs-to-xvs", "replies-of-nat-and-fnat", "概念"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
    assert_eq!(links("[a](b.md#c) `x`](d), [e](https://f)\n```\n[g](h)\n```"), ["b.md#c", "d"]);
}

#[test]
fn links_of_the_docs_lead_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in files(workspace::root()) {
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).expect("a page is text");
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target: PathBuf = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap_or(Path::new("")).join(path)
            };
            let found = target.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor)));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn troubleshooting_leads_to_every_reason_and_every_check_of_the_doctor() {
    let read = |name: &str| fs::read_to_string(workspace::root().join("docs").join(name)).expect("a page");
    let page = read("troubleshooting.md");
    let targets: BTreeSet<&str> = links(&page).into_iter().collect();
    let mut missing = Vec::new();
    for (file, level) in [("reasons.md", "## "), ("doctor.md", "### ")] {
        let text = read(file);
        // Only headings of one lower-case word are names.
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || "-_".contains(c));
        let names: Vec<&str> =
            prose(&text).filter_map(|line| line.strip_prefix(level)).filter(is_name).collect();
        assert!(names.len() > 20, "{file} has {names:?}");
        let links = names.iter().map(|name| format!("{file}#{name}"));
        missing.extend(links.filter(|link| !targets.contains(link.as_str())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
