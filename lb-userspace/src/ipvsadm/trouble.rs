// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, in the words of ipvsadm where it has some, for scripts that look for them.
#![forbid(unsafe_code)]

use std::fmt;

use super::grammar::Verb;
use crate::failure::{Cause, Failure};

/// Why a command of ipvsadm was not carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// A command line without a command, or of which the first option is unknown: ipvsadm names its help then.
    Help,
    /// ipvsadm says the same.
    Said {
        /// Its words.
        message: String,
        /// Its exit code.
        code: u8,
        /// What this program knows besides.
        hint: Option<String>,
        /// Whether the kernel says it, not ipvsadm's parser.
        kernel: bool,
    },
    /// ipvsadm would do it, this program does not, or it says so better.
    Refused(Failure),
}

/// What ipvsadm answers to a command line that it can make nothing of.
const HELP: &str = "Try `{program} -h' or '{program} --help' for more information.";
/// Where the name of the program belongs in it.
const PROGRAM: &str = "{program}";
/// Exit code of ipvsadm for a command line that it does not understand.
const USAGE: u8 = 2;
/// Exit code of ipvsadm for what the kernel refused, and for options that popt refused: it returns -1.
const MINUS_ONE: u8 = 255;
/// Exit code of ipvsadm for a list of what is not there.
const NOTHING_TO_LIST: u8 = 1;

impl Trouble {
    /// A command line that ipvsadm does not understand either.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::said(message, USAGE)
    }

    /// An option that cannot be read; ipvsadm tells little about the first one of a command line.
    #[must_use]
    pub fn option(word: &str, why: &str, first: bool) -> Self {
        if first { Self::Help } else { Self::said(format!("{word}: {why}"), MINUS_ONE) }
    }

    /// What the kernel would have refused.
    pub fn kernel(message: impl Into<String>) -> Self {
        Self::Said { message: message.into(), code: MINUS_ONE, hint: None, kernel: true }
    }

    /// Whether the command was understood and is refused for what it asks: other commands of the same file are not
    /// concerned.
    #[must_use]
    pub const fn is_of_the_rule(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Said { kernel: true, .. })
    }

    /// Adds where the command stands.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        let add = |hint: Option<String>| match hint {
            Some(hint) => Some(format!("{hint}\nhint: {place}")),
            None => Some(place.to_owned()),
        };
        match self {
            Self::Help => Self::said(HELP, MINUS_ONE).at(place),
            Self::Said { message, code, hint, kernel } => {
                Self::Said { message, code, hint: add(hint), kernel }
            }
            Self::Refused(failure) => Self::Refused(Failure { hint: add(failure.hint), ..failure }),
        }
    }

    /// Returns the words of the message for a program that was called by this name.
    #[must_use]
    pub fn text(&self, program: &str) -> String {
        self.to_string().replace(PROGRAM, program)
    }

    /// What has no meaning here, or not yet.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused(Failure::wrong_input(message).hint(hint))
    }

    /// What the daemon answered to a command, as the kernel would have.
    #[must_use]
    pub fn of(verb: Verb, failure: Failure) -> Self {
        let server = matches!(verb, Verb::AddServer | Verb::EditServer | Verb::DeleteServer);
        let message = match failure.cause {
            Some(Cause::NoService) if server => "Service not defined",
            Some(Cause::NoService) => "No such service",
            Some(Cause::ServiceExists) => "Service already exists",
            Some(Cause::NoReal) => "No such destination",
            Some(Cause::RealExists) => "Destination already exists",
            Some(Cause::Full) => "Memory allocation problem",
            None if failure.exit_code() == 2 => {
                "Invalid operation.  Possibly wrong module version, address not unicast, ..."
            }
            None => return Self::Refused(failure),
        };
        let known = !matches!(failure.cause, None | Some(Cause::Full));
        let code = if verb == Verb::List { NOTHING_TO_LIST } else { MINUS_ONE };
        let hint = if known { None } else { Some(failure.message) };
        Self::Said { message: message.to_owned(), code, hint, kernel: true }
    }

    fn said(message: impl Into<String>, code: u8) -> Self {
        Self::Said { message: message.into(), code, hint: None, kernel: false }
    }

    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Help => MINUS_ONE,
            Self::Said { code, .. } => *code,
            Self::Refused(failure) => failure.exit_code(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str(HELP),
            Self::Said { message, hint: None, .. } => f.write_str(message),
            Self::Said { message, hint: Some(hint), .. } => write!(f, "{message}\nhint: {hint}"),
            Self::Refused(failure) => failure.fmt(f),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}
