// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages for invalid command lines: the mistake, and the help of the command that was meant.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use clap::{Command, Error};

use lb_model::failure::Failure;
use lb_model::written::port_with_protocol;

/// Commands of ipvsadm, which users of IPVS type by habit.
const IPVSADM: &str = "ACDELRSZadel";

/// Converts clap's error to a failure.
pub(super) fn failure(error: &Error, words: &[OsString], root: &Command) -> Failure {
    let text = error.render().to_string();
    let (message, _) = text.split_once("\nFor more information").unwrap_or((&text, ""));
    // No value here begins with a dash, so clap's tip is misleading.
    let lines = message.lines().filter(|line| !line.trim_start().starts_with("tip: to pass"));
    let message = lines.collect::<Vec<_>>().join("\n").replace("\n\n\n", "\n\n");
    let message = message.trim().trim_start_matches("error: ").to_owned();
    Failure::wrong_input(message).hint(hint(words, root))
}

fn hint(words: &[OsString], root: &Command) -> String {
    let words: Vec<String> = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let (mut command, mut path) = (root, vec!["xvs".to_owned()]);
    let mut rest = Vec::new();
    for word in &words {
        match command.find_subcommand(word) {
            Some(found) if rest.is_empty() => {
                command = found;
                path.push(found.get_name().to_owned());
            }
            _ => rest.push(word.as_str()),
        }
    }
    let short = rest.first().and_then(|word| word.strip_prefix('-'));
    if path.len() == 1
        && let Some(letters) = short
        && letters.starts_with(|first| IPVSADM.contains(first))
    {
        return format!("these are options of ipvsadm: `xvs ipvsadm {}`", rest.join(" "));
    }
    if let ([_, name], Some(interface)) = (path.as_slice(), rest.first())
        && name == "run"
        && !interface.starts_with('-')
    {
        return format!("name interfaces with -i: `xvs run -i {interface}`");
    }
    // For example 192.0.2.100:80/tcp, which lacks a word.
    let last = |word: &&str| port_with_protocol(word.rsplit_once(':').map_or(*word, |(_, port)| port));
    if let Some(sentence) = rest.iter().find_map(last) {
        return sentence;
    }
    if path.len() == 1 && rest.first() == Some(&"reload") {
        return "`xvs apply FILE` applies a config file; SIGHUP has the daemon read its own again".to_owned();
    }
    if path.len() == 1 && rest.first() == Some(&"top") {
        return "`watch xvs stats` shows the counters again and again".to_owned();
    }
    format!("`{} --help` shows what it takes", path.join(" "))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use rstest::rstest;

    use crate::cli::Cli;

    #[rstest]
    #[case("service add tcp", "`xvs service add --help`")]
    #[case("svc add tcp 10.0.0.1:80 --nonsense", "`xvs service add --help`")]
    #[case("real add tcp 10.0.0.1:80 10.0.0.2 --weight 1.5", "`xvs real add --help`")]
    #[case("nonsense", "`xvs --help`")]
    #[case("run eth0", "`xvs run -i eth0`")]
    #[case("-L -n", "`xvs ipvsadm -L -n`")]
    #[case("-A -t 10.0.0.1:80 -s rr", "`xvs ipvsadm -A -t 10.0.0.1:80 -s rr`")]
    #[case("reload", "`xvs apply FILE`")]
    #[case("service add 10.0.0.1:80/tcp", "write them apart: tcp VIP:80")]
    #[case("service add 53/udp", "write them apart: udp VIP:53")]
    #[case("service add tcp 10.0.0.1:80 --forward nat", "`xvs service add --help`")]
    #[case("real add tcp 10.0.0.1:80", "`xvs real add --help`")]
    fn the_hint_names_the_command_that_was_meant(#[case] line: &str, #[case] hint: &str) {
        let words = std::iter::once("xvs").chain(line.split(' ')).map(Into::into);
        let failure = Cli::understand(words).unwrap_err();
        assert!(failure.hint.as_ref().is_some_and(|said| said.contains(hint)), "{failure}");
        assert!(!failure.message.contains("tip: to pass"), "{failure}");
    }

    #[rstest]
    #[case(
        "real add tcp 10.0.0.1:80 10.0.0.2 --weight ten",
        "'ten' is not a whole number from 0 to 2147483647"
    )]
    #[case("group add web tcp 10.0.0.1:80", "'web' is not a whole number from 1 to")]
    #[case("host setup --vip 10.0.0.1/32", "write the address alone: 10.0.0.1")]
    #[case("host open tcp 10.0.0.1", "has no port")]
    #[case("run -i eth0 --metrics localhost:9471", "names are not looked up")]
    #[case("explain tcp 10.0.0.1:1 10.0.0.2", "has no port")]
    fn the_mistake_is_named(#[case] line: &str, #[case] said: &str) {
        let words = std::iter::once("xvs").chain(line.split(' ')).map(Into::into);
        let failure = Cli::understand(words).unwrap_err();
        assert!(failure.message.contains(said), "{failure}");
    }

    #[rstest]
    #[case("service ls")]
    #[case("svc list")]
    #[case("services list")]
    #[case("service rm tcp 10.0.0.1:80")]
    #[case("service delete TCP 10.0.0.1:80")]
    #[case("real rm tcp 10.0.0.1:80 10.0.0.2")]
    #[case("run -i eth0 --metrics :9471")]
    #[case("host open TCP 10.0.0.1:80")]
    #[case("explain UDP 10.0.0.2:4000 10.0.0.1:80")]
    #[case("service add TCP 10.0.0.1:80 --real 10.0.0.2 --real 10.0.0.3:8080 --forward nat --if-missing")]
    #[case("real add TCP 10.0.0.1:80 10.0.0.2 10.0.0.3:8080 --forward nat --if-missing")]
    fn common_names_are_understood(#[case] line: &str) {
        let words = std::iter::once("xvs").chain(line.split(' ')).map(Into::into);
        assert!(Cli::understand(words).is_ok(), "{line}");
    }

    #[test]
    fn the_unit_of_the_package_starts_the_daemon() {
        let unit = include_str!("../../../contrib/systemd/xvs.service");
        let line =
            unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a unit has a command");
        let ControlFlow::Continue(cli) = Cli::understand(line.split(' ').map(Into::into)).unwrap() else {
            panic!("{line} ends at once");
        };
        assert!(cli.is_daemon(), "{line}");
    }
}
