// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of numbers, for all front ends: command line, config file, API.
#![forbid(unsafe_code)]

use super::state::FlowLimits;
use lb_model::failure::Failure;
use lb_model::{
    Persistence, ServiceId,
    timeouts::{LONGEST, TimeoutOptions},
};

/// Largest number of flows for which a table can be created.
pub const MOST_FLOWS: u32 = 1 << 25;

/// Checks timeouts of idle flows.
///
/// # Errors
/// If a timeout is out of bounds; the failure is wrong input and names the first one.
pub fn timeouts(options: &TimeoutOptions) -> Result<(), Failure> {
    let TimeoutOptions { tcp, tcp_fin, udp } = options;
    for (name, seconds) in [("tcp", tcp), ("tcp-fin", tcp_fin), ("udp", udp)] {
        match seconds {
            Some(0) => {
                return Err(Failure::wrong_input(format!("the timeout {name} cannot be 0"))
                    .hint("0 would end every connection; leave it out to keep it"));
            }
            Some(seconds @ LONGEST..) if *seconds > LONGEST => {
                return Err(Failure::wrong_input(format!(
                    "the timeout {name} of {seconds} s is more than 24 days"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the timeout and the prefix length of persistence.
///
/// # Errors
/// If a value is out of bounds; the failure is wrong input and names it.
pub fn persistence(id: &ServiceId, Persistence { seconds, prefix }: Persistence) -> Result<(), Failure> {
    if seconds > LONGEST {
        return Err(Failure::wrong_input(format!(
            "service {id}: {seconds} s of persistence are more than 24 days"
        )));
    }
    if prefix > Persistence::WHOLE_ADDRESS {
        return Err(Failure::wrong_input(format!("service {id}: an address has no {prefix} leading bits"))
            .hint("--netmask is 0 to 32, or 0 to 128 in IPv6"));
    }
    Ok(())
}

/// Checks the sizes of the flow tables.
///
/// # Errors
/// If a number is out of bounds; the failure is wrong input and names the first one.
pub fn room(room: &FlowLimits) -> Result<(), Failure> {
    for (name, flows) in [("max-flows", room.max_flows), ("max-flows6", room.max_flows6)] {
        if flows.is_some_and(|flows| !(1..=MOST_FLOWS).contains(&flows)) {
            return Err(Failure::wrong_input(format!("{name} must be between 1 and {MOST_FLOWS}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_one_second_to_24_days() {
        for (seconds, expected) in [
            (0, Err("cannot be 0")),
            (1, Ok(())),
            (LONGEST, Ok(())),
            (LONGEST + 1, Err("is more than 24 days")),
            (4_503_600, Err("is more than 24 days")),
            (u32::MAX, Err("is more than 24 days")),
        ] {
            let none = TimeoutOptions::default();
            for (name, options) in [
                ("tcp", TimeoutOptions { tcp: Some(seconds), ..none }),
                ("tcp-fin", TimeoutOptions { tcp_fin: Some(seconds), ..none }),
                ("udp", TimeoutOptions { udp: Some(seconds), ..none }),
            ] {
                match (timeouts(&options), expected) {
                    (Ok(()), Ok(())) => {}
                    (Err(failure), Err(why)) => {
                        assert!(failure.message.contains(why) && failure.message.contains(name), "{failure}");
                    }
                    (found, _) => panic!("{seconds}: {found:?}"),
                }
            }
        }
        assert_eq!(timeouts(&TimeoutOptions::default()), Ok(()));
    }
}
