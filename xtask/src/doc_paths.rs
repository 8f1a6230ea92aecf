// SPDX-License-Identifier: MIT OR Apache-2.0
//! Source files that the docs name must exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::workspace;

/// Folders that are not part of the repository.
const OTHERS: [&str; 2] = ["target", ".git"];

/// Returns all files below a folder whose names end in `.rs` or `.md`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !OTHERS.iter().any(|other| path.ends_with(other)) {
                found.extend(files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            found.push(path);
        }
    }
    found
}

/// Returns the names of source files between backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_source = |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let is_path = move |name: &&str| is_source(name) && !name.contains([' ', '*', '<']);
    text.split('`').skip(1).step_by(2).filter(is_path)
}

#[test]
fn only_names_between_backticks_are_paths() {
    let text =
        "`control/plan.rs` orders, `xvs run` starts, main.rs is not marked, `select/*.rs` is a pattern";
    assert_eq!(named(text).collect::<Vec<_>>(), ["control/plan.rs"]);
}

#[test]
fn source_files_that_the_docs_name_exist() {
    let files = files(workspace::root());
    // Docs may name a file by the end of its path.
    let ends: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|file| {
            let parts: Vec<_> = file.iter().collect();
            (1..=parts.len())
                .map(move |length| parts[parts.len() - length..].iter().collect())
                .collect::<Vec<_>>()
        })
        .collect();
    let mut missing = Vec::new();
    for page in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).unwrap();
        let unknown = named(&text).filter(|name| !ends.contains(Path::new(name)));
        missing.extend(unknown.map(|name| format!("{}: {name}", page.display())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
