// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real packets of real clients through a real kernel's XDP hook to real servers.
//!
//! Nothing here skips: without root, or a feature of the kernel, a test panics with the reason.

mod agent; //    real servers that follow the director
mod agent_moves; // while host and director change
mod arp; //      what a real says about a VIP, at every level of the settings
mod bad_input; // what must be refused
mod building; //   the lab itself, without xvs
mod churn; //       thousands of connections while the pool changes
mod claims; //   a VIP that another machine has
mod crossing; //   what passes the director, and what does not
mod doc; //      docs/arp.md against what was captured
mod doctor; //   what is wrong, and what mends it
mod doctor_back; // replies that do not get to clients
mod doctor_causes; // the right cause of several
mod doctor_edges; // machines of several roles, ways for no packet
mod doctor_faults; // the rest of its faults, one by one
mod doctor_firewall; // rules that never see a packet, and those of reals
mod doctor_ipv6; // in IPv6, and through every kind of tunnel
mod doctor_more; // and in more ways: IPv6, two at once
mod doctor_quiet; // nothing to say where nothing is wrong
mod doctor_ways; // the same faults, come about in other ways
mod drain; //    a real sees its connections off
mod examples; //  the config files of examples/
mod explain; //   what would become of a packet
mod explain_plan; // what would become of packets of connections that are there
mod files; //      HTTP, and large files both ways
mod first_hour; // what a new user tries first
mod fnat; //     a pool of addresses and ports
mod host_open; //   rules that let a service through
mod host_options; // levels, --dry-run, --persist
mod host_orders; // xvs host in random orders, killed at random moments
mod host_others; // two set-ups of one host
mod icmp; //     errors about a flow
mod ipv6; //     IPv6 by every method
mod ipvsadm; //  the command line of IPVS
mod ldirectord; // an unmodified ldirectord
mod listeners; //  connections that do nothing
mod logs; //       what reads the log is gone, stuck or full
mod matrix; //   every method in either version: ping, traceroute, narrow links
mod metrics; //    promtool and Prometheus
mod million; //    flows that are written down, by the million
mod mixed; //      several methods at once
mod modes; //      generic XDP, two arms
mod ndp; //      what a real says about an IPv6 VIP
mod overview; // lists, status and messages
mod privileges; // what the daemon may do
mod real_server; // xvs host
mod reload; //   SIGHUP
mod resize; //     larger tables while packets are forwarded
mod restart; //    the daemon dies and comes back
mod sizes; //    as many services and reals as there may be
mod spread; //     who gets how many connections
mod ssh; //       a real that is set up from here
mod start; //    what keeps a daemon from starting
mod survival; // no connection is reset
mod throughput; // iperf3
mod tracking; // only where a pool change could hurt
mod udp; //        datagrams
mod untouched; //  what is no service's
