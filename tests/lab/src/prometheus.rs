// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Prometheus server that scrapes the director.

use std::{fs, process::Command};

use serde_json::Value;

use super::{Director, Process, director::METRICS};

/// Listening address, inside the director's namespace.
const ADDRESS: &str = "127.0.0.1:9090";

/// A running server. Dropping it ends it.
#[must_use]
pub struct Prometheus<'a> {
    director: &'a Director,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    /// Starts it beside the daemon, and waits until it answers.
    #[track_caller]
    pub fn start(director: &'a Director) -> Self {
        Self::start_with_rules(director, "groups: []")
    }

    /// Starts it with a file of rules, which it evaluates each second.
    #[track_caller]
    pub fn start_with_rules(director: &'a Director, rules: &str) -> Self {
        let config = director.path("prometheus.yml");
        let rule_file = director.path("rules.yml");
        fs::write(&rule_file, rules).expect("the lab's folder is writable");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: xvs\n    static_configs: [{{targets: ['{METRICS}']}}]\n",
            rule_file.display()
        );
        fs::write(&config, text).expect("the lab's folder is writable");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", director.path("prometheus").display()));
        command.arg(format!("--web.listen-address={ADDRESS}"));
        let mut process = director.start("prometheus", &mut command);
        process.is_ready_when(|| {
            let ready = director.sh(&format!("curl --silent --fail http://{ADDRESS}/-/ready"));
            if ready.is_success() { Ok(()) } else { Err(ready.to_string()) }
        });
        Self { director, _process: process }
    }

    /// Returns the sum of the counters that an expression selects, `None` while there are none.
    #[track_caller]
    pub fn sum(&self, expression: &str) -> Option<u64> {
        let found = self.query(&format!("sum({expression})"));
        found[0]["value"][1].as_str().map(|value| value.parse().expect("a whole number"))
    }

    /// Returns the samples that an expression selects now, as the API writes them.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Value {
        let url = format!("http://{ADDRESS}/api/v1/query");
        let query = format!("query={expression}");
        let words = ["curl", "--silent", "--get", "--data-urlencode", &query, &url];
        let mut answer = self.director.exec(words).succeeds().json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].take()
    }
}
