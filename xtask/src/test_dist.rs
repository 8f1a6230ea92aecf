// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test-dist`: tests of what `cargo xtask dist` makes, with the tools that it is made for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    dist, setup,
    shell::{self, say},
    workspace,
};

/// Options of the test task for packages
#[derive(clap::Args)]
pub struct Args {
    /// Test what target/dist has, without building it again
    #[arg(long, conflicts_with = "binary")]
    no_build: bool,
    #[command(flatten)]
    dist: dist::Args,
}

/// Packages of the checks. `--profile` of lintian comes with it.
const PACKAGES: &[&str] =
    &["lintian", "debootstrap", "man-db", "groff", "bash", "zsh", "fish", "systemd", "wrk", "nginx-light"];
/// Debian release in which the package is installed.
const RELEASE: &str = "bookworm";
/// Packages of that system besides the essential ones.
const INSIDE: &str = "systemd-sysv,iproute2,ethtool,procps";
/// Packages of the system that runs the container.
const PODMAN: &[&str] = &["podman", "crun", "netavark", "iptables", "python3-yaml", "python3-dotenv"];
/// The version of podman-compose.
const COMPOSE: &str = "podman-compose==1.5.0";
/// Largest exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "40";

/// Builds the results, and tests them.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    setup::packages(PACKAGES)?;
    if !args.no_build {
        dist::run(&args.dist)?;
    }
    let folder = dist::folder();
    let package =
        dist::files(&folder, "deb")?.pop().context("target/dist has no package: run without --no-build")?;
    shell::run(Command::new("lintian").args(["--fail-on", "error,warning", "--info"]).arg(&package))?;
    pages(&folder)?;
    completions(&folder)?;
    empty_root(&folder)?;
    let root = system(&package)?;
    units(&root, &package)?;
    let newer = newer(&folder, &package)?;

    let mut cargo = shell::cargo();
    cargo.args(["build", "--package", "lb-tests", "--bin", "packages", "--bin", "container"]);
    shell::run(&mut cargo)?;
    let program = |name: &str| {
        let mut program = shell::root(workspace::target().join("debug").join(name));
        program.env("XVS_BIN", folder.join("xvs"));
        program
    };
    let packages = shell::run(program("packages").args([&package, &newer, &root]));
    let podman = system_with_podman(&root)?;
    let contrib = workspace::root().join("contrib");
    let files = [
        folder.join("xvs-rootfs.tar"),
        contrib.join("container/compose.yaml"),
        contrib.join("config/xvs.toml"),
    ];
    let container = shell::run(program("container").args(&files).arg(&podman));
    shell::run(shell::root("rm").arg("-rf").args([root.with_file_name("system-real"), root, podman]))?;
    packages.and(container)
}

/// Checks that each man page is formatted without a warning.
fn pages(folder: &Path) -> Result<()> {
    let pages = dist::files(&folder.join("stage/pages"), "8")?;
    ensure!(pages.len() > 30, "there are only {} man pages", pages.len());
    for page in &pages {
        let output = Command::new("man")
            .args(["--warnings", "--local-file", "--encoding=UTF-8", "--ditroff"])
            .arg(page)
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8")
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "man --warnings {}: {said}", page.display());
    }
    say!("{} man pages have no warning", pages.len());
    Ok(())
}

/// Checks that each shell accepts its completions, and that bash completes a word.
fn completions(folder: &Path) -> Result<()> {
    let pages = folder.join("stage/pages");
    for (shell, file) in [("bash", "xvs.bash"), ("zsh", "_xvs"), ("fish", "xvs.fish")] {
        shell::run(Command::new(shell).arg("-n").arg(pages.join(file)))?;
    }
    let line = "source $0; COMP_WORDS=(xvs servi); COMP_CWORD=1; _xvs xvs servi xvs; echo ${COMPREPLY[@]}";
    let found = shell::ask(Command::new("bash").args(["-c", line]).arg(pages.join("xvs.bash")));
    ensure!(found.as_deref() == Some("service"), "bash completes `xvs servi` by {found:?}");
    Ok(())
}

/// Runs the static binary in a folder that has nothing else.
fn empty_root(folder: &Path) -> Result<()> {
    let root = folder.join("empty");
    fs::create_dir_all(&root)?;
    fs::copy(folder.join("xvs"), root.join("xvs"))?;
    let run = |words: &[&str]| {
        let output = shell::root("chroot").arg(&root).arg("/xvs").args(words).output()?;
        anyhow::Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, _) = run(&["--version"])?;
    ensure!(code == Some(0), "xvs --version in an empty root: {code:?}");
    let (code, said) = run(&["status"])?;
    ensure!(code == Some(3) && said.contains("hint:"), "xvs status in an empty root: {code:?} {said}");
    fs::remove_dir_all(&root)?;
    say!("the binary runs in an empty root");
    Ok(())
}

/// Returns the root folder of a small Debian system, a copy that the tests may change.
fn system(package: &Path) -> Result<PathBuf> {
    let kept = workspace::target().join("dist-system").join(RELEASE);
    if !kept.exists() {
        let part = kept.with_extension("part");
        shell::run(shell::root("rm").arg("-rf").arg(&part))?;
        let mut make = shell::root("debootstrap");
        make.args(["--variant=minbase", &format!("--include={INSIDE}"), RELEASE]).arg(&part);
        shell::run(&mut make)?;
        shell::run(shell::root("mv").args([&part, &kept]))?;
    }
    let root = package.with_file_name("system");
    // A run that was killed left the copies too.
    let left = ["system", "system-real", "system-with-package", "system-podman"]
        .map(|name| package.with_file_name(name));
    shell::run(shell::root("rm").arg("-rf").args(left))?;
    shell::run(shell::root("cp").arg("-a").args([&kept, &root]))?;
    Ok(root)
}

/// Returns the root folder of such a system that has podman and podman-compose too, beside `root`.
fn system_with_podman(root: &Path) -> Result<PathBuf> {
    let systems = workspace::target().join("dist-system");
    let kept = systems.join(format!("{RELEASE}-podman"));
    if !kept.exists() {
        let part = kept.with_extension("part");
        shell::run(shell::root("rm").arg("-rf").arg(&part))?;
        shell::run(shell::root("cp").arg("-a").args([&systems.join(RELEASE), &part]))?;
        let install = r#"
            cp -L /etc/resolv.conf "$0/etc/"
            mount -t proc proc "$0/proc"
            chroot "$0" apt-get --quiet update
            chroot "$0" apt-get --quiet --yes --no-install-recommends install "$@"
        "#;
        let mut unshare = shell::root("unshare");
        unshare.args(["--mount", "sh", "-euc", install]).arg(&part).args(PODMAN);
        shell::run(unshare.env("DEBIAN_FRONTEND", "noninteractive"))?;
        // Debian's own gives a container on the network of the host a second network, which podman refuses.
        let mut pip = shell::root(workspace::tools().join("schemathesis/bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", COMPOSE, "--target"]);
        shell::run(pip.arg(part.join("opt/podman-compose")))?;
        shell::run(shell::root("mv").args([&part, &kept]))?;
    }
    let copy = root.with_file_name("system-podman");
    shell::run(shell::root("cp").arg("-a").args([&kept, &copy]))?;
    Ok(copy)
}

/// Checks the units by systemd's own rules, in a system that has what they name.
fn units(root: &Path, package: &Path) -> Result<()> {
    let units = ["/lib/systemd/system/xvs.service", "/lib/systemd/system/xvs-agent.service"];
    // In a copy: the tests begin with a system in which the package never was.
    let copy = root.with_file_name("system-with-package");
    shell::run(shell::root("cp").arg("-a").args([root, &copy]))?;
    // Not `dpkg-deb --extract`, which replaces the link from /lib to /usr/lib with a folder.
    let unpack = r#"dpkg-deb --fsys-tarfile "$0" | tar --extract --keep-directory-symlink --directory "$1""#;
    shell::run(shell::root("sh").args(["-euc", unpack]).args([package, &copy]))?;
    shell::run(shell::root("chroot").arg(&copy).args(["systemd-analyze", "verify", "--man=no"]).args(units))?;
    let mut security = shell::root("chroot");
    security.arg(&copy).args(["systemd-analyze", "security", "--offline=true", "--no-pager"]);
    shell::run(security.arg(format!("--threshold={EXPOSURE}")).args(units))?;
    shell::run(shell::root("rm").arg("-rf").arg(&copy))
}

/// Makes the same package with a higher version.
fn newer(folder: &Path, package: &Path) -> Result<PathBuf> {
    let contents = folder.join("newer");
    if contents.exists() {
        fs::remove_dir_all(&contents)?;
    }
    shell::run(Command::new("dpkg-deb").arg("--raw-extract").args([package, &contents]))?;
    let control = contents.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version =
        text.lines().find(|line| line.starts_with("Version: ")).context("a package has a version")?;
    fs::write(&control, text.replace(version, &format!("{version}+newer")))?;
    // Another extension than that of the package which is released.
    let made = folder.join("newer.package");
    shell::run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).args([&contents, &made]))?;
    Ok(made)
}
