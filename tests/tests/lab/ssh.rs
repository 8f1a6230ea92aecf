// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs real add … --ssh` on a real with the system's sshd.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use lb_tests::lab::{Lab, Method, Outcome, Process, Real, VIP};

/// The director's key and configuration, and a program `ssh` that uses them.
struct Keys {
    folder: PathBuf,
}

impl Keys {
    #[track_caller]
    fn new(lab: &Lab) -> Self {
        let folder = lab.director.path("ssh");
        fs::create_dir_all(folder.join("bin")).expect("the lab's folder is writable");
        let keys = Self { folder };
        keys.make(&lab.director, "id");
        let (id, known) = (keys.folder.join("id"), keys.folder.join("known_hosts"));
        let config = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nStrictHostKeyChecking accept-new\nBatchMode yes\nConnectTimeout 3\nLogLevel ERROR\n",
            id.display(),
            known.display()
        );
        fs::write(keys.folder.join("config"), config).expect("the lab's folder is writable");
        let program = keys.folder.join("bin/ssh");
        let script =
            format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", keys.folder.join("config").display());
        fs::write(&program, script).expect("the lab's folder is writable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
        keys
    }

    #[track_caller]
    fn make(&self, host: &lb_tests::lab::Host, name: &str) {
        let path = self.folder.join(name);
        host.exec(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path.to_str().expect("plain")])
            .succeeds();
    }

    /// Lets the director log in as root.
    #[track_caller]
    fn start_sshd(&self, real: &Real) -> Process {
        let name = format!("host-{}", real.name());
        self.make(real, &name);
        // The directory of sshd after it has dropped its privileges.
        fs::create_dir_all("/run/sshd").expect("root may");
        let config = self.folder.join(format!("{name}.config"));
        let text = format!(
            "ListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n",
            real.rip,
            self.folder.join(&name).display(),
            self.folder.join("id.pub").display()
        );
        fs::write(&config, text).expect("the lab's folder is writable");
        let mut sshd =
            real.start("sshd", Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(&config));
        sshd.is_ready_when(|| {
            let at = (real.rip, 22).into();
            real.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(1)))
                .map_err(|error| error.to_string())
        });
        sshd
    }

    /// `xvs` on the director, with that `ssh`.
    #[track_caller]
    fn xvs(&self, lab: &Lab, line: &str) -> Outcome {
        let path = format!(
            "PATH={}:{}",
            self.folder.join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let words = ["env", path.as_str()].map(str::to_owned).into_iter();
        let xvs = lab.director.xvs_words(line).into_iter().map(|word| word.display().to_string());
        lab.director.exec(words.chain(xvs))
    }
}

/// Returns whether the director has the real.
fn is_there(lab: &Lab, real: &Real) -> bool {
    let stats = lab.director.stats();
    stats
        .services
        .iter()
        .any(|service| service.reals.iter().any(|one| one.address.starts_with(&format!("{}:", real.rip))))
}

fn as_root(real: &Real, program: &Path) -> String {
    format!("--ssh root@{} --ssh-xvs {}", real.rip, program.display())
}

#[test]
fn a_bare_real_is_set_up_by_ssh_and_then_added() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let keys = Keys::new(&lab);
    let [real, second, _] = &lab.reals;
    let _nginx = [real, second].map(|real| real.start_nginx(&[8001, 8002]));
    let _sshd = [real, second].map(|real| keys.start_sshd(real));

    for (method, real) in [(Method::Dr, real), (Method::Tun, second)] {
        let (service, forward, rip) = (method.service(), method.as_str(), real.rip);
        lab.director.xvs(&format!("service add tcp {service}")).succeeds();
        let ssh = as_root(real, &real.xvs_program());
        let added =
            keys.xvs(&lab, &format!("real add tcp {service} {rip} --forward {forward} {ssh}")).succeeds();
        // The output of the real is on stderr, because it is no result.
        assert!(added.stderr.contains("set   VIP 192.0.2.100: added to lo"), "{added}");
        assert!(
            added.stderr.contains(&format!("host setup --vip {VIP} --forward {forward} --rip {rip}")),
            "{added}"
        );
        assert!(added.stdout.starts_with("added real") && added.stdout.lines().count() == 1, "{added}");
        lab.director.wait_for_next_hops();
        lab.client.requests(service, 10).is_complete(10);
    }
    let line =
        format!("real add tcp {} {} {}", Method::Dr.service(), real.rip, as_root(real, &real.xvs_program()));
    keys.xvs(&lab, &line).fails(1).says("already").does_not_say("host setup --vip");
    let again = keys.xvs(&lab, &format!("{line} --if-missing"));
    again.succeeds().says("nothing to change").does_not_say("host setup --vip");
}

#[test]
fn what_fails_over_there_leaves_no_real_here() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let keys = Keys::new(&lab);
    let [real, other, _] = &lab.reals;
    let _sshd = keys.start_sshd(real);
    let service = Method::Dr.service();
    lab.director.xvs(&format!("service add tcp {service}")).succeeds();
    let add = |real: &Real, options: &str| {
        keys.xvs(&lab, &format!("real add tcp {service} {} {options}", real.rip))
    };

    // No server listens; no such program; a change that the director refuses; a method that needs no set-up.
    add(other, &as_root(other, &other.xvs_program()))
        .fails(1)
        .says("cannot reach root@10.0.0.12")
        .says("~/.ssh/config");
    add(real, &as_root(real, Path::new("/nowhere/xvs"))).fails(1).says("there is no `/nowhere/xvs`");
    keys.xvs(&lab, &format!("real add tcp {VIP}:9 {} {}", real.rip, as_root(real, &real.xvs_program())))
        .fails(2)
        .says("there is no service");
    add(real, &format!("--forward nat {}", as_root(real, &real.xvs_program())))
        .fails(2)
        .says("leave --ssh off");
    add(real, "--ssh -oProxyCommand=true").fails(2);
    // Set-up fails, and reverts its changes.
    real.ip(&format!("address add {VIP}/24 dev eth0"));
    add(real, &as_root(real, &real.xvs_program()))
        .fails(1)
        .says("which answers ARP")
        .says("setting up root@10.0.0.11 failed (exit code 1); the real was not added");
    real.ip(&format!("address delete {VIP}/24 dev eth0"));
    assert!(!is_there(&lab, real) && !is_there(&lab, other));
    assert!(!real.path("host.json").exists());

    // Set-up succeeds and the director refuses: the hint gives the remedy.
    let refused = add(real, &format!("--upper 5 --lower 9 {}", as_root(real, &real.xvs_program()))).fails(2);
    refused.says("reverts the set-up there").says(&format!("host restore --vip {VIP}"));
    assert!(!is_there(&lab, real));
}
