// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words about scripts and mails that follow a change of health, which xvs has no equivalent for.
#![forbid(unsafe_code)]

use super::{super::Kind, schedule::switch, way::Taken};

/// Reason why a line about scripts or mails is not carried over.
pub const EVENTS: &str = "the director starts no scripts and sends no mail: `xvs events --follow` prints \
                          each change as a line of JSON";

/// Parses a line about what follows from a change; `None` if it is about something else.
pub fn silent(words: &[&str]) -> Option<Taken> {
    let why = match words[0] {
        "smtp_alert" if switch(words) == Some(false) => return Some(Taken::Yes),
        "notify_down" | "notify_up" | "quorum_down" | "quorum_up" | "smtp_alert" | "snmp_name" => EVENTS,
        "omega" => "the director starts no scripts when it stops: the health of the reals stays as it is",
        "ha_suspend" => "checks go on without the VIP, so that a director on standby knows the health",
        _ => return None,
    };
    Some(Taken::No(why.to_owned(), Kind::Health))
}
