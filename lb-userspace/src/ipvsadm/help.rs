// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of `ipvsadm --help` and `--version`.
#![forbid(unsafe_code)]

use super::page::VERSION;

/// Returns the version of the ipvsadm whose grammar and output this module imitates, in ipvsadm's format,
/// because scripts parse it.
#[must_use]
pub fn version() -> String {
    format!("ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v{VERSION})\n")
}

/// Output of `ipvsadm-save` for any option but `-n`.
pub const SAVE: &str = "ipvsadm-save [-n]: prints the table to stdout, with -n in numbers";

/// Returns the grammar.
#[must_use]
pub fn help() -> String {
    format!("{}{HELP}", version())
}

const HELP: &str = "\
This is xvs, which answers as ipvsadm does. `xvs --help` shows its own commands.

  ipvsadm -A|-E SERVICE [-s SCHEDULER] [-b FLAGS] [-p [SECONDS]] [-M NETMASK] [-o]
  ipvsadm -D SERVICE
  ipvsadm -a|-e SERVICE -r HOST[:PORT] [-g|-i|-m] [-w WEIGHT] [-x UPPER] [-y LOWER]
  ipvsadm -d SERVICE -r HOST[:PORT]
  ipvsadm -L|-l [SERVICE] [-n] [--stats|--rate|--thresholds|--persistent-conn|--tun-info] [--exact] [--nosort]
  ipvsadm -L|-l -c [-n] | --timeout | --daemon
  ipvsadm -S [-n] · -R · -C · -Z [SERVICE] · --set TCP TCPFIN UDP

SERVICE is -t HOST[:PORT] (TCP), -u HOST[:PORT] (UDP), --sctp-service HOST[:PORT], or -f N [-6] (group N: a
firewall mark to IPVS, -6 of IPv6). An IPv6 address with a port is written [ADDRESS]:PORT.

Commands
  -A, --add-service      -E, --edit-service     -D, --delete-service   -C, --clear
  -a, --add-server       -e, --edit-server      -d, --delete-server    -Z, --zero
  -L, -l, --list         -S, --save             -R, --restore          --set
Options
  -t, --tcp-service      -u, --udp-service      -f, --fwmark-service   -r, --real-server
  -s, --scheduler NAME   rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos (default: wlc)
  -b, --sched-flags      sh-fallback sh-port mh-fallback mh-port, with commas
  -p, --persistent       keep clients on their reals (default: 360 s)
  -M, --netmask          clients of one network are one; the length of a prefix for IPv6
  -o, --ops              each datagram of UDP by itself
  -g, --gatewaying       direct routing (default); -i, --ipip: tunnel; -m, --masquerading: NAT; --fullnat
  -w, --weight           0 to 2147483647 (default: 1)
  -x, --u-threshold      -y, --l-threshold      connections of a real
  -n, --numeric          no names of hosts and ports
  -c, --connection       the connections; of groups too
      --exact            every digit

Refused: remote checksums of gue tunnels, persistence engines, daemons that synchronize connections.
";
