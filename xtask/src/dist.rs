// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist`: what is released, in target/dist: a static binary, a Debian package, and the root file
//! system of a container.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    build_ebpf, setup,
    shell::{self, say},
    workspace,
};

/// Options of the task for releases
#[derive(clap::Args)]
#[group(skip)] // the tests of packages have these options beside their own
pub struct Args {
    /// Pack this binary, to try out the packages; it need not be static
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Packages that make a Debian package.
const PACKAGES: &[&str] = &["debhelper", "binutils"];
/// Largest size of the stripped binary, in bytes.
const MOST: u64 = 20_000_000;

/// Returns the folder of the results.
pub fn folder() -> PathBuf {
    workspace::target().join("dist")
}

/// Builds everything.
pub fn run(args: &Args) -> Result<()> {
    setup::packages(PACKAGES)?;
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let binary = match &args.binary {
        Some(file) => strip(file, &folder)?,
        None => binary(&folder)?,
    };
    let stage = stage(&folder, &binary)?;
    for old in files(&folder, "deb")? {
        fs::remove_file(old)?;
    }
    let mut pack = Command::new("dpkg-buildpackage");
    pack.args(["--build=binary", "--no-sign", "--no-check-builddeps"]).current_dir(&stage);
    shell::run(&mut pack)?;
    container(&folder, &binary)?;
    for made in [files(&folder, "deb")?, vec![binary, folder.join("xvs-rootfs.tar")]].concat() {
        say!("{}: {} bytes", made.display(), fs::metadata(&made)?.len());
    }
    Ok(())
}

/// Returns the files of a folder with this extension.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let all = all.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

/// Builds the static binary, and puts its symbols into a file of their own. Returns its path.
fn binary(folder: &Path) -> Result<PathBuf> {
    build_ebpf::run()?;
    let host = shell::host()?;
    let mut cargo = shell::cargo();
    // With a target, the flags do not concern build scripts and macros, which cannot be static.
    cargo.args([
        "build",
        "--profile",
        "packed",
        "--package",
        "lb-userspace",
        "--bin",
        "xvs",
        "--target",
        &host,
    ]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    shell::run(&mut cargo)?;
    let binary = strip(&workspace::target().join(&host).join("packed/xvs"), folder)?;
    let size = fs::metadata(&binary)?.len();
    ensure!(size <= MOST, "{} has {size} bytes, more than {MOST}", binary.display());
    let parts = shell::ask(Command::new("readelf").args(["--program-headers", "--dynamic"]).arg(&binary));
    if parts.context("readelf cannot read the binary")?.contains("(NEEDED)") {
        bail!("{} is not static: see `ldd` of it", binary.display());
    }
    Ok(binary)
}

/// Copies a binary without its symbols, and the symbols into a file of their own. Returns the path of the copy.
fn strip(built: &Path, folder: &Path) -> Result<PathBuf> {
    let (binary, symbols) = (folder.join("xvs"), folder.join("xvs.debug"));
    shell::run(Command::new("objcopy").arg("--only-keep-debug").arg(built).arg(&symbols))?;
    let link = format!("--add-gnu-debuglink={}", symbols.display());
    shell::run(Command::new("objcopy").args(["--strip-all", &link]).arg(built).arg(&binary))?;
    Ok(binary)
}

/// Lays out the contents of the Debian package, with the folder `debian` beside them.
fn stage(folder: &Path, binary: &Path) -> Result<PathBuf> {
    let stage = folder.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let pages = stage.join("pages");
    shell::run(Command::new(binary).arg("generate").arg(&pages))?;
    let contrib = workspace::root().join("contrib");
    let root = stage.join("tree");
    for (from, to) in [
        (binary.to_owned(), "usr/bin/xvs"),
        (contrib.join("config/xvs.toml"), "etc/xvs/xvs.toml"),
        (contrib.join("config/xvs-agent.default"), "etc/default/xvs-agent"),
        (pages.join("xvs.bash"), "usr/share/bash-completion/completions/xvs"),
        (pages.join("_xvs"), "usr/share/zsh/vendor-completions/_xvs"),
        (pages.join("xvs.fish"), "usr/share/fish/vendor_completions.d/xvs.fish"),
    ] {
        copy(&from, &root.join(to))?;
    }
    let documents = root.join("usr/share/doc/xvs");
    copy(&workspace::root().join("README.md"), &documents.join("README.md"))?;
    for (from, to) in [
        ("docs", "docs"),
        ("examples", "examples"),
        ("contrib/container", "examples/container"),
        ("contrib/prometheus", "examples/prometheus"),
        ("contrib/grafana", "examples/grafana"),
    ] {
        let from = workspace::root().join(from);
        for extension in ["md", "toml", "yaml", "yml", "json", "svg"] {
            for file in files(&from, extension)? {
                copy(&file, &documents.join(to).join(file.file_name().context("a file has a name")?))?;
            }
        }
    }
    let debian = stage.join("debian");
    for entry in fs::read_dir(contrib.join("debian"))? {
        let entry = entry?;
        copy(&entry.path(), &debian.join(entry.file_name()))?;
    }
    copy(&contrib.join("systemd/xvs.service"), &debian.join("xvs.service"))?;
    copy(&contrib.join("systemd/xvs-agent.service"), &debian.join("xvs.xvs-agent.service"))?;
    fs::write(debian.join("changelog"), changelog()?)?;
    Ok(stage)
}

/// Copies a file with its mode, and creates the folders above.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Returns the changelog of the package: one entry, with the date of the last commit, so that the same commit makes
/// the same package.
fn changelog() -> Result<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--date=format:%a, %d %b %Y %H:%M:%S %z", "--format=%cd %ct"]);
    let dates = shell::ask(git.current_dir(workspace::root())).context("git cannot show the last commit")?;
    let (date, seconds) = dates.rsplit_once(' ').context("git shows two dates")?;
    // Versions of a working copy grow with its commits. A release has the number of its tag alone.
    let version = format!("{}+git{seconds}", env!("CARGO_PKG_VERSION"));
    Ok(format!(
        "xvs ({version}) unstable; urgency=medium\n\n  * See /usr/share/doc/xvs/docs and the changelog of the \
         project.\n\n -- The xvs project <xvs@xvs-project.invalid>  {date}\n"
    ))
}

/// Packs the root file system of a container: the binary, and the folders that its mounts need.
fn container(folder: &Path, binary: &Path) -> Result<()> {
    let root = folder.join("rootfs");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    copy(binary, &root.join("usr/bin/xvs"))?;
    copy(&workspace::root().join("contrib/config/xvs.toml"), &root.join("etc/xvs/xvs.toml"))?;
    // Checks run commands as this user.
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:\nnobody:x:65534:65534::/:\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    for empty in ["dev", "proc", "run/xvs", "sys", "tmp", "var/lib/xvs"] {
        fs::create_dir_all(root.join(empty))?;
    }
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--file",
    ]);
    tar.arg(folder.join("xvs-rootfs.tar")).arg("--directory").arg(&root).arg(".");
    shell::run(&mut tar)
}
