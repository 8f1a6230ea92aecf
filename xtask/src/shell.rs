// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running other programs: printed before they run, clear when they fail.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Prints a line on stderr. Results go to stdout.
macro_rules! say {
    ($($arg:tt)*) => { eprintln!("xtask: {}", format_args!($($arg)*)) };
}
pub(crate) use say;

/// Prints the command, runs it and fails if it does.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}{}", variables(command), words(command));
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("{status} from: {}", words(command));
    }
    Ok(())
}

/// Prints the command and runs it as [`run`] does, and passes each line of its stdout, which is printed, to `each`.
pub fn watch(command: &mut Command, mut each: impl FnMut(&str)) -> Result<()> {
    eprintln!("$ {}{}", variables(command), words(command));
    command.stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let mut out = std::io::stdout();
    for line in BufReader::new(child.stdout.take().context("no stdout")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        // A reader that is gone does not end the command.
        drop(writeln!(out, "{line}"));
        each(&line);
    }
    let status = child.wait().context("cannot wait for a command")?;
    if !status.success() {
        bail!("{status} from: {}", words(command));
    }
    Ok(())
}

/// Prints the command, runs it, and passes each line of its output, stderr too, to `each`. Ignores the exit
/// code.
pub fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<()> {
    eprintln!("$ {}{}", variables(command), words(command));
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    // The pipe ends when the last process closes its other end, and the command would keep ours open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        each(&String::from_utf8_lossy(&line?));
    }
    child.wait().map(drop).context("cannot wait for a command")
}

/// Returns the output of a command, or `None` if the command is missing or fails. Prints nothing.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the compiler's name for the target of everything but the programs.
pub fn host() -> Result<String> {
    ask(Command::new("rustc").args(["--print", "host-tuple"])).context("rustc --print host-tuple")
}

/// Returns a command for the cargo that runs this process, from the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// Asks for the password of sudo now, if this process is not root: a later question would be lost among the output of
/// parallel commands.
pub fn authenticate() -> Result<()> {
    if is_root() { Ok(()) } else { run(Command::new("sudo").arg("--validate")) }
}

/// Returns a command with root privileges, by sudo if this process has none, and prints that.
pub fn root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let program = program.as_ref();
    say!("{} needs root: asking sudo", program.display());
    let mut command = Command::new("sudo");
    // The environment names the binary under test and the log level.
    command.arg("--preserve-env").arg(program);
    command
}

/// Returns whether this process is root.
pub fn is_root() -> bool {
    ask(Command::new("id").arg("-u")).as_deref() == Some("0")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}; is it installed and on PATH?", command.get_program().display())
}

/// Returns the environment variables that a command sets, each followed by a space.
fn variables(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?.to_string_lossy())));
    set.flat_map(|(name, value)| [name.to_string_lossy().into_owned(), "=".into(), quote(&value), " ".into()])
        .collect()
}

/// Returns the program and its arguments as a person would type them.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // Flags of CARGO_ENCODED_RUSTFLAGS are separated by a control character.
    format!("'{}'", word.replace('\'', r"'\''").replace('\u{1f}', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("tc");
        command.args(["qdisc", "show dev", "it's"]).env("LANG", "C").env_remove("HOME");
        assert_eq!(variables(&command), "LANG=C ");
        assert_eq!(words(&command), r"tc qdisc 'show dev' 'it'\''s'");
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("sh -c 'exit 3'"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("cannot start no-such-program"), "{error}");
    }
}
