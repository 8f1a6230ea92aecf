// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that config files in the documentation are valid.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

use super::{parse, read};

const README: &str = include_str!("../../../../examples/README.md");
const CLI: &str = include_str!("../../../../docs/cli.md");

#[test]
fn each_example_is_valid_and_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut configs = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name == "README.md" || README.contains(&format!("[{name}]({name})")), "{name} is not listed");
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = read(&path).unwrap_or_else(|failure| panic!("{failure}"));
            assert!(!config.director.interfaces.is_empty(), "{name} has no interface");
            assert!(config.desired.services.values().all(|service| !service.reals.is_empty()), "{name}");
            configs += 1;
        }
    }
    let listed = README.lines().filter(|line| line.starts_with("| [") && line.contains(".toml")).count();
    assert_eq!(configs, listed);
}

#[test]
fn the_config_file_of_the_documentation_is_valid() {
    let (_, rest) = CLI.split_once("```toml\n").expect("docs/cli.md has a config file");
    let (text, _) = rest.split_once("```").expect("the block has an end");
    let config = parse(text, Path::new("docs/cli.md")).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((config.desired.services.len(), config.desired.groups.len()), (2, 1));
}
