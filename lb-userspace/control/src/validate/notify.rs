// SPDX-License-Identifier: MIT OR Apache-2.0
//! Validation of the programs and the FIFO that get events.
#![forbid(unsafe_code)]

use std::path::Path;

use lb_model::{check::Check, failure::Failure, names};

/// Checks the program that is run for each event, and its user.
///
/// # Errors
/// If the program has no full path, or the user does not exist or is root; the failure is wrong input.
pub fn notify(command: &[String], user: Option<&str>) -> Result<(), Failure> {
    let Some(program) = command.first() else {
        return match user {
            Some(user) => Err(Failure::wrong_input(format!("notify-user {user} has no program to run"))
                .hint("name it: notify = [\"/usr/local/bin/on-event\"]")),
            None => Ok(()),
        };
    };
    if !program.starts_with('/') {
        return Err(Failure::wrong_input(format!("notify: {program:?} is not the full path of a program"))
            .hint("write it as [\"/usr/local/bin/on-event\", \"ARGUMENT\"]; no shell runs it"));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(Failure::wrong_input("notify: a word contains a zero byte"));
    }
    let user = user.unwrap_or(Check::USER);
    match names::account(user) {
        Ok(Some(found)) if found.uid == 0 || found.gid == 0 => Err(Failure::wrong_input(format!(
            "notify-user: {user} is root or in its group; the program runs as an unprivileged user"
        ))
        .hint("name another user, or leave the key out: then nobody runs it")),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::wrong_input(format!("notify-user: this host has no user {user}"))
            .hint("make one (`useradd --system NAME`)")),
        Err(error) => Err(Failure::failed(format!("notify-user: cannot look up user {user}: {error}"))),
    }
}

/// Checks the path of the FIFO.
///
/// # Errors
/// If it is not a full path; the failure is wrong input.
pub fn notify_fifo(path: &Path) -> Result<(), Failure> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Failure::wrong_input(format!("notify-fifo: {} is not a full path", path.display()))
        .hint("write it as \"/run/xvs/notify.fifo\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(command: &[&str], user: Option<&str>) -> String {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        notify(&command, user).map_or_else(|failure| failure.to_string(), |()| String::new())
    }

    #[test]
    fn a_program_has_a_full_path_and_an_unprivileged_user() {
        assert_eq!(refusal(&[], None), "");
        assert_eq!(refusal(&["/bin/true", "an argument"], None), "");
        assert_eq!(refusal(&["/bin/true"], Some("nobody")), "");
        assert!(refusal(&["true"], None).contains("not the full path"));
        assert!(refusal(&[""], None).contains("not the full path"));
        for root in ["root", "0"] {
            assert!(refusal(&["/bin/true"], Some(root)).contains("is root"), "{root}");
        }
        assert!(refusal(&["/bin/true"], Some("no-such-user")).contains("has no user no-such-user"));
        assert!(refusal(&[], Some("nobody")).contains("has no program"));
    }

    #[test]
    fn a_fifo_has_a_full_path() {
        assert!(notify_fifo(Path::new("/run/xvs/notify.fifo")).is_ok());
        assert!(notify_fifo(Path::new("notify.fifo")).unwrap_err().message.contains("not a full path"));
    }
}
