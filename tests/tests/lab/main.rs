// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real packets of real clients through a real kernel's XDP hook to real servers.
//!
//! Nothing here skips: without root, or a feature of the kernel, a test panics with the reason.

mod access; //   the listener for people and programs
mod agent; //    real servers that follow the director
mod agent_moves; // while host and director change
mod alerts; //    alert rules and dashboard of contrib
mod arp; //      answers of a real about a VIP, at every level of the settings
mod bad_input; // input that must be refused
mod building; //   the lab itself, without xvs
mod churn; //       thousands of connections while the pool changes
mod claims; //   a VIP that another machine has
mod config_life; // plan, confirm, history, rollback
mod crossing; //   packets that pass the director, and packets that do not
mod cut; //      connections that are ended
mod doc; //      docs/arp.md against the captures
mod doctor; //   faults and their fixes
mod doctor_back; // replies that do not reach clients
mod doctor_causes; // the right cause of several
mod doctor_edges; // machines with several roles, paths too narrow for any packet
mod doctor_faults; // the rest of its faults, one by one
mod doctor_firewall; // rules that match no packet, and firewalls of reals
mod doctor_ipv6; // IPv6, and every kind of tunnel
mod doctor_more; // further causes: IPv6, two faults at once
mod doctor_quiet; // no findings without a fault
mod doctor_ways; // other causes of the same faults
mod drain; //    xvs real drain
mod examples; //  the config files of examples/
mod explain; //   the fate of a packet, explained
mod explain_plan; // packets of existing flows after a planned change
mod files; //      HTTP, and large files both ways
mod first_hour; // first steps of a new user
mod fnat; //     a pool of addresses and ports
mod growth; //   a flow table that grows and shrinks
mod health; //     health checks
mod health_faults; // faults that health checks find, and wrong input
mod health_freeze; // frozen states
mod health_load; // thousands of health checks a second
mod health_pool; // a service whose health is watched
mod health_signs; // checks that what clients meet brings forward
mod health_types; // each type of health check, with real servers
mod host_open; //   rules that let a service through
mod host_options; // levels, --dry-run, --persist
mod host_orders; // xvs host in random orders, killed at random moments
mod host_others; // two set-ups of one host
mod icmp; //     errors about a flow
mod ipv6; //     IPv6 with every method
mod ipvsadm; //  the command line of IPVS
mod ldirectord; // an unmodified ldirectord
mod listeners; //  idle connections
mod live; //       the stream of rates and states
mod logs; //       the reader of the log is gone, stuck or full
mod matrix; //   every method in either version: ping, traceroute, narrow links
mod metrics; //    promtool and Prometheus
mod million; //    a million tracked flows
mod mixed; //      several methods at once
mod modes; //      generic XDP, two arms
mod ndp; //      answers of a real about an IPv6 VIP
mod overview; // lists, status and messages
mod page; //     the status page in Chromium
mod page_soak; // the memory of the daemon and of the tab meanwhile
mod privileges; // capabilities of the daemon
mod probe_path; // health probes on the forwarding path
mod ready; //    readiness of a director among several
mod real_server; // xvs host
mod reload; //   SIGHUP
mod resize; //     larger tables while packets are forwarded
mod restart; //    restarts of the daemon
mod scale; //     thousands of reals
mod sizes; //    the largest numbers of services and reals
mod spread; //     distribution of connections
mod ssh; //       set-up of a real by ssh
mod start; //    faults that keep a daemon from starting
mod survival; // no connection is reset
mod sync; //     connections that move from one director to another
mod sync_start; // start and stop of its sender and receiver
mod throughput; // iperf3
mod top; //      xvs top in a terminal, and lists
mod trace; //    packets with their verdicts
mod tracking; // only where a pool change could hurt
mod udp; //        datagrams
mod untouched; //  traffic of no service
