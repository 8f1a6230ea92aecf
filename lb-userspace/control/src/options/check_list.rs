// SPDX-License-Identifier: MIT OR Apache-2.0
//! The option `--check NAME…` of services and reals.
#![forbid(unsafe_code)]

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args, Command, FromArgMatches, Id, error::ErrorKind};
use serde::{Deserialize, Serialize};

use super::check::check_names;
use lb_model::check::CheckName;

/// A list of checks in options: `web tls`, `web,tls`, or `none`, which is an empty list.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct CheckList(pub Vec<CheckName>);

/// Name of the option.
const OPTION: &str = "check";
/// Name of the group that shows clap whether the option was given.
const GROUP: &str = "CheckList";
const HELP: &str = "Health checks by name, or none [new services: none; new reals: those of the service]";

impl FromArgMatches for CheckList {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let texts: Vec<String> = matches.get_many::<String>(OPTION).into_iter().flatten().cloned().collect();
        check_names(&texts).map(Self).map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for CheckList {
    fn group_id() -> Option<Id> {
        Some(GROUP.into())
    }

    fn augment_args(command: Command) -> Command {
        let is_name = |text: &str| check_names(&[text.to_owned()]).map(|_| text.to_owned());
        let option = Arg::new(OPTION)
            .long(OPTION)
            .value_name("NAME")
            .num_args(1..)
            .action(ArgAction::Append)
            .value_parser(is_name)
            .help_heading("Health")
            .help(HELP);
        command.group(ArgGroup::new(GROUP).multiple(true).arg(OPTION)).arg(option)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        check: Option<CheckList>,
        #[arg(long)]
        other: bool,
    }

    fn names(words: &[&str]) -> Result<Option<Vec<String>>, String> {
        let words = std::iter::once("xvs").chain(words.iter().copied());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        assert!(!line.other || line.check.is_some());
        Ok(line.check.map(|list| list.0.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn names_are_separated_by_spaces_or_commas_or_given_one_by_one() {
        assert_eq!(names(&[]), Ok(None));
        for words in [
            &["--check", "web", "tls", "--other"][..],
            &["--check", "web,tls"],
            &["--check", "web", "--check", "tls"],
        ] {
            assert_eq!(names(words), Ok(Some(vec!["web".to_owned(), "tls".to_owned()])), "{words:?}");
        }
        assert_eq!(names(&["--check", "none"]), Ok(Some(Vec::new())));
    }

    #[test]
    fn a_wrong_list_is_refused() {
        for (words, why) in [
            (&["--check", "a b"][..], "none of letters"),
            (&["--check", "web", "web"], "named twice"),
            (&["--check", "web", "none"], "no check"),
            (&["--check"], "required"),
        ] {
            let refused = names(words).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
