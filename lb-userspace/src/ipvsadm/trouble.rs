// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, in the words of ipvsadm where it has some, for scripts that look for them.
#![forbid(unsafe_code)]

use std::fmt;

use super::grammar::Verb;
use crate::failure::{Cause, Failure};

/// Why a command of ipvsadm was not carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// ipvsadm says the same.
    Said {
        /// Its words.
        message: String,
        /// Its exit code.
        code: u8,
        /// What this program knows besides.
        hint: Option<String>,
    },
    /// ipvsadm would do it, this program does not, or it says so better.
    Refused(Failure),
}

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
        if first { Self::try_help() } else { Self::said(format!("{word}: {why}"), MINUS_ONE) }
    }

    /// A command line without a command.
    #[must_use]
    pub fn try_help() -> Self {
        Self::said("Try `ipvsadm -h' or 'ipvsadm --help' for more information.", MINUS_ONE)
    }

    /// What the kernel would have refused.
    pub fn kernel(message: impl Into<String>) -> Self {
        Self::said(message, MINUS_ONE)
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
        Self::Said { message: message.to_owned(), code, hint }
    }

    fn said(message: impl Into<String>, code: u8) -> Self {
        Self::Said { message: message.into(), code, hint: None }
    }

    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Said { code, .. } => *code,
            Self::Refused(failure) => failure.exit_code(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
