// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs generate`: man pages and completions, for packages. Hidden, because operators get them by the package.
#![forbid(unsafe_code)]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use lb_model::failure::Failure;

/// Shells for which completions are written.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Section of the manual for the commands of administrators.
const SECTION: &str = "8";

/// Write a man page for each command, and completions for bash, zsh and fish
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Directory for the files; it is created
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

impl GenerateArgs {
    /// Writes the files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn run(&self, mut command: Command) -> Result<(), Failure> {
        let failed =
            |error: io::Error| Failure::failed(format!("cannot write to {}: {error}", self.to.display()));
        fs::create_dir_all(&self.to).map_err(failed)?;
        for shell in SHELLS {
            clap_complete::generate_to(shell, &mut command, "xvs", &self.to).map_err(failed)?;
        }
        command.build();
        manual(&command, "xvs", &self.to).map_err(failed)
    }
}

/// Writes the page of a command, and those of its subcommands. `name` is the words of the command, joined by hyphens.
fn manual(command: &Command, name: &str, folder: &Path) -> io::Result<()> {
    // Options that all commands have are in the page of `xvs` alone.
    let own = name == "xvs";
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
    for inner in inner {
        manual(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    let page = command.clone().mut_args(|arg| {
        let is_global = arg.is_global_set();
        if is_global && !own { arg.hide(true) } else { arg }
    });
    let manual = "System administration with xvs";
    let page = Man::new(page)
        .title(name.to_uppercase())
        .section(SECTION)
        .manual(manual)
        .source(format!("xvs {}", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(folder.join(format!("{name}.{SECTION}")), text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// Returns the number of commands at all levels.
    fn count(command: &Command) -> usize {
        let inner =
            command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
        1 + inner.map(count).sum::<usize>()
    }

    #[test]
    fn every_command_has_a_page_and_every_shell_a_file() {
        let folder = tempfile::tempdir().unwrap();
        GenerateArgs { to: folder.path().to_owned() }.run(Cli::command()).unwrap();
        let names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let pages = names.iter().filter(|name| name.ends_with(".8")).count();
        assert_eq!(pages, count(&Cli::command()), "{names:?}");
        assert!(pages > 30, "{names:?}");
        assert_eq!(names.len(), pages + SHELLS.len());
        let page = fs::read_to_string(folder.path().join("xvs-service-add.8")).unwrap();
        assert!(page.contains("real") && !page.contains("Generate"), "{page}");
    }
}
