// SPDX-License-Identifier: MIT OR Apache-2.0
//! Test files that Debian's keepalived 2.2.7 read beside IPVS, and the resulting rules.

use std::{collections::BTreeSet, fs, path::Path};

use super::import;
use crate::ipvsadm::tests::{memory::saved, table::listed};

#[test]
fn files_come_to_what_keepalived_makes_of_them_but_for_the_differences_that_are_listed() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keepalived"));
    let mut listed = listed("keepalived");
    let (mut wrong, mut count) = (Vec::new(), 0);
    let names: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    for path in names {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let expected = fs::read_to_string(path.with_extension("ipvsadm")).unwrap();
        let imported = import(&text, &path, None);
        // A sorry server has no part in the rules until too few reals are healthy.
        let mut desired = imported.desired.clone();
        let inhibited = text.contains("sorry_server_inhibit");
        for service in desired.services.values_mut() {
            service.reals.retain(|_, real| !real.backup || inhibited);
            service.reals.values_mut().filter(|real| real.backup).for_each(|real| real.weight = 0);
        }
        let rules = saved(&desired);
        // xvs's rules have thresholds, which ipvsadm omits.
        let rules: Vec<&str> = rules.lines().map(|line| line.split(" -x ").next().unwrap()).collect();
        let agrees = rules == expected.lines().collect::<Vec<_>>();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if agrees == listed.remove(&name) {
            let left = &imported.left;
            wrong.push(format!("{name}: agrees: {agrees}\n{}\nnot\n{expected}\n{left:#?}", rules.join("\n")));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n\n"));
    assert_eq!(count, 55);
    assert!(listed.is_empty(), "no file has these names: {listed:?}");
}
