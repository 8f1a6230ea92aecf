// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors, in the words of ipvsadm if it has some, for scripts that search for them.
#![forbid(unsafe_code)]

use std::fmt;

use super::grammar::Verb;
use lb_model::failure::{ErrorCode, Failure};

/// Reason why a command of ipvsadm failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The command line has no command, or its first option is unknown: ipvsadm then refers to its help.
    Help,
    /// An error that ipvsadm also reports.
    Said {
        /// Message of ipvsadm.
        message: String,
        /// Exit code of ipvsadm.
        code: u8,
        /// Additional hint of xvs.
        hint: Option<String>,
        /// The error comes from the kernel, not from ipvsadm's parser.
        kernel: bool,
    },
    /// An error of xvs only, or with a better message.
    Refused(Failure),
}

/// Message of ipvsadm about a command line that it cannot parse at all.
const HELP: &str = "Try `{program} -h' or '{program} --help' for more information.";
/// Placeholder for the name of the program in that message.
const PROGRAM: &str = "{program}";
/// Exit code of ipvsadm for a command line that it cannot parse.
const USAGE: u8 = 2;
/// Exit code of ipvsadm for errors of the kernel and of popt: it returns -1.
const MINUS_ONE: u8 = 255;
/// Exit code of ipvsadm for a list of a service that does not exist.
const NOTHING_TO_LIST: u8 = 1;

impl Trouble {
    /// Creates the error of a command line that ipvsadm refuses too.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::said(message, USAGE)
    }

    /// Creates the error of an invalid option; ipvsadm has no details about the first one of a command line.
    #[must_use]
    pub fn option(word: &str, why: &str, first: bool) -> Self {
        if first { Self::Help } else { Self::said(format!("{word}: {why}"), MINUS_ONE) }
    }

    /// Creates an error that the kernel would have reported.
    pub fn kernel(message: impl Into<String>) -> Self {
        Self::Said { message: message.into(), code: MINUS_ONE, hint: None, kernel: true }
    }

    /// Returns whether the command was parsed and refused for its content: other commands of the same file
    /// are not affected.
    #[must_use]
    pub const fn is_of_the_rule(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Said { kernel: true, .. })
    }

    /// Adds the position of the command.
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

    /// Returns the message for a program that was called by this name.
    #[must_use]
    pub fn text(&self, program: &str) -> String {
        self.to_string().replace(PROGRAM, program)
    }

    /// Creates a refusal of a feature that xvs lacks.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused(Failure::wrong_input(message).hint(hint))
    }

    /// Converts a failure of the daemon to the error that the kernel would have reported.
    #[must_use]
    pub fn of(verb: Verb, failure: Failure) -> Self {
        let server = matches!(verb, Verb::AddServer | Verb::EditServer | Verb::DeleteServer);
        let message = match failure.cause {
            Some(ErrorCode::NoService) if server => "Service not defined",
            Some(ErrorCode::NoService) => "No such service",
            Some(ErrorCode::ServiceExists) => "Service already exists",
            Some(ErrorCode::NoReal) => "No such destination",
            Some(ErrorCode::RealExists) => "Destination already exists",
            Some(ErrorCode::Full) => "Memory allocation problem",
            Some(ErrorCode::SyncDaemonRuns) => "Daemon has already run",
            Some(ErrorCode::NoSyncDaemon) => "No daemon is running",
            // strerror(ENODEV)
            Some(ErrorCode::NoInterface) => "No such device",
            None if failure.exit_code() == 2 => {
                "Invalid operation.  Possibly wrong module version, address not unicast, ..."
            }
            // Options of ipvsadm name no check.
            Some(ErrorCode::NoCheck | ErrorCode::CheckExists) | None => return Self::Refused(failure),
        };
        let known = !matches!(failure.cause, None | Some(ErrorCode::Full));
        let code = if verb == Verb::List { NOTHING_TO_LIST } else { MINUS_ONE };
        let hint = if known { None } else { Some(failure.message) };
        Self::Said { message: message.to_owned(), code, hint, kernel: true }
    }

    fn said(message: impl Into<String>, code: u8) -> Self {
        Self::Said { message: message.into(), code, hint: None, kernel: false }
    }

    /// Returns the exit code of the process.
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
