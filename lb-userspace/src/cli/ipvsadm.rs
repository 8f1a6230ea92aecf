// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs ipvsadm`, and the names of Debian's package.
#![forbid(unsafe_code)]

use std::{ffi::OsString, process::ExitCode};

use clap::Args;

use crate::{
    api::client::Api,
    ipvsadm::{self, Name},
};

/// Accept the command line of ipvsadm 1.31, and print what it prints
///
/// `xvs ipvsadm --help` lists the options. A link to xvs named ipvsadm, ipvsadm-save or ipvsadm-restore works
/// the same.
#[derive(Args, Debug, Default)]
pub struct IpvsadmArgs {
    /// The name by which the program was called.
    #[arg(skip)]
    name: Name,
    /// The words by which the program was called.
    #[arg(skip)]
    program: String,
    /// Its words, which clap cannot express.
    #[arg(skip)]
    words: Vec<String>,
}

impl IpvsadmArgs {
    /// Removes the words of ipvsadm from a command line, which then ends with `ipvsadm`.
    pub fn cut_off(line: &mut Vec<OsString>) -> Option<Self> {
        let text =
            |words: &[OsString]| words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        if let Some(name) = line.first().and_then(|program| Name::of(program)) {
            let words = text(&line[1..]);
            let program = line[0].to_string_lossy().into_owned();
            *line = vec!["xvs".into(), "ipvsadm".into()];
            return Some(Self { name, program, words });
        }
        let mut at = 1;
        while let Some(word) =
            line.get(at).and_then(|word| word.to_str()).filter(|word| word.starts_with('-'))
        {
            // Global options whose value is the next word.
            at += if ["--socket", "--output"].contains(&word) { 2 } else { 1 };
        }
        if line.get(at)? != "ipvsadm" {
            return None;
        }
        let words = text(&line[at + 1..]);
        line.truncate(at + 1);
        Some(Self { name: Name::Ipvsadm, program: "xvs ipvsadm".to_owned(), words })
    }

    /// Executes the command.
    pub async fn run(&self, api: &Api) -> ExitCode {
        ipvsadm::run(self.name, &self.program, &self.words, api).await.into()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::subcommand("xvs ipvsadm -L -n", "xvs ipvsadm", Some("-L -n"))]
    #[case::global(
        "xvs --socket s -v --output=table ipvsadm -h",
        "xvs --socket s -v --output=table ipvsadm",
        Some("-h")
    )]
    #[case::by_name("/usr/sbin/ipvsadm -Ln", "xvs ipvsadm", Some("-Ln"))]
    #[case::save("ipvsadm-save -n", "xvs ipvsadm", Some("-n"))]
    #[case::another("xvs service add ipvsadm", "xvs service add ipvsadm", None)]
    fn the_words_of_ipvsadm_are_not_ours(
        #[case] line: &str,
        #[case] left: &str,
        #[case] words: Option<&str>,
    ) {
        let mut line: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let args = IpvsadmArgs::cut_off(&mut line);
        assert_eq!(line.join(&OsString::from(" ")), *left);
        assert_eq!(args.map(|args| args.words.join(" ")).as_deref(), words);
    }
}
