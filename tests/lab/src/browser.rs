// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chromium without a window, driven by its `WebDriver` server (<https://www.w3.org/TR/webdriver2/>).

use std::{fs, process::Command};

use serde_json::{Value, json};

use super::{Host, Process, eventually};

/// Address of the `WebDriver` server, inside the host's namespace.
const SERVER: &str = "127.0.0.1:9515";

/// Options of Chromium: it runs as root, and asks nobody for anything.
const OPTIONS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// Number of characters of a request that a failure shows.
const SHOWN: usize = 400;

/// A browser with one page. Dropping it ends it.
#[must_use]
pub struct Browser<'a> {
    host: &'a Host,
    session: String,
    _server: Process,
}

impl<'a> Browser<'a> {
    /// Starts Chromium on a host, with a new profile.
    #[track_caller]
    pub fn start(host: &'a Host) -> Self {
        let mut command = Command::new("chromedriver");
        let profile = host.path("chromium");
        let (_, port) = SERVER.split_once(':').expect("it has a port");
        command.arg(format!("--port={port}")).env("HOME", host.folder());
        let mut server = host.start("chromedriver", &mut command);
        server.is_ready_when(|| {
            let status = host.sh(&format!("curl --silent --fail http://{SERVER}/status"));
            if status.is_success() { Ok(()) } else { Err(status.to_string()) }
        });
        let mut options: Vec<String> = OPTIONS.map(str::to_owned).into();
        options.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": options, "binary": "/usr/bin/chromium"},
        }}});
        let made = request(host, "POST", "", &wanted);
        let session = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        Self { host, session, _server: server }
    }

    #[track_caller]
    fn ask(&self, path: &str, body: &Value) -> Value {
        request(self.host, "POST", &format!("/{}/{path}", self.session), body)
    }

    /// Opens a page, and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("url", &json!({"url": url}));
    }

    /// Runs the body of a function in the page, and returns its result.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs the body of an asynchronous function in the page, and returns its result.
    #[track_caller]
    pub fn wait(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, (e) => done(String(e)));"
        );
        self.ask("execute/async", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression of the page is true.
    #[track_caller]
    pub fn until(&self, expression: &str) {
        eventually(expression, || {
            if self.run(&format!("return Boolean({expression});")) == json!(true) {
                return Ok(());
            }
            Err(self.run("return document.body.innerText;").to_string())
        });
    }

    /// Runs a command of the `DevTools` protocol.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Sets the size of the window, and the colour scheme that the operator prefers.
    #[track_caller]
    pub fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &feature);
    }

    /// Returns what the page looks like, as a PNG file in base64.
    #[track_caller]
    pub fn screenshot(&self) -> String {
        let made = self.devtools("Page.captureScreenshot", &json!({"format": "png"}));
        made["data"].as_str().unwrap_or_else(|| panic!("no picture: {made}")).to_owned()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Chromium ends with its session; a test that fails shows its own reason.
        let url = format!("http://{SERVER}/session/{}", self.session);
        drop(self.host.exec(["curl", "--silent", "--max-time", "10", "--request", "DELETE", &url]));
    }
}

/// Sends a request of `WebDriver`, and returns the value of the answer.
#[track_caller]
fn request(host: &Host, method: &str, path: &str, body: &Value) -> Value {
    // A script may be longer than a command line.
    let file = host.path("webdriver.json");
    fs::write(&file, body.to_string()).expect("the lab's folder is writable");
    let data = format!("@{}", file.display());
    let url = format!("http://{SERVER}/session{path}");
    let words = ["curl", "--silent", "--request", method, "--header", "Content-Type: application/json"];
    let outcome = host.exec(words.iter().copied().chain(["--data-binary", &data, &url])).succeeds();
    let answer = outcome.json();
    let asked: String = body.to_string().chars().take(SHOWN).collect();
    assert!(answer["value"].get("error").is_none(), "{asked}\n{}", answer["value"]);
    answer["value"].clone()
}
