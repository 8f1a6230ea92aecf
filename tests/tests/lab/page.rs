// SPDX-License-Identifier: MIT OR Apache-2.0
//! The status page in Chromium, against a real daemon.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use lb_tests::{
    artifacts::{self, is_full},
    lab::{Browser, Director, Lab, Method, Process, RIPS, Server, VIP},
};
use serde_json::{Value, json};

/// Address of the page, inside the director's namespace.
const PAGE: &str = "127.0.0.1:9472";
const SECRET: &str = "the-lab-has-no-secrets";
/// Timing of the checks: a failure is found within a second.
const CHECK: &str = "tcp --interval 200ms --timeout 150ms --fall 2 --rise 1";

/// Starts the daemon with the page, and a token that may change everything.
fn start(director: &Director) -> Process {
    let tokens = director.path("tokens");
    fs::write(&tokens, format!("lab write {SECRET}\n")).expect("the lab's folder is writable");
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).expect("our own file");
    director.start_daemon_with(&format!("--http {PAGE} --tokens {}", tokens.display()))
}

/// Returns an expression: the state of the real at `rip`, as the page shows it.
fn state_of(rip: std::net::Ipv4Addr) -> String {
    format!(
        "[...document.querySelectorAll('tr.real')].find((row) => row.querySelector('.c-name').textContent\
         .startsWith('{rip}:'))?.querySelector('.state .word').textContent"
    )
}

/// Reports what the page must not do: requests to others, violations of the policy, errors.
const WATCH: &str = "
    window.faults = [];
    addEventListener('error', (event) => faults.push(`error: ${event.message}`));
    addEventListener('unhandledrejection', (event) => faults.push(`rejected: ${event.reason}`));
    document.addEventListener('securitypolicyviolation', (event) => faults.push(`policy: ${event.blockedURI}`));
    window.longs = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) longs.push(Math.round(entry.duration));
    }).observe({ type: 'longtask', buffered: true });
";

/// Returns the violations that axe-core finds: rules, and the elements.
fn axe(browser: &Browser<'_>) -> Value {
    let tags = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";
    browser.wait(&format!(
        "const found = await axe.run(document, {{ runOnly: {tags} }});
         return found.violations.map((one) => [one.id, one.nodes.map((node) => node.html + node.failureSummary)]);"
    ))
}

#[test]
fn the_page_shows_reals_and_changes_them_with_a_token_only() {
    let lab = Lab::new();
    let mut nginx = lab.reals.each_ref().map(|real| real.start_nginx(&[Method::Nat.real_port()]));
    let director = &lab.director;
    let _daemon = start(director);
    director.serve("tcp", Method::Nat.port(), "rr", Method::Nat, Method::Nat.real_port());
    let service = Method::Nat.service();
    director.xvs(&format!("check add web {CHECK}")).succeeds();
    director.xvs(&format!("service edit tcp {service} --check web --hold-down 0s")).succeeds();

    let browser = Browser::start(director);
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({"source": WATCH}));
    browser.look(1440, 900, "light");
    browser.open(&format!("http://{PAGE}/"));
    browser.until(&format!("document.querySelector('tr.service a')?.textContent === 'tcp {service}'"));
    for rip in RIPS {
        browser.until(&format!("{} === 'up'", state_of(rip)));
    }

    // Rates of real traffic.
    lab.client.requests(service, 100).is_complete(100);
    browser
        .until("document.querySelector('tr.service .c-plot polyline').getAttribute('points').includes(' ')");
    browser.until("document.querySelector('.total .value').textContent !== '–p/s'");

    // A real that dies shows down, and a screen reader hears of it.
    nginx[2].stop();
    browser.until(&format!("{} === 'down'", state_of(RIPS[2])));
    browser.until("document.getElementById('announcement').textContent.includes('is down')");
    browser.until("document.getElementById('changes').textContent.includes('10.0.0.13')");

    // Without a token, nothing can be changed, neither by a button nor by a request of the page's own origin.
    let buttons = "[...document.querySelectorAll('td button')].filter((one) => one.checkVisibility()).length";
    assert_eq!(browser.run(&format!("return {buttons};")), 0);
    let drain = format!(
        "{{change: 'edit-real', service: {{protocol: 'tcp', address: '{service}'}}, real: '{}', \
         options: {{state: 'drain'}}}}",
        RIPS[0]
    );
    let refused = browser.wait(&format!(
        "return (await fetch('/v1/changes', {{method: 'POST', body: JSON.stringify({drain}), \
         headers: {{'Content-Type': 'application/json'}}}})).status;"
    ));
    assert_eq!(refused, 401);

    // A wrong token is refused in words, the right one allows to drain after a confirmation.
    let sign_in = |secret: &str| {
        browser.run(&format!(
            "if (!document.getElementById('token-dialog').open) document.getElementById('sign-in').click();
             document.getElementById('token').value = '{secret}'; document.getElementById('token-ok').click();"
        ));
    };
    sign_in("this-is-a-wrong-token");
    browser.until("document.getElementById('token-error').textContent.includes('not one of this director')");
    sign_in(SECRET);
    browser.until("!document.getElementById('token-dialog').open");
    browser.until(&format!("{buttons} === 3"));
    browser.run("document.querySelector('td button').click();");
    browser.run("document.querySelector('[data-act=drain]').click();");
    browser.until("document.getElementById('real-question').textContent.startsWith('Drain 10.0.0.11')");
    assert_eq!(browser.run(&format!("return {};", state_of(RIPS[0]))), "up", "it asks first");
    browser.run("document.getElementById('real-yes').click();");
    browser.until("document.getElementById('real-result').className === 'alert done'");
    browser.until(&format!("['drained', 'draining'].includes({})", state_of(RIPS[0])));
    let stats = director.xvs("--output json stats").succeeds().json();
    assert_eq!(stats["services"][0]["reals"][0]["admin"], "drain", "{stats}");

    is_faultless(&browser);

    // Accessibility, in the dialog and without it, in both schemes, and at both widths.
    let script = artifacts::axe();
    let source = fs::read_to_string(&script).expect("cargo xtask setup has fetched it");
    browser.devtools("Runtime.evaluate", &json!({"expression": source}));
    for (width, height) in [(360, 800), (1440, 900)] {
        for scheme in ["light", "dark"] {
            browser.look(width, height, scheme);
            let violations = axe(&browser);
            assert_eq!(violations, json!([]), "{width} px, {scheme}, with a dialog");
            let close = "document.querySelector('#real-dialog [data-close]').click();";
            browser.run(close);
            let violations = axe(&browser);
            assert_eq!(violations, json!([]), "{width} px, {scheme}");
            let wide = "return document.documentElement.scrollWidth - innerWidth;";
            assert!(
                browser.run(wide).as_i64().is_some_and(|more| more <= 0),
                "{width} px: it scrolls sideways"
            );
            keep(&browser, &format!("page-{width}-{scheme}"));
            browser.run("document.querySelector('td button').click();");
        }
    }

    // The filter is in the address, and survives a reload.
    browser.run("document.querySelector('#real-dialog [data-close]').click();");
    browser.open(&format!("http://{PAGE}/#filter=down"));
    browser.run("location.reload();");
    browser.until("document.querySelectorAll('tr.real').length === 1");
    assert_eq!(browser.run("return document.getElementById('filter').value;"), "down");

    is_faultless(&browser);
}

/// Asserts that the page asked nobody but its daemon, and broke neither its policy nor itself.
fn is_faultless(browser: &Browser<'_>) {
    let origins = "return [...new Set(performance.getEntriesByType('resource').map((one) => new URL(one.name).origin))];";
    assert_eq!(browser.run(origins), json!([format!("http://{PAGE}")]));
    assert_eq!(browser.run("return faults;"), json!([]));
}

/// Keeps a screenshot for a person, if `XVS_SHOTS` names a folder.
fn keep(browser: &Browser<'_>, name: &str) {
    if let Some(folder) = std::env::var_os("XVS_SHOTS").map(PathBuf::from) {
        fs::write(folder.join(format!("{name}.png.base64")), browser.screenshot()).expect("it is writable");
    }
}

/// Number of reals of the large page.
const MANY: u16 = 1000;
/// Longest task of the page that is allowed, in milliseconds.
const BUDGET: u64 = 50;
/// Number of reals in the quick test.
const FEW: u16 = 30;
/// Longest task that the quick test allows, in milliseconds.
const LOOSE: u64 = 500;

#[test]
fn a_thousand_reals_do_not_block_the_page() {
    // Beside other tests, time says little: the small page only shows that its tasks are not endless.
    if is_full() { large(MANY, BUDGET) } else { large(FEW, LOOSE) }
}

/// Checks that no task of the page is long, while all reals have traffic.
fn large(reals: u16, budget: u64) {
    let lab = Lab::new();
    let director = &lab.director;
    let _daemon = start(director);
    let ports = 7001..=7000 + reals;
    let _servers = lab.reals.each_ref().map(|real| Server::greeter_at_all(real, ports.clone()));
    let mut config = format!("[[service]]\nprotocol = \"tcp\"\naddress = \"{VIP}:80\"\nscheduler = \"rr\"\n");
    for port in ports {
        let rip = RIPS[usize::from(port) % RIPS.len()];
        let real = format!("[[service.real]]\naddress = \"{rip}:{port}\"\nforward = \"nat\"\n");
        config.push_str(&real);
    }
    let file = director.path("large.toml");
    fs::write(&file, config).expect("the lab's folder is writable");
    director.xvs(&format!("apply {}", file.display())).succeeds();
    director.wait_for_next_hops();

    let browser = Browser::start(director);
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({"source": WATCH}));
    browser.look(1440, 900, "light");
    let mut longest = Vec::new();
    // Another program may take the processor while a task of the page runs: one quiet run of several will do.
    for attempt in 1..=5_u16 {
        browser.open(&format!("http://{PAGE}/?{attempt}"));
        browser.until("document.querySelectorAll('tr.real').length >= 30");
        lab.client.spread(std::net::SocketAddrV4::new(VIP, 80), 400).is_complete(400);
        browser.run("scrollTo(0, 1e6);");
        browser.until(&format!("document.querySelectorAll('tr.real').length >= {}", reals.min(100)));
        browser.run("location.hash = '#sort=pin';");
        browser.until("document.querySelector('[aria-sort]').dataset.id === 'pin'");
        lab.client.spread(std::net::SocketAddrV4::new(VIP, 80), 400).is_complete(400);
        browser.run("location.hash = '#filter=:7001';");
        browser.until("document.querySelectorAll('tr.real').length === 1");
        let longs = browser.run("return longs;");
        let worst = longs.as_array().into_iter().flatten().filter_map(Value::as_u64).max().unwrap_or(0);
        longest.push(worst);
        if worst <= budget {
            return;
        }
    }
    panic!("each time, a task of the page took longer than {budget} ms: {longest:?}");
}
