// SPDX-License-Identifier: MIT OR Apache-2.0
//! README.zh-CN.md must have the sections, the commands and the links of README.md.

use std::fs;

use crate::workspace;

/// The parts of a page that do not depend on its language.
#[derive(Debug, Default, Eq, PartialEq)]
struct Skeleton {
    /// Level of each heading.
    headings: Vec<usize>,
    /// Lines of the code blocks.
    code: Vec<String>,
    /// Targets of the links, except those to the other language.
    links: Vec<String>,
    /// Number of cells in each row of a table.
    rows: Vec<usize>,
}

/// Returns the skeleton of a page.
fn skeleton(text: &str) -> Skeleton {
    let mut skeleton = Skeleton::default();
    let mut code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
            skeleton.code.push("```".to_owned());
        } else if code {
            skeleton.code.push(line.to_owned());
        } else {
            if line.starts_with('#') {
                skeleton.headings.push(line.chars().take_while(|c| *c == '#').count());
            }
            if line.starts_with('|') {
                skeleton.rows.push(line.matches('|').count());
            }
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            skeleton.links.extend(targets.filter(|target| !target.starts_with("README")).map(str::to_owned));
        }
    }
    // Sentences of another language name the same pages in another order.
    skeleton.links.sort();
    skeleton
}

#[test]
fn both_readmes_have_the_same_commands() {
    let read = |name| fs::read_to_string(workspace::root().join(name)).expect("the page exists");
    let (english, chinese) = (skeleton(&read("README.md")), skeleton(&read("README.zh-CN.md")));
    assert!(!english.code.is_empty() && !english.links.is_empty());
    assert_eq!(english, chinese, "README.md (left) and README.zh-CN.md");
}
