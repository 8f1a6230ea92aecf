// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets that the program sends and the driver drops: a veth accepts frames from XDP only if its peer runs
//! an XDP program too.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::process::Command;

use lb_dataplane::Mode;
use lb_netlink::{Interface, Netlink, XdpPlace};

/// Time for which growth of a counter is reported.
const NEWS: Duration = Duration::from_secs(30);

/// Drivers' counters of packets that they failed to send.
#[derive(Debug, Default)]
pub(super) struct LostSends {
    /// Last value by interface, and amount and time of its last growth.
    seen: BTreeMap<String, (u64, Option<(u64, Instant)>)>,
}

impl LostSends {
    /// Notes the value of an interface's counter. Returns its recent growth.
    fn note(&mut self, name: &str, number: u64, now: Instant) -> Option<u64> {
        let (last, grown) = self.seen.entry(name.to_owned()).or_insert((number, None));
        if number > *last {
            *grown = Some((number - *last, now));
        }
        *last = number;
        grown.filter(|(_, when)| now.duration_since(*when) < NEWS).map(|(by, _)| by)
    }

    /// Reads the counters of interfaces, by index. Returns the recent growth of those that have grown.
    pub(super) async fn read(&mut self, interfaces: &BTreeMap<u32, String>) -> BTreeMap<u32, u64> {
        let mut lost = BTreeMap::new();
        for (index, name) in interfaces {
            let Some(number) = send_errors_of(name).await else { break };
            if let Some(by) = self.note(name, number, Instant::now()) {
                lost.insert(*index, by);
            }
        }
        lost
    }
}

/// Returns the number of packets that the driver of an interface failed to send for XDP programs, since the driver
/// counts; `None` without ethtool.
pub(super) async fn send_errors_of(name: &str) -> Option<u64> {
    let output = Command::new("ethtool").args(["-S", name]).output().await.ok()?;
    Some(send_errors(&String::from_utf8_lossy(&output.stdout)))
}

/// Returns the mode in which to attach: generic instead of `auto` on a veth whose peer would lose frames that
/// the program sends.
pub(super) async fn mode_for(netlink: &Netlink, interface: &Interface, mode: Mode) -> Mode {
    if mode == Mode::Auto && netlink.veth_takes_xdp(interface).await == Some(false) {
        return Mode::Generic;
    }
    mode
}

/// Warns if the driver of an interface drops the frames that the program sends, or would do so in native mode.
pub(super) async fn warn_of_lost_sends(netlink: &Netlink, interface: &Interface) {
    if netlink.veth_takes_xdp(interface).await != Some(false) {
        return;
    }
    let name = &interface.name;
    match netlink.interface_by_index(interface.index).await.ok().and_then(|now| now.xdp) {
        Some(XdpPlace::Native) => tracing::warn!(
            "{name} is a veth whose other end has no XDP program: the driver drops what the program sends back. Use `xvs attach {name} --xdp-mode generic`, or attach an XDP program that passes everything to the other end"
        ),
        Some(XdpPlace::Generic) => tracing::warn!(
            "{name} is a veth whose other end has no XDP program: generic mode is used, which is slower, because in native mode the driver would drop what the program sends"
        ),
        _ => {}
    }
}

/// Returns the veths among `interfaces` whose peer loses frames that an XDP program sends through them.
pub(super) async fn deaf_veths(netlink: &Netlink, interfaces: &[Interface]) -> BTreeSet<u32> {
    let mut deaf = BTreeSet::new();
    for interface in interfaces {
        if netlink.veth_takes_xdp(interface).await == Some(false) {
            deaf.insert(interface.index);
        }
    }
    deaf
}

/// Returns the sum of the counters of packets that XDP programs failed to send, by the names that drivers use.
fn send_errors(page: &str) -> u64 {
    let counters = page.lines().filter_map(|line| line.trim().rsplit_once(": "));
    let is_lost = |name: &str| {
        name.contains("xdp")
            && (name.contains("tx") || name.contains("xmit"))
            && (name.contains("err") || name.ends_with("full"))
    };
    counters.filter(|(name, _)| is_lost(name)).filter_map(|(_, number)| number.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_lost_sends_are_added_up() {
        let page = "NIC statistics:\n     peer_ifindex: 3\n     rx_queue_0_xdp_packets: 9\n     \
                    rx_queue_0_xdp_drops: 5\n     rx_queue_0_xdp_tx: 4\n     rx_queue_0_xdp_tx_errors: 4\n     \
                    tx_queue_0_xdp_xmit: 0\n     tx_queue_0_xdp_xmit_errors: 3\n     rx_xdp_tx_full: 2";
        assert_eq!(send_errors(page), 9);
    }

    #[test]
    fn only_growth_is_news_and_for_a_while() {
        let (mut sends, start) = (LostSends::default(), Instant::now());
        assert_eq!(sends.note("eth0", 7, start), None);
        assert_eq!(sends.note("eth0", 9, start), Some(2));
        assert_eq!(sends.note("eth0", 9, start + NEWS / 2), Some(2));
        assert_eq!(sends.note("eth0", 9, start + NEWS), None);
    }
}
