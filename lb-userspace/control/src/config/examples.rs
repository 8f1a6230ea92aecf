// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that config files in the documentation are valid.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

use lb_model::{check::CheckType, health::ResultCode};

use super::{parse, read};

const README: &str = include_str!("../../../../examples/README.md");
const CLI: &str = include_str!("../../../../docs/cli.md");
const HEALTH: &str = include_str!("../../../../docs/health.md");

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

#[test]
fn the_recipes_of_health_checks_are_valid_and_every_type_and_result_is_described() {
    let mut kinds = Vec::new();
    for block in HEALTH.split("```toml\n").skip(1) {
        let (text, _) = block.split_once("```").expect("the block has an end");
        let config = parse(text, Path::new("docs/health.md")).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(!config.desired.checks.is_empty(), "{text}");
        kinds.extend(config.desired.checks.into_values().map(|check| check.kind));
    }
    for kind in [CheckType::Tcp, CheckType::Http, CheckType::Https, CheckType::Dns, CheckType::Exec] {
        assert!(kinds.contains(&kind), "{kind} has no recipe");
    }
    for kind in CheckType::ALL {
        assert!(HEALTH.contains(&format!("\n| `{kind}` | ")), "{kind}");
    }
    for code in ResultCode::ALL {
        assert!(HEALTH.contains(&format!("\n| `{code}` | ")), "{code}");
    }
}
