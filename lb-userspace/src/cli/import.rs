// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs import`.
#![forbid(unsafe_code)]

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::ui::{Ui, say};
use crate::{
    import::{self, Imported, ipvsadm, keepalived},
    ipvsadm::System,
};
use lb_control::config;
use lb_model::failure::Failure;

/// Convert ipvsadm rules or a keepalived.conf to a config file
///
/// The config goes to stdout. Settings that have no equivalent are listed on stderr, one line for each block,
/// the most important first; --verbose lists each line with the reason. No daemon is needed.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  ipvsadm-save -n | xvs import ipvsadm - > xvs.toml\n  xvs import keepalived /etc/keepalived/keepalived.conf > xvs.toml"
)]
pub enum ImportCommand {
    /// Rules in the format of `ipvsadm-save`
    Ipvsadm {
        /// The files.
        #[command(flatten)]
        how: How,
    },
    /// Blocks `virtual_server` of a keepalived.conf
    Keepalived {
        /// The files.
        #[command(flatten)]
        how: How,
        /// Read lines that begin with @NAME for this name, as keepalived does with --config-id
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
}

/// From where to where.
#[derive(Args, Debug)]
pub struct How {
    /// File to read; - reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the config to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Exit with 1 if a setting has no equivalent
    #[arg(long)]
    strict: bool,
}

/// Imports a file. With `verbose`, each line that is not carried over is listed.
///
/// # Errors
/// If a file cannot be read or written, or has no service.
pub fn run(command: &ImportCommand, verbose: bool, ui: &mut Ui) -> Result<ExitCode, Failure> {
    let (ImportCommand::Ipvsadm { how } | ImportCommand::Keepalived { how, .. }) = command;
    let (text, path) = read(&how.file)?;
    let imported = match command {
        ImportCommand::Ipvsadm { .. } => ipvsadm::import(&text, &path, &System::new()),
        ImportCommand::Keepalived { host, .. } => keepalived::import(&text, &path, host.as_deref()),
    };
    if let Some(refused) = &imported.refused {
        return Err(
            Failure::failed(refused.to_string()).hint("complete the line, then import the file again")
        );
    }
    if imported.desired.services.is_empty() {
        return Err(nothing(command, &text, &path, &imported, verbose));
    }
    let config = imported.config();
    // The printed config must be valid for `xvs apply`.
    config::parse(&config, Path::new("the config"))?;
    match &how.write {
        Some(path) => fs::write(path, &config)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?,
        None => ui.show(&config, Clone::clone)?,
    }
    for line in listed(&imported, verbose) {
        say(format_args!("not carried over: {line}"));
    }
    for line in end(&imported, how.write.as_deref()) {
        say(line);
    }
    Ok(if how.strict && !imported.left.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Reads a file, or stdin for `-`. Returns the text, and the name for messages.
///
/// # Errors
/// If the file cannot be read; the failure is wrong input.
pub(super) fn read(path: &Path) -> Result<(String, PathBuf), Failure> {
    let (bytes, path) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        (io::stdin().read_to_end(&mut bytes).map(|_| bytes), PathBuf::from("stdin"))
    } else {
        (fs::read(path), path.to_owned())
    };
    let bytes =
        bytes.map_err(|error| Failure::wrong_input(format!("cannot read {}: {error}", path.display())))?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), path))
}

/// Returns the lines that are not carried over: a line for each block, or for each line.
fn listed(imported: &Imported, verbose: bool) -> Vec<String> {
    if !verbose {
        return import::summary(imported);
    }
    let mut left: Vec<_> = imported.left.iter().collect();
    left.sort_by_key(|left| left.kind);
    left.into_iter().map(ToString::to_string).collect()
}

/// Returns the closing summary.
fn end(imported: &Imported, written: Option<&Path>) -> Vec<String> {
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let services = &imported.desired.services;
    let reals: usize = services.values().map(|service| service.reals.len()).sum();
    let mut lines = vec![format!("{} and {}", count(services.len(), "service"), count(reals, "real"))];
    if !imported.left.is_empty() {
        let (lost, are) =
            (count(imported.left.len(), "line"), if imported.left.len() == 1 { "is" } else { "are" });
        lines.push(format!("{lost} {are} not carried over, or not as written: --verbose lists each"));
    }
    if imported.checked > 0 {
        let checks = count(imported.desired.checks.len(), "health check");
        lines.push(format!("{checks} of {}", count(imported.checked, "real")));
    }
    if imported.unchecked > 0 {
        let has = if imported.unchecked == 1 { "has" } else { "have" };
        lines.push(format!("{} {has} lost a health check", count(imported.unchecked, "real")));
    }
    lines.push(match written {
        Some(path) => format!("next: xvs plan {}", path.display()),
        None => "next: xvs plan FILE, with the config in FILE (--write FILE writes it there)".to_owned(),
    });
    lines
}

/// Returns the failure for a file without services.
fn nothing(command: &ImportCommand, text: &str, path: &Path, imported: &Imported, verbose: bool) -> Failure {
    let begins = |words: &[&str]| {
        text.lines().any(|line| line.split_whitespace().next().is_some_and(|word| words.contains(&word)))
    };
    let servers = begins(&["virtual_server", "virtual_server_group"]);
    let keepalived = servers || begins(&["global_defs", "vrrp_instance", "include"]);
    let rules = text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let adds = words.iter().any(|word| word.starts_with("-A") || word.starts_with("--add-service"));
        adds && (words[0].starts_with('-') || words.iter().any(|word| word.ends_with("ipvsadm")))
    });
    let (right, wanted, other) = match command {
        ImportCommand::Ipvsadm { .. } => (rules, "rules of ipvsadm", keepalived.then_some("keepalived.conf")),
        ImportCommand::Keepalived { .. } => {
            (keepalived, "keepalived.conf", rules.then_some("rules of ipvsadm"))
        }
    };
    let file = path.display();
    if text.trim().is_empty() {
        return Failure::failed(format!("{file} is empty: there is no service to import"));
    }
    if !right {
        let other = other.map(|other| format!(" ({other}?)")).unwrap_or_default();
        return Failure::failed(format!("{file} does not look like {wanted}{other}")).hint(
            "`xvs import keepalived` reads keepalived.conf, `xvs import ipvsadm` what ipvsadm-save writes",
        );
    }
    for line in listed(imported, verbose) {
        say(format_args!("not carried over: {line}"));
    }
    if matches!(command, ImportCommand::Keepalived { .. }) && !servers {
        return Failure::failed(format!("{file} has no virtual_server: there is no service to import"));
    }
    Failure::failed(format!("no service of {file} can be carried over"))
        .hint("the lines above name the reasons; --verbose names that of each line")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ipvsadm::Nameless;

    const KEEPALIVED: &str =
        "virtual_server 10.1.0.1 80 {\nprotocol TCP\nreal_server 10.0.0.2 80 {\nTCP_CHECK {\n}\n}\n}\n";
    const RULES: &str = "-A -t 10.1.0.1:80 -s rr\n";

    fn command(kind: &str) -> ImportCommand {
        let how = How { file: PathBuf::from("F"), write: None, strict: false };
        match kind {
            "ipvsadm" => ImportCommand::Ipvsadm { how },
            _ => ImportCommand::Keepalived { how, host: None },
        }
    }

    #[rstest]
    #[case("keepalived", RULES, "F does not look like keepalived.conf (rules of ipvsadm?)")]
    #[case(
        "keepalived",
        "/sbin/ipvsadm -A -t 10.1.0.1:80\n",
        "F does not look like keepalived.conf (rules of ipvsadm?)"
    )]
    #[case("ipvsadm", KEEPALIVED, "F does not look like rules of ipvsadm (keepalived.conf?)")]
    #[case("ipvsadm", "{\"a\": 1}\n", "F does not look like rules of ipvsadm")]
    #[case("keepalived", "[director]\n", "F does not look like keepalived.conf")]
    #[case("keepalived", " \n\n", "F is empty: there is no service to import")]
    #[case("ipvsadm", "", "F is empty: there is no service to import")]
    #[case("keepalived", "vrrp_instance V {\n}\n", "F has no virtual_server: there is no service to import")]
    #[case("keepalived", "virtual_server x 80 {\n}\n", "no service of F can be carried over")]
    #[case("ipvsadm", "-A -t 224.0.0.1:80 -s rr\n", "no service of F can be carried over")]
    fn a_file_without_a_service_is_not_imported(
        #[case] kind: &str,
        #[case] text: &str,
        #[case] message: &str,
    ) {
        let path = Path::new("F");
        let command = command(kind);
        let imported = match command {
            ImportCommand::Ipvsadm { .. } => ipvsadm::import(text, path, &Nameless),
            ImportCommand::Keepalived { .. } => keepalived::import(text, path, None),
        };
        assert!(imported.desired.services.is_empty());
        let failure = nothing(&command, text, path, &imported, false);
        assert_eq!((failure.message.as_str(), failure.exit_code()), (message, 1));
    }

    #[test]
    fn the_end_names_what_is_next() {
        let imported = keepalived::import(KEEPALIVED, Path::new("F"), None);
        assert_eq!(
            end(&imported, Some(Path::new("xvs.toml"))),
            ["1 service and 1 real", "1 health check of 1 real", "next: xvs plan xvs.toml",]
        );
        let lost = keepalived::import(&KEEPALIVED.replace("TCP", "BFD"), Path::new("F"), None);
        assert_eq!(
            end(&lost, None)[1..3],
            [
                "2 lines are not carried over, or not as written: --verbose lists each",
                "1 real has lost a health check",
            ]
        );
        assert!(end(&Imported::default(), None)[1].starts_with("next: xvs plan FILE"));
    }
}
