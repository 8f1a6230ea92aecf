// SPDX-License-Identifier: MIT OR Apache-2.0
//! The alert rules and the dashboard of contrib/, with a real Prometheus.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lb_tests::lab::{Method, Prometheus, RIPS, Stage, eventually};
use serde_json::Value;

/// Returns a path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).expect("it is in the repository")
}

/// Returns the names of the alerts.
fn alerts(rules: &str) -> BTreeSet<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn each_alert_has_a_section_in_the_docs_and_cases_that_promtool_passes() {
    let (rules, cases, docs) = (
        read("contrib/prometheus/xvs.rules.yml"),
        read("contrib/prometheus/xvs.test.yml"),
        read("docs/alerts.md"),
    );
    let names = alerts(&rules);
    assert!(names.len() >= 15, "{names:?}");
    let described: BTreeSet<&str> = docs.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(names, described, "rules (left) and docs/alerts.md");
    for name in names {
        for case in ["fires", "is quiet"] {
            assert!(cases.contains(&format!("- name: {name} {case}\n")), "no case in which {name} {case}");
        }
    }
    for words in [["check", "rules", "xvs.rules.yml"], ["test", "rules", "xvs.test.yml"]] {
        let mut promtool = Command::new("promtool");
        let output = promtool.args(words).current_dir(repository("contrib/prometheus")).output();
        let output = output.expect("promtool comes with prometheus");
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {words:?}: {printed}");
    }
}

/// Returns the expressions of a dashboard, with its variables replaced.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("a dashboard has panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let fill = |expression: &str| {
        let filled = ["instance", "service", "real"]
            .into_iter()
            .fold(expression.replace("$job", "xvs"), |text, name| text.replace(&format!("${name}"), ".*"));
        filled.replace("$__rate_interval", "4s")
    };
    targets.map(|target| fill(target["expr"].as_str().expect("a target has an expression"))).collect()
}

#[test]
fn every_query_of_the_dashboard_has_samples_and_a_dead_real_fires_an_alert() {
    let stage = Stage::with_daemon_options("--doctor-every 1s");
    let mut nginx = stage.start_web_servers();
    let director = &stage.lab.director;
    director.xvs("check add web tcp --interval 200ms --timeout 200ms").succeeds();
    stage.serve_all_methods("tcp", "mh");
    let service = Method::Dr.service();
    director.xvs(&format!("service edit tcp {service} --check web")).succeeds();
    // A service without reals refuses, which is a reason of its own.
    director.xvs(&format!("service add tcp {}:81", service.ip())).succeeds();
    // As in production, with shorter times.
    let rules =
        read("contrib/prometheus/xvs.rules.yml").replace("for: 1m", "for: 1s").replace("for: 30s", "for: 1s");
    let prometheus = Prometheus::start_with_rules(director, &rules);

    let dashboard: Value = serde_json::from_str(&read("contrib/grafana/xvs.json")).expect("it is JSON");
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 40, "{expressions:?}");
    let mut missing: Vec<&String> = expressions.iter().collect();
    eventually("every query has samples", || {
        stage.lab.client.requests(service, 5).is_complete(5);
        stage.lab.client.sh(&format!("curl --silent --max-time 1 http://{}:81/", service.ip()));
        missing.retain(|expression| prometheus.query(expression).as_array().is_none_or(Vec::is_empty));
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:#?}")) }
    });

    let down = format!("ALERTS{{alertname=\"XvsRealDown\",alertstate=\"firing\",service=\"{service}\"}}");
    assert_eq!(prometheus.query(&down), Value::Array(Vec::new()));
    drop(nginx.remove(0));
    eventually("the alert fires for the dead real, and for no other", || {
        let found = prometheus.query(&down);
        let reals: Vec<&Value> =
            found.as_array().into_iter().flatten().map(|one| &one["metric"]["real"]).collect();
        let dead = format!("{}:{}", RIPS[0], service.port());
        if reals == [&Value::String(dead)] { Ok(()) } else { Err(found.to_string()) }
    });
}
