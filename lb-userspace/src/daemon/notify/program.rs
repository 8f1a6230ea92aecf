// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that is run for each event: without a shell, by an unprivileged user, and not for long.
#![forbid(unsafe_code)]

use std::{net::SocketAddr, pin::pin, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::daemon::health::{Event, EventKind};
use lb_health::command::{self, User};
use lb_model::ServiceId;

/// Time after which a program is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program, and its user.
#[derive(Debug)]
pub(super) struct Program {
    /// Full path and arguments.
    words: Vec<String>,
    user: User,
    patience: Duration,
}

impl Program {
    /// Creates a program from its full path and its arguments.
    pub(super) const fn new(words: Vec<String>, user: User) -> Self {
        Self { words, user, patience: PATIENCE }
    }

    /// Runs the program for an event, and logs a failure.
    pub(super) async fn run(&self, event: &Event) {
        if let Err(why) = self.try_run(event).await {
            tracing::warn!("notify: {} for event {}: {why}", self.words.join(" "), event.number);
        }
    }

    async fn try_run(&self, event: &Event) -> Result<(), String> {
        let (program, arguments) = self.words.split_first().ok_or("there is no program")?;
        let mut line = serde_json::to_vec(event).map_err(|error| format!("no JSON: {error}"))?;
        line.push(b'\n');
        let mut command = Command::new(program);
        command::clear_environment(&mut command);
        command
            .args(arguments)
            .envs(environment(&event.kind))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (mut child, group) = command::spawn(&mut command, &self.user)
            .map_err(|error| format!("cannot be run as {}: {error}", self.user.name()))?;
        let stdin = child.stdin.take();
        let mut write = pin!(async {
            if let Some(mut stdin) = stdin {
                // A program need not read the event: its environment may suffice.
                drop(stdin.write_all(&line).await);
            }
        });
        let mut is_written = false;
        // Once the program has been waited for, nothing else is: its group must not be killed afterwards.
        let end = async {
            loop {
                tokio::select! {
                    status = child.wait() => break status,
                    () = &mut write, if !is_written => is_written = true,
                }
            }
        };
        let Ok(status) = timeout(self.patience, end).await else {
            drop(group);
            // The group has been killed, so that this ends at once.
            drop(child.wait().await);
            return Err(format!("killed, because it ran longer than {:?}", self.patience));
        };
        group.ended();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("failed: {status}")),
            Err(error) => Err(format!("its end is not known: {error}")),
        }
    }
}

/// Returns the variables of an event. Those that do not apply are empty.
fn environment(kind: &EventKind) -> [(&'static str, String); 5] {
    let (event, about, from, to): (_, Option<(ServiceId, Option<SocketAddr>)>, _, _) = match kind {
        EventKind::Health { service, real, from, to, .. } => {
            ("health", Some((*service, Some(*real))), from.to_string(), to.to_string())
        }
        EventKind::Pool { service, from, to, .. } => {
            ("pool", Some((*service, None)), from.clone(), to.clone())
        }
        EventKind::Frozen { .. } => ("frozen", None, String::new(), String::new()),
        EventKind::Thawed => ("thawed", None, String::new(), String::new()),
    };
    let service = about.map_or_else(String::new, |(service, _)| service.to_string());
    let real = about.and_then(|(_, real)| real).map_or_else(String::new, |real| real.to_string());
    [
        ("XVS_EVENT", event.to_owned()),
        ("XVS_SERVICE", service),
        ("XVS_REAL", real),
        ("XVS_FROM", from),
        ("XVS_TO", to),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, time::Instant};

    use lb_model::{Protocol, health::Health};
    use tempfile::TempDir;

    use super::*;

    /// Creates a program of an unprivileged user: nobody, or the user of the test if that is not root.
    pub fn as_this_user(words: Vec<String>) -> Program {
        let uid = nix::unistd::getuid();
        let name = if uid.is_root() { "nobody".to_owned() } else { uid.to_string() };
        Program::new(words, User::named(&name).unwrap())
    }

    /// Creates a folder that each user may write.
    pub fn open_folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        folder
    }

    fn shell(text: &str) -> Program {
        as_this_user(["/bin/sh", "-c", text].map(str::to_owned).to_vec())
    }

    fn event() -> Event {
        let service = ServiceId::new(Protocol::Tcp, "192.0.2.1:80".parse().unwrap());
        let kind = EventKind::Health {
            service,
            real: "10.0.0.1:80".parse().unwrap(),
            from: Health::Up,
            to: Health::Down,
            check: Some("web".parse().unwrap()),
            last: None,
        };
        Event { time_ms: 5, number: 7, text: "real is down".to_owned(), kind }
    }

    #[tokio::test]
    async fn a_program_gets_the_event_as_json_and_in_its_environment() {
        let folder = open_folder();
        let out = folder.path().join("out");
        let text = format!(
            "{{ echo \"$XVS_EVENT|$XVS_SERVICE|$XVS_REAL|$XVS_FROM|$XVS_TO\"; id -u; pwd; cat; env | grep -vc '^XVS_'; }} > {}",
            out.display()
        );
        assert_eq!(shell(&text).try_run(&event()).await, Ok(()));
        let out = fs::read_to_string(out).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "health|tcp 192.0.2.1:80|10.0.0.1:80|up|down");
        assert_ne!(lines[1], "0", "it is not root");
        assert_eq!(lines[2], "/");
        let json: Event = serde_json::from_str(lines[3]).unwrap();
        assert_eq!(json, event());
        assert!(lines[4].parse::<usize>().unwrap() <= 3, "PATH, and what the shell adds: {out}");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_with_its_children() {
        let folder = open_folder();
        let pid = folder.path().join("pid");
        let text = format!("sleep 61 & echo $! > {}; wait", pid.display());
        let program = Program { patience: Duration::from_millis(500), ..shell(&text) };
        let begun = Instant::now();
        let why = program.try_run(&event()).await.unwrap_err();
        assert!(why.contains("longer than 500ms"), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        let child: i32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let is_alive = || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            // A process that has ended stays until its parent has waited for it.
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while is_alive() && begun.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!is_alive());
    }

    #[tokio::test]
    async fn failures_are_told() {
        let failed = shell("exit 3").try_run(&event()).await.unwrap_err();
        assert!(failed.contains("exit status: 3"), "{failed}");
        let absent = as_this_user(vec!["/no/such/program".to_owned()]);
        let why = absent.try_run(&event()).await.unwrap_err();
        assert!(why.contains("cannot be run as"), "{why}");
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_succeeds() {
        assert_eq!(shell("exec 0<&-").try_run(&event()).await, Ok(()));
    }

    #[test]
    fn variables_that_do_not_apply_are_empty() {
        let thawed = environment(&EventKind::Thawed);
        assert_eq!(thawed[0], ("XVS_EVENT", "thawed".to_owned()));
        assert!(thawed[1..].iter().all(|(_, value)| value.is_empty()));
    }
}
