// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs host` in random orders, killed at random moments: in the end, restore reverts all changes.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lb_tests::{
    artifacts::is_full,
    lab::{Lab, Real, VIP, VIP6, eventually},
};

/// Returns the number of random orders of commands to try.
fn orders() -> u32 {
    if is_full() { 100 } else { 40 }
}

/// A second VIP of each version.
const OTHERS: [&str; 2] = ["192.0.2.101", "2001:db8::101"];

/// The configuration of a host.
struct Scene {
    /// A VIP that is added by hand now and then.
    vip: String,
    /// Options for VIPs and method, the usual ones last.
    targets: Vec<String>,
}

#[test]
fn random_orders_with_kills_leave_everything_as_it_was_after_restore() {
    run_orders(&Scene {
        vip: format!("{VIP}/32"),
        targets: vec![
            format!("--vip {VIP} --forward tun --decap xdp"),
            format!("--vip {} --vip {VIP6}", OTHERS[0]),
            format!("--vip {VIP} --vip {VIP6}"),
        ],
    });
}

#[test]
fn random_orders_with_kills_leave_everything_as_it_was_for_ipv6_by_dr_and_tun() {
    run_orders(&Scene {
        vip: format!("{VIP6}/128"),
        targets: vec![
            format!("--vip {VIP} --vip {VIP6} --forward tun"),
            format!("--vip {} --forward tun --decap xdp", OTHERS[1]),
            format!("--vip {VIP6} --vip {}", OTHERS[1]),
            format!("--vip {VIP6} --forward tun"),
            format!("--vip {VIP6}"),
        ],
    });
}

fn run_orders(scene: &Scene) {
    let mut random = Random::new();
    eprintln!("XVS_SEED={}", random.0);
    let lab = Lab::new();
    let [real, ..] = &lab.reals;
    let etc = real.path("etc");
    fs::create_dir(&etc).expect("the lab's folder is writable");

    let mut longest = how_long(real, scene, &etc);
    let (mut killed, mut ended) = (0, 0);
    for order in 0..orders() {
        random.settings(real);
        let by_hand = random.one_of(4);
        if by_hand {
            let scope = random.pick(&["global", "host"]);
            real.ip(&format!("address add {} dev lo scope {scope}", scene.vip));
        }
        let before = everything(real, &etc);

        let mut done = Vec::new();
        for _ in 0..=random.below(4) {
            let line = random.line(scene, &etc);
            let limit = (!random.one_of(4)).then(|| random.moment(longest));
            let was_killed = run(real, &line, limit);
            *if was_killed { &mut killed } else { &mut ended } += 1;
            // The machine may be faster or slower than during the measurement: half of the kills must come in
            // time.
            if limit.is_some() {
                longest = longest.mul_f64(if was_killed { 1.05 } else { 0.95 });
            }
            done.push(format!("{line}{}", if was_killed { " (killed)" } else { "" }));
        }
        let restored = real.xvs_host("restore").succeeds();

        // The kernel detaches a program a moment after its link is gone.
        eventually(&format!("order {order} is undone:\n{}\n{restored}", done.join("\n")), || {
            difference(&before, &everything(real, &etc))
        });
        if by_hand {
            real.ip(&format!("address delete {} dev lo", scene.vip));
        }
    }
    eprintln!("{killed} commands were killed, {ended} came to their end");
    assert!(killed > orders() / 2 && ended > orders() / 2, "no test of much: {killed} killed, {ended} ended");
}

/// Runs `xvs host` with a SIGKILL after `limit`. Returns whether that came before its end.
fn run(real: &Real, line: &str, limit: Option<Duration>) -> bool {
    let mut command = real.xvs_host_command(line);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = real.run(|| command.spawn()).expect("xvs is built");
    if let Some(limit) = limit {
        // This does not wait for a condition: the moment of the kill varies.
        thread::sleep(limit);
        child.kill().expect("a child of ours");
    }
    child.wait().expect("a child of ours").code().is_none()
}

/// Returns the duration of the longest of the commands.
fn how_long(real: &Real, scene: &Scene, etc: &Path) -> Duration {
    let start = Instant::now();
    let target = scene.targets.last().expect("there is one");
    real.xvs_host(&format!("setup {target} --interface eth0 --persist --etc {}", etc.display())).succeeds();
    let longest = start.elapsed();
    real.xvs_host("restore").succeeds();
    longest
}

/// Returns every setting of both IP versions, every address, route, rule and link with its program, and the
/// files in `etc`.
fn everything(real: &Real, etc: &Path) -> BTreeMap<String, String> {
    let mut all: BTreeMap<_, _> = real.run(|| {
        let names = ["all", "default", "lo", "eth0"];
        let folders = ["/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"].map(Path::new);
        folders
            .iter()
            .flat_map(|folder| names.map(|name| folder.join(name)))
            .flat_map(|path| files(&path))
            .collect()
    });
    all.extend(files(etc));
    for line in [
        // With scopes and flags.
        "ip -oneline address show",
        "ip -brief link show",
        "ip -oneline link show",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule show",
        "ip -6 rule show",
        "nft list ruleset",
    ] {
        all.insert(line.to_owned(), real.sh(line).succeeds().stdout);
    }
    all
}

fn files(path: &Path) -> Vec<(String, String)> {
    if path.is_dir() {
        let inside = fs::read_dir(path).expect("it is a directory");
        let inside: Vec<PathBuf> = inside.map(|entry| entry.expect("it can be read").path()).collect();
        let own = (path.display().to_string(), "directory".to_owned());
        return inside.iter().flat_map(|path| files(path)).chain([own]).collect();
    }
    vec![(path.display().to_string(), fs::read_to_string(path).unwrap_or_default())]
}

fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<(), String> {
    let names: Vec<_> =
        before.keys().chain(after.keys()).filter(|&name| before.get(name) != after.get(name)).collect();
    let show =
        |name: &String| format!("{name}\n  before: {:?}\n  after: {:?}", before.get(name), after.get(name));
    match names[..] {
        [] => Ok(()),
        _ => Err(names.into_iter().map(show).collect::<Vec<_>>().join("\n")),
    }
}

/// Xorshift64; `XVS_SEED` repeats a run.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = env::var("XVS_SEED").ok().map(|seed| seed.parse().expect("XVS_SEED is a number"));
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970");
        let seed = given.unwrap_or(u64::from(clock.subsec_nanos()) | 1);
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_of(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).expect("it is small")]
    }

    /// Rather early than late, because most commands are much shorter than the longest.
    fn moment(&mut self, longest: Duration) -> Duration {
        let limit = u64::try_from(longest.as_micros()).expect("less than a day") >> self.below(5);
        Duration::from_micros(self.below(limit.max(1)))
    }

    /// Half of the set-up done by hand, or other settings.
    fn settings(&mut self, real: &Real) {
        for interface in ["all", "lo", "eth0"] {
            for (name, values) in [
                ("arp_ignore", &["0", "1", "2", "3", "8"][..]),
                ("arp_announce", &["0", "1", "2"]),
                ("rp_filter", &["0", "1", "2"]),
            ] {
                real.sysctl(&format!("ipv4/conf/{interface}/{name}"), self.pick(values));
            }
        }
    }

    fn line(&mut self, scene: &Scene, etc: &Path) -> String {
        // The last options most often, so that commands meet the changes of similar ones.
        let targets = &scene.targets;
        let nth = usize::try_from(self.below(2 * targets.len() as u64)).expect("it is small");
        let target = &targets[nth.min(targets.len() - 1)];
        let vip = target.split_whitespace().nth(1).expect("--vip is first");
        let levels =
            self.pick(&["", "", "--arp-ignore 3", "--arp-ignore 8 --arp-announce 1", "--arp-announce 0"]);
        match self.below(10) {
            0 => format!("check {target} --interface eth0"),
            1..4 => "restore".to_owned(),
            4 => format!("restore --vip {vip}"),
            5..7 => format!("setup {target} --interface eth0 {levels} --persist --etc {}", etc.display()),
            _ => format!("setup {target} --interface eth0 {levels}"),
        }
    }
}
