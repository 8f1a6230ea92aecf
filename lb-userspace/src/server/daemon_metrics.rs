// SPDX-License-Identifier: MIT OR Apache-2.0
//! Metrics of the daemon itself: its changes, its config file, its process.
#![forbid(unsafe_code)]

use std::{fs, time::Duration};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::{TimeVal, TimeValLike as _},
};

use super::page::{Kind, Page, labels};
use crate::daemon::scrape::Scrape;

/// Writes the outcomes of changes, and of reads of the config file.
pub(super) fn write(page: &mut Page<impl FnMut(String)>, scrape: &Scrape) {
    let outcomes = &scrape.outcomes;
    page.metric(Kind::Counter, "xvs_changes", "Changes of services by result, see docs/metrics.md");
    for (result, number) in
        [("applied", outcomes.applied), ("refused", outcomes.refused), ("failed", outcomes.failed)]
    {
        page.sample(&labels(&[("result", result)]), number);
    }
    let help = "Whether the state could not be written to its file, so that changes are refused; 1 is yes";
    page.metric(Kind::Gauge, "xvs_state_unsaved", help).sample("", scrape.is_unsaved.into());
    let help = "Problems that `xvs status` lists";
    page.metric(Kind::Gauge, "xvs_problems", help).sample("", scrape.status.problems.len() as u64);
    let help = "Whether the director can take over traffic, as `xvs ready` says; 1 is yes";
    page.metric(Kind::Gauge, "xvs_director_ready", help).sample("", scrape.is_ready.into());
    let help = "Whether the operator has drained the director; 1 is yes";
    page.metric(Kind::Gauge, "xvs_director_drained", help).sample("", scrape.is_drained.into());
    let help = "Traces that run, see docs/trace.md";
    page.metric(Kind::Gauge, "xvs_traces", help).sample("", scrape.traces);
    let help = "Samples of packets that did not reach their trace, because a buffer was full";
    page.metric(Kind::Counter, "xvs_trace_lost_samples", help).sample("", scrape.lost_samples);
    if let Some(follow) = &scrape.status.follow {
        let help = "Services of the kernel's IPVS that stay with the kernel; absent without --follow-ipvs";
        page.metric(Kind::Gauge, "xvs_follow_left_services", help).sample("", follow.left.len() as u64);
        let help = "Changes of services and reals that came from the kernel's IPVS";
        page.metric(Kind::Counter, "xvs_follow_changes", help).sample("", follow.changes);
        let help = "Whether the kernel's IPVS could be read and followed; 1 is yes";
        page.metric(Kind::Gauge, "xvs_follow_successful", help).sample("", follow.problem.is_none().into());
    }
    let Some(config) = outcomes.config else { return };
    let help = "Whether the config file was good when it was last read; absent without one; 1 is yes";
    page.metric(Kind::Gauge, "xvs_config_last_reload_successful", help).sample("", config.is_good.into());
    let help = "When the config file was last read and good, in seconds since 1970; absent without one";
    page.metric(Kind::Gauge, "xvs_config_last_success_timestamp_seconds", help).sample("", config.last_good);
}

/// Writes what the drivers of the interfaces lost.
pub(super) fn interfaces(page: &mut Page<impl FnMut(String)>, scrape: &Scrape) {
    let help =
        "Packets that the program sent and the driver dropped, as ethtool counts them; absent without it";
    page.metric(Kind::Counter, "xvs_interface_transmit_errors", help);
    for (name, number) in &scrape.send_errors {
        page.sample(&labels(&[("interface", name)]), *number);
    }
}

/// Writes the metrics that the client libraries of Prometheus have for each process.
pub(super) fn process(page: &mut Page<impl FnMut(String)>, start_time_seconds: u64) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let micros = |time: TimeVal| time.num_microseconds().unsigned_abs();
        page.metric(Kind::Counter, "process_cpu_seconds", "CPU time of the process, in seconds").fraction(
            Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())).as_secs_f64(),
        );
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, help, field) in [
        ("process_resident_memory_bytes", "Resident memory of the process, in bytes", "VmRSS:"),
        ("process_virtual_memory_bytes", "Virtual memory of the process, in bytes", "VmSize:"),
    ] {
        if let Some(bytes) = memory(&status, field) {
            page.metric(Kind::Gauge, name, help).sample("", bytes);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.metric(Kind::Gauge, "process_open_fds", "Open files of the process")
            .sample("", open.count() as u64);
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.metric(Kind::Gauge, "process_max_fds", "Files that the process may open").sample("", most);
    }
    let help = "When the process started, in seconds since 1970";
    page.metric(Kind::Gauge, "process_start_time_seconds", help).sample("", start_time_seconds);
}

/// Returns a field of /proc/self/status, in bytes.
fn memory(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\txvs\nVmSize:\t  2048 kB\nVmRSS:\t     512 kB\n";
        assert_eq!(memory(status, "VmRSS:"), Some(512 << 10));
        assert_eq!(memory(status, "VmSize:"), Some(2 << 20));
        assert_eq!(memory(status, "VmSwap:"), None);
    }
}
