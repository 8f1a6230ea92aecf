// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of options, and ipvsadm's messages about invalid ones.
#![forbid(unsafe_code)]

use super::{
    address::{self, Place},
    names::Names,
    trouble::Trouble,
};
use lb_model::{Protocol, Scheduler, SchedulerFlag, ServiceId, timeouts::TimeoutOptions};

/// Longest timeout that ipvsadm accepts, in seconds: 31 days.
const MAX_TIMEOUT: i64 = 86400 * 31;
/// Longest timeout that the programs can count, in seconds: half the range of their ticks is 26 days.
pub const LONGEST: i64 = 2_073_600;

/// Parses the service of `-t`, `-u`, `--sctp-service` or `-f`.
pub fn service(option: &str, text: &str, names: &dyn Names) -> Result<ServiceId, Trouble> {
    let protocol = match option {
        "tcp-service" => Protocol::Tcp,
        "udp-service" => Protocol::Udp,
        "sctp-service" => Protocol::Sctp,
        _ => {
            return match text.trim_start().parse::<i64>().map(u32::try_from) {
                Ok(Ok(group)) if group > 0 => Ok(ServiceId::group(group)),
                _ => Err(Trouble::usage(format!("invalid fwmark value `{text}' specified"))),
            };
        }
    };
    let Place { host, port } = address::place(text, Some(protocol), names)
        .ok_or_else(|| illegal("virtual server address[:port]"))?;
    Ok(ServiceId::new(protocol, (host, port.unwrap_or(0)).into()))
}

/// Parses one flag of `-b`. The kernel has three bits, of which the first two have names with sh and mh; the
/// third has no effect with these, and ipvsadm does not show it.
pub fn scheduler_flag(word: &str, scheduler: &str) -> Result<Option<SchedulerFlag>, Trouble> {
    let flag: SchedulerFlag =
        word.parse().map_err(|_| Trouble::usage(format!("invalid scheduler flag `{word}'")))?;
    // An unknown scheduler is refused later.
    let known = scheduler.parse().unwrap_or(Scheduler::Rr);
    match flag.with(known) {
        Ok(flag) => Ok(flag),
        Err(_) => Err(Trouble::usage(format!("incompatible scheduler flag `{word}'"))),
    }
}

/// Parses the three values of `--set`; 0 leaves a timeout unchanged.
pub fn timeouts<'a>(rest: &mut impl Iterator<Item = &'a String>) -> Result<TimeoutOptions, Trouble> {
    let (Some(tcp), Some(tcp_fin), Some(udp)) = (rest.next(), rest.next(), rest.next()) else {
        return Err(Trouble::usage("--set option requires 3 timeout values"));
    };
    let value =
        |text: &str| Ok::<_, Trouble>(Some(seconds(timeout(text, 0)?)?).filter(|seconds| *seconds > 0));
    Ok(TimeoutOptions { tcp: value(tcp)?, tcp_fin: value(tcp_fin)?, udp: value(udp)? })
}

/// Parses seconds, up to the limit of ipvsadm.
pub fn timeout(text: &str, min: i64) -> Result<i64, Trouble> {
    let value = text.trim_start().parse().ok().filter(|value| (min..=MAX_TIMEOUT).contains(value));
    value.ok_or_else(|| Trouble::usage(format!("invalid timeout value `{text}' specified")))
}

/// Converts seconds, up to the limit of the programs.
pub fn seconds(value: i64) -> Result<u32, Trouble> {
    u32::try_from(value).ok().filter(|_| value <= LONGEST).ok_or_else(|| {
        Trouble::refused(
            format!("a timeout of {value} s is more than this program can count"),
            format!("at most {LONGEST} s, which are 24 days"),
        )
    })
}

/// Parses a number; `what` names it in the message.
pub fn number(text: &str, min: i64, max: i64, what: &str) -> Result<u32, Trouble> {
    let value = text.trim_start().parse().ok().filter(|value| (min..=max).contains(value));
    value.and_then(|value| u32::try_from(value).ok()).ok_or_else(|| illegal(what))
}

/// Creates ipvsadm's error about an invalid value.
pub fn illegal(what: &str) -> Trouble {
    Trouble::usage(format!("illegal {what} specified"))
}
