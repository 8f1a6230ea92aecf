// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs config`: check, edit, history, rollback.
#![forbid(unsafe_code)]

use std::{
    env, fs,
    io::{self, BufRead as _, IsTerminal as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    config::{Request, check, confirmation, put, show},
    ui::{Ui, age, say, table},
};
use crate::api::{
    client::Api,
    config::{Planned, REVERT, Revision},
    types::{Done, Status},
};
use lb_control::config;
use lb_explain::Plan;
use lb_model::failure::Failure;

/// Check, edit and revert the config
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a config file, without a daemon
    Check {
        /// The config file; - reads stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Edit the config, check it, show the plan, and apply it
    ///
    /// If the daemon runs with a config file that has services, that file is edited, and written once the new
    /// config is in force. Otherwise, and with --server, the services are edited as `xvs export` prints them. VISUAL or EDITOR names
    /// the editor.
    Edit(EditArgs),
    /// List the last revisions of the config: when, by whom, and what they changed
    History,
    /// Return to an earlier revision of the config
    Rollback(RollbackArgs),
}

/// Options of `xvs config edit`.
#[derive(Args, Debug)]
pub struct EditArgs {
    /// Apply without a question
    #[arg(short, long)]
    yes: bool,
    /// Revert after this time, unless the question whether to keep the config is answered with yes
    #[arg(long, value_name = "DURATION", value_parser = confirmation, conflicts_with = "yes")]
    confirm: Option<Duration>,
}

/// Options of `xvs config rollback`.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// Number of the revision, as `xvs config history` lists it [default: the one before the last]
    #[arg(value_name = "N")]
    number: Option<u64>,
    /// Only show what it will change
    #[arg(long)]
    plan: bool,
    /// Revert after this time, unless `xvs confirm` comes first
    #[arg(long, value_name = "DURATION", value_parser = confirmation)]
    confirm: Option<Duration>,
}

/// Carries out a command.
///
/// # Errors
/// If the config is invalid, or the daemon refuses or cannot be reached.
pub async fn run(command: &ConfigCommand, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { file } => check(file, ui),
        ConfigCommand::Edit(args) => edit(args, api, ui).await,
        ConfigCommand::History => {
            let revisions: Vec<Revision> = api.get("/v1/history").await?;
            ui.show(&revisions, |revisions| list(revisions))
        }
        ConfigCommand::Rollback(args) => roll_back(args, api, ui).await,
    }
}

/// Returns the table of revisions.
fn list(revisions: &[Revision]) -> String {
    let last = revisions.last().map(|last| last.number);
    let rows = revisions.iter().map(|one| {
        let changes = format!("+{} ~{} -{}", one.added, one.changed, one.removed);
        let mark = if Some(one.number) == last { "in force" } else { "" };
        vec![one.number.to_string(), age(one.time), one.who.clone(), changes, mark.to_owned()]
    });
    table(&[">REVISION", ">AGE", "BY", "CHANGES", ""], rows)
}

async fn roll_back(args: &RollbackArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let number = match args.number {
        Some(number) => number,
        None => before_last(&api.get::<Vec<Revision>>("/v1/history").await?)?,
    };
    let mut text = api.get_text(&format!("/v1/revision?number={number}")).await?;
    let name = format!("revision {number}");
    if config::parse(&text, Path::new(&name))?.desired.services.is_empty() {
        text.push_str("\nservice = []\n");
    }
    let file = Plan { name, text };
    if args.plan {
        return show(&api.post::<Planned>("/v1/plan", &file).await?, ui);
    }
    let request = Request { remove_all: true, confirm: args.confirm, ..Request::default() };
    ui.done(&put(&file, request, api).await?)
}

/// Returns the number of the revision before the last one.
fn before_last(revisions: &[Revision]) -> Result<u64, Failure> {
    match revisions {
        [.., last] if last.who == REVERT => {
            Err(Failure::wrong_input("the last revision is a revert: the one before it was not confirmed")
                .hint("`xvs config history` lists the revisions; give the number of one"))
        }
        [.., before, _] => Ok(before.number),
        _ => {
            Err(Failure::wrong_input("there is no earlier revision").hint("`xvs config history` lists them"))
        }
    }
}

async fn edit(args: &EditArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let status: Status = api.get("/v1/status").await?;
    // The file is one of the daemon's machine.
    let file = status.config.filter(|_| api.is_local()).map(|config| PathBuf::from(config.file));
    let (name, before) = match &file {
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| {
                Failure::failed(format!("cannot read {}: {error}", file.display()))
                    .hint("the daemon runs with this config file, which must be on this machine to be edited")
            })?;
            (file.display().to_string(), text)
        }
        None => ("the config".to_owned(), api.get_text("/v1/config?all=false").await?),
    };
    let draft = env::temp_dir().join(format!("xvs-config-{}.toml", std::process::id()));
    write(&draft, &before, 0o600)?;
    let text = edited(&draft)?;
    if text == before {
        drop(fs::remove_file(&draft));
        return ui.done(&Done::default());
    }
    let kept = |failure: Failure| {
        let hint = failure.hint.clone().map_or_else(String::new, |hint| format!("{hint}; "));
        failure.hint(format!("{hint}your text is kept in {}", draft.display()))
    };
    let plan = Plan { name: name.clone(), text: text.clone() };
    config::parse(&text, Path::new(&name)).map_err(kept)?;
    let planned: Planned = api.post("/v1/plan", &plan).await.map_err(kept)?;
    show(&planned, ui)?;
    if planned.changes.is_empty() && file.is_none() {
        // The text differs in what the services do not have, such as comments.
        drop(fs::remove_file(&draft));
        return Ok(());
    }
    if !args.yes && !asked("apply this?").map_err(kept)? {
        say(format_args!("nothing was changed; your text is kept in {}", draft.display()));
        return Ok(());
    }
    let request = Request { confirm: args.confirm, ..Request::default() };
    let done = put(&plan, request, api).await.map_err(kept)?;
    ui.done(&done)?;
    if args.confirm.is_some() {
        if !asked("keep this?").map_err(kept)? {
            say(format_args!("it reverts in time; your text is kept in {}", draft.display()));
            return Ok(());
        }
        ui.done(&api.post("/v1/confirm", &()).await.map_err(kept)?)?;
    }
    if let Some(file) = &file {
        replace(file, &text).map_err(kept)?;
    }
    drop(fs::remove_file(&draft));
    Ok(())
}

/// Runs the editor, and returns the text afterwards.
fn edited(draft: &Path) -> Result<String, Failure> {
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| env::var(name).ok().filter(|it| !it.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let failed = |why: String| {
        Failure::failed(format!("the editor `{editor}` {why}")).hint("VISUAL or EDITOR names the editor")
    };
    // The variable may have options.
    let line = format!("{editor} \"$0\"");
    let status = Command::new("sh").arg("-c").arg(line).arg(draft).status();
    let status = status.map_err(|error| failed(format!("cannot be started: {error}")))?;
    if !status.success() {
        return Err(failed(format!("ended with {status}: nothing was changed")));
    }
    fs::read_to_string(draft)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", draft.display())))
}

/// Asks a question on the terminal.
///
/// # Errors
/// If stdin is not a terminal.
fn asked(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::wrong_input("stdin is not a terminal, so that nobody can answer")
            .hint("`--yes` applies without a question"));
    }
    say(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Replaces a file as a whole, with its permissions.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let mode = fs::metadata(file).map_or(0o644, |data| data.permissions().mode() & 0o777);
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    write(&new, text, mode)?;
    fs::rename(&new, file).map_err(|error| {
        Failure::failed(format!("the config is in force, but not in {}: {error}", file.display()))
    })
}

/// Writes a new file. An existing one, or a symbolic link, is removed first.
fn write(file: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    drop(fs::remove_file(file));
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: u64) -> Revision {
        Revision { number, time: 0, who: "root".to_owned(), added: 1, changed: 2, removed: 0 }
    }

    #[test]
    fn the_last_revision_is_in_force_and_the_one_before_it_is_returned_to() {
        let revisions = [revision(7), revision(8)];
        let page = list(&revisions);
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines[1].contains('7') && !lines[1].contains("in force"), "{page}");
        assert!(lines[2].contains("+1 ~2 -0") && lines[2].ends_with("in force"), "{page}");
        assert_eq!(before_last(&revisions).unwrap(), 7);
        assert!(before_last(&revisions[..1]).unwrap_err().message.contains("no earlier"));
    }

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("xvs.toml");
        write(&file, "old", 0o640).unwrap();
        replace(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
