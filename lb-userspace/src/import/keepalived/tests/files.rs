// SPDX-License-Identifier: MIT OR Apache-2.0
//! Includes, and rules about whole files.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{import, of};
use lb_control::config;

const SERVER: &str = "virtual_server 10.1.0.1 80 {\nreal_server 10.0.0.2 80 {\n}\n}\n";

#[rstest::rstest]
#[case::plain("include conf.d/a.conf", &["a"])]
#[case::star("include conf.d/*.conf", &["a", "b"])]
#[case::in_a_folder("include con*/a.conf", &["a"])]
#[case::one_letter("include conf.d/?.conf", &["a", "b"])]
#[case::class("include conf.d/[b-z].conf", &["b"])]
#[case::not_in_the_class("include conf.d/[\\!b].conf", &["a"])]
#[case::alternatives("include conf.d/{b,a}.conf", &["b", "a"])]
#[case::nested_alternatives("include {conf.d/{a,x},nowhere/y}.conf", &["a"])]
#[case::must_be_there("includer conf.d/a.conf", &["a"])]
#[case::all_must_be_there("includea conf.d/b.conf", &["b"])]
#[case::nowhere("include nowhere.conf", &[])]
#[case::executable("include conf.d/run.sh", &[])]
#[case::a_folder("include conf.d", &[])]
#[case::not_a_word("included conf.d/a.conf", &[])]
fn files_include_others(#[case] line: &str, #[case] expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("conf.d");
    fs::create_dir(&inner).unwrap();
    for (name, number) in [("a.conf", 1), ("b.conf", 2), ("run.sh", 3)] {
        // A comment in another encoding than UTF-8.
        let mut text = b"! \xd6\xd0\xce\xc4\n".to_vec();
        text.extend(format!("real_server 10.0.0.{number} 80 {{\nweight {number}\n}}\n").bytes());
        fs::write(inner.join(name), text).unwrap();
    }
    fs::set_permissions(inner.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let main = folder.path().join("keepalived.conf");
    let imported = import(&format!("virtual_server 10.1.0.1 80 {{\n{line}\n}}\n"), &main, None);
    let reals = imported.desired.services.values().flat_map(|service| service.reals.values());
    let found: Vec<&str> = reals.map(|real| if real.weight == 1 { "a" } else { "b" }).collect();
    assert_eq!(found, expected, "{:#?}", imported.left);
    assert_eq!(imported.left.is_empty(), !expected.is_empty(), "{:#?}", imported.left);
}

#[test]
fn lines_of_an_included_file_are_named_by_it_and_paths_begin_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/a.conf"), "include b.conf\n").unwrap();
    fs::write(folder.path().join("d/b.conf"), format!("\nbad\n{SERVER}")).unwrap();
    let imported = import("include d/a.conf\n", &folder.path().join("keepalived.conf"), None);
    assert_eq!(imported.desired.services.len(), 1);
    let left: Vec<String> = imported.left.iter().map(ToString::to_string).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains("d/b.conf:2: bad: "), "{left:?}");
}

#[test]
fn files_that_include_themselves_end() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("keepalived.conf");
    let text = format!("include keepalived.conf\n{SERVER}");
    fs::write(&main, &text).unwrap();
    let imported = import(&text, &main, None);
    assert_eq!(imported.desired.services.len(), 1);
    assert!(imported.left.iter().any(|left| left.why.contains("too deeply")), "{:#?}", imported.left);
}

#[test]
fn vrrp_goes_on_keeping_the_vips() {
    let imported = of(&format!("vrrp_instance V {{\nvirtual_ipaddress {{\n10.1.0.1\n}}\n}}\n{SERVER}"));
    let config = config::parse(&imported.config(), Path::new("xvs.toml")).unwrap();
    assert_eq!(config.director.manage_vips, Some(false));
    assert_eq!(
        config::parse(&of(SERVER).config(), Path::new("xvs.toml")).unwrap().director.manage_vips,
        None
    );
}

#[test]
fn timeouts_are_carried_over() {
    let imported = of(&format!("global_defs {{\nlvs_timeouts tcp 7200 tcpfin 0 udp 60\n}}\n{SERVER}"));
    let timeouts = imported.timeouts;
    assert_eq!((timeouts.tcp, timeouts.tcp_fin, timeouts.udp), (Some(7200), None, Some(60)));
    let wrong = of(&format!("global_defs {{\nlvs_timeouts tcp 7200 udp 9999999\n}}\n{SERVER}"));
    assert_eq!((wrong.timeouts.tcp, wrong.timeouts.udp), (Some(7200), None));
    assert!(wrong.left.iter().any(|left| left.place.line == 2 && left.why.contains("udp 9999999")));
}

#[test]
fn many_services_get_tables_that_hold_them() {
    let imported = of(
        "virtual_server_group G {\n10.1.0.0/22 80\n}\nvirtual_server group G {\nreal_server 10.0.0.2 80 {\n}\n}\n",
    );
    let config = config::parse(&imported.config(), Path::new("xvs.toml")).unwrap();
    // 10.1.0.0 to 10.1.3.255.
    assert_eq!(config.desired.services.len(), 1024);
    assert!(config.director.limits().services >= 1024, "{}", imported.config());
}

/// Tests missing values that prevent the start of keepalived, so that there is no result to imitate.
#[rstest::rstest]
#[case("weight", 3)]
#[case("lvs_method", 3)]
#[case("HTTP_GET {\nconnect_timeout\n}", 4)]
fn what_keepalived_does_not_start_with_is_refused(#[case] line: &str, #[case] at: usize) {
    let imported =
        of(&format!("virtual_server 10.1.0.1 80 {{\nreal_server 10.0.0.2 80 {{\n{line}\n}}\n}}\n"));
    let refused = imported.refused.unwrap();
    assert_eq!(refused.place.line, at);
    assert!(imported.desired.services.is_empty() && refused.why.contains("a value is missing"), "{refused}");
}
