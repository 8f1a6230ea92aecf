// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of ipvsadm 1.31, and popt's rules for reading them from a command line.
#![forbid(unsafe_code)]

use super::{legal::Topic, trouble::Trouble};

/// Command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    Add,
    Edit,
    Delete,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
    Help,
    Version,
}

impl Verb {
    /// Returns the name in messages of ipvsadm.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add-service",
            Self::Edit => "edit-service",
            Self::Delete => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::Set => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
            Self::Help => "help",
            Self::Version => "version",
        }
    }
}

/// Purpose of an option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Means {
    /// A command, which must come first.
    Command(Verb),
    /// A detail of a command.
    Option(Topic),
    /// The address family of a group.
    Ipv6,
    /// No effect: sorting is the default.
    Nothing,
}

/// Presence of an option's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value {
    /// The option has no value.
    None,
    /// The option has a value.
    One,
    /// The option has a value unless the next word is an option.
    Perhaps,
}

/// An option.
#[derive(Debug, Eq, PartialEq)]
pub struct Entry {
    /// Word after `--`.
    pub long: &'static str,
    /// Letter after `-`.
    pub short: Option<char>,
    /// Presence of a value.
    pub value: Value,
    /// Purpose.
    pub means: Means,
}

const fn command(long: &'static str, short: Option<char>, verb: Verb) -> Entry {
    Entry { long, short, value: Value::None, means: Means::Command(verb) }
}

const fn flag(long: &'static str, short: Option<char>, topic: Topic) -> Entry {
    Entry { long, short, value: Value::None, means: Means::Option(topic) }
}

const fn one(long: &'static str, short: Option<char>, topic: Topic) -> Entry {
    Entry { long, short, value: Value::One, means: Means::Option(topic) }
}

/// All options of ipvsadm 1.31.
static ENTRIES: &[Entry] = &[
    command("add-service", Some('A'), Verb::Add),
    command("edit-service", Some('E'), Verb::Edit),
    command("delete-service", Some('D'), Verb::Delete),
    command("clear", Some('C'), Verb::Flush),
    command("list", Some('L'), Verb::List),
    command("list", Some('l'), Verb::List),
    command("zero", Some('Z'), Verb::Zero),
    command("add-server", Some('a'), Verb::AddServer),
    command("edit-server", Some('e'), Verb::EditServer),
    command("delete-server", Some('d'), Verb::DeleteServer),
    command("set", None, Verb::Set),
    command("help", Some('h'), Verb::Help),
    command("version", Some('v'), Verb::Version),
    command("restore", Some('R'), Verb::Restore),
    command("save", Some('S'), Verb::Save),
    Entry { long: "start-daemon", short: None, value: Value::One, means: Means::Command(Verb::StartDaemon) },
    Entry { long: "stop-daemon", short: None, value: Value::One, means: Means::Command(Verb::StopDaemon) },
    one("tcp-service", Some('t'), Topic::Service),
    one("udp-service", Some('u'), Topic::Service),
    one("sctp-service", None, Topic::Service),
    one("fwmark-service", Some('f'), Topic::Service),
    one("scheduler", Some('s'), Topic::Scheduler),
    Entry {
        long: "persistent",
        short: Some('p'),
        value: Value::Perhaps,
        means: Means::Option(Topic::Persistent),
    },
    one("netmask", Some('M'), Topic::Netmask),
    one("real-server", Some('r'), Topic::Server),
    flag("masquerading", Some('m'), Topic::Forward),
    // An extension of xvs: IPVS has no full NAT.
    flag("fullnat", None, Topic::Forward),
    flag("ipip", Some('i'), Topic::Forward),
    flag("gatewaying", Some('g'), Topic::Forward),
    one("weight", Some('w'), Topic::Weight),
    one("u-threshold", Some('x'), Topic::Upper),
    one("l-threshold", Some('y'), Topic::Lower),
    flag("numeric", Some('n'), Topic::Numeric),
    flag("connection", Some('c'), Topic::Connection),
    one("mcast-interface", None, Topic::McastInterface),
    one("syncid", None, Topic::SyncId),
    flag("timeout", None, Topic::Timeout),
    flag("daemon", None, Topic::Daemon),
    flag("stats", None, Topic::Stats),
    flag("rate", None, Topic::Rate),
    flag("thresholds", None, Topic::Thresholds),
    flag("persistent-conn", None, Topic::PersistentConn),
    flag("nosort", None, Topic::NoSort),
    Entry { long: "sort", short: None, value: Value::None, means: Means::Nothing },
    flag("exact", Some('X'), Topic::Exact),
    Entry { long: "ipv6", short: Some('6'), value: Value::None, means: Means::Ipv6 },
    flag("ops", Some('o'), Topic::Ops),
    one("pe", None, Topic::Engine),
    one("sched-flags", Some('b'), Topic::SchedulerFlags),
    one("mcast-group", None, Topic::McastGroup),
    one("mcast-port", None, Topic::McastPort),
    one("mcast-ttl", None, Topic::McastTtl),
    one("sync-maxlen", None, Topic::SyncMaxlen),
    flag("tun-info", None, Topic::TunInfo),
    one("tun-type", None, Topic::TunType),
    one("tun-port", None, Topic::TunPort),
    flag("tun-nocsum", None, Topic::TunNocsum),
    flag("tun-csum", None, Topic::TunCsum),
    flag("tun-remcsum", None, Topic::TunRemcsum),
];

/// An option as given.
#[derive(Debug, Eq, PartialEq)]
pub struct Given {
    /// Option.
    pub entry: &'static Entry,
    /// Value.
    pub value: Option<String>,
    /// Word that contained the option.
    pub word: String,
}

impl Given {
    /// Returns the value; empty if there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }
}

/// Options as given, and the remaining words.
#[derive(Debug, Default)]
pub struct Reading {
    /// Options.
    pub given: Vec<Given>,
    /// Remaining words.
    pub rest: Vec<String>,
}

/// Reads the words of a command line as popt does: short options can be joined and have their value in the
/// same word, long ones have it after `=` or as the next word, and `--` ends the options.
///
/// # Errors
/// Fails as ipvsadm does, if an option is unknown or lacks its value.
pub fn read(words: &[String]) -> Result<Reading, Trouble> {
    let mut reading = Reading::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let wrong = |why: &str| Trouble::option(word, why, reading.given.is_empty());
        if word == "--" {
            reading.rest.extend(words.cloned());
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, mut value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let entry = ENTRIES.iter().find(|entry| entry.long == name);
            let entry = entry.ok_or_else(|| wrong("unknown option"))?;
            if value.is_some() && entry.value == Value::None {
                return Err(wrong("option does not take an argument"));
            }
            if value.is_none() {
                value = next_value(entry, &mut words).map_err(|()| wrong("missing argument"))?;
            }
            reading.given.push(Given { entry, value, word: word.clone() });
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            reading.rest.push(word.clone());
            continue;
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let wrong = |why: &str| Trouble::option(word, why, reading.given.is_empty());
            let entry = ENTRIES.iter().find(|entry| entry.short == Some(letter));
            let entry = entry.ok_or_else(|| wrong("unknown option"))?;
            let joined = letters.as_str();
            let value = if entry.value == Value::None {
                None
            } else if joined.is_empty() {
                next_value(entry, &mut words).map_err(|()| wrong("missing argument"))?
            } else {
                letters = "".chars();
                Some(joined.strip_prefix('=').unwrap_or(joined).to_owned())
            };
            reading.given.push(Given { entry, value, word: word.clone() });
        }
    }
    Ok(reading)
}

/// Returns the next word, if it is the option's value.
fn next_value<'a>(
    entry: &Entry,
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a String>>,
) -> Result<Option<String>, ()> {
    match entry.value {
        Value::None => Ok(None),
        Value::One => words.next().cloned().map(Some).ok_or(()),
        Value::Perhaps => Ok(words.next_if(|word| !word.starts_with('-')).cloned()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(line: &str) -> Result<Reading, Trouble> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[rstest]
    #[case::apart("-L -n", "list numeric")]
    #[case::joined("-Ln", "list numeric")]
    #[case::three("-lnc", "list numeric connection")]
    #[case::long("--list --numeric", "list numeric")]
    #[case::value("-t 10.0.0.1:80", "tcp-service=10.0.0.1:80")]
    #[case::value_joined("-At10.0.0.1:80 -srr", "add-service tcp-service=10.0.0.1:80 scheduler=rr")]
    #[case::value_after_equals("--weight=5 -w=6", "weight=5 weight=6")]
    #[case::value_that_looks_like_an_option("-w -1", "weight=-1")]
    #[case::no_value_at_the_end("-p", "persistent")]
    #[case::no_value_before_an_option("-p -M 255.255.255.0", "persistent netmask=255.255.255.0")]
    #[case::optional_value("-p 60 -n", "persistent=60 numeric")]
    #[case::other_words("--set 1 2 3", "set | 1 2 3")]
    #[case::end_of_options("-L -- -n", "list | -n")]
    fn words_are_read_as_popt_does(#[case] line: &str, #[case] expected: &str) {
        let Reading { given, rest } = of(line).unwrap();
        let mut shown: Vec<String> = given
            .iter()
            .map(|given| match &given.value {
                Some(value) => format!("{}={value}", given.entry.long),
                None => given.entry.long.to_owned(),
            })
            .collect();
        if !rest.is_empty() {
            shown.push(format!("| {}", rest.join(" ")));
        }
        assert_eq!(shown.join(" "), expected);
    }

    #[rstest]
    #[case::unknown("-L --colour", "--colour: unknown option")]
    #[case::unknown_letter("-Lq", "-Lq: unknown option")]
    #[case::no_value("-A -t", "-t: missing argument")]
    #[case::a_value_too_many("-L --numeric=1", "--numeric=1: option does not take an argument")]
    #[case::the_first("--colour -L", "Try `ipvsadm -h' or 'ipvsadm --help' for more information.")]
    fn what_cannot_be_read_is_said_as_ipvsadm_does(#[case] line: &str, #[case] message: &str) {
        let trouble = of(line).unwrap_err();
        assert_eq!((trouble.text("ipvsadm").as_str(), trouble.exit_code()), (message, 255));
    }

    #[test]
    fn no_option_is_there_twice() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            let same = |other: &Entry| {
                (entry.long == other.long && entry.means != Means::Command(Verb::List))
                    || (entry.short.is_some() && entry.short == other.short)
            };
            assert!(!ENTRIES[..index].iter().any(same), "{entry:?}");
        }
    }
}
