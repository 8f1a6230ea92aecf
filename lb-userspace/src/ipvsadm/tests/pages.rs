// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists, as literal pages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    api::{
        health::PoolView,
        ipvs::{Rates, Shown, ShownReal},
        types::{Connection, RealView, ServiceView},
    },
    ipvsadm::{
        Nameless, Names, Order, connections, help,
        page::{self, Format},
        read_rules, rules,
    },
};
use lb_control::{options::ServiceOptions, state::Totals};
use lb_model::{
    Forward, OnRemoval, Persistence, Protocol, Scheduler, SchedulerFlag, ServiceId, Tracking, Tunnel,
    health::Admin,
};

const NUMERIC: Format = Format {
    numeric: true,
    stats: false,
    rate: false,
    thresholds: false,
    persistent: false,
    tunnels: false,
    unsorted: false,
    exact: false,
};

fn totals(new_flows: u64, packets: u64, bytes: u64) -> Totals {
    Totals { new_flows, packets_in: packets, bytes_in: bytes, ..Totals::default() }
}

fn real(address: &str, forward: Forward, weight: u32) -> RealView {
    RealView {
        is_local: false,
        address: address.parse().unwrap(),
        forward,
        weight,
        upper: 0,
        lower: 0,
        tunnel: Tunnel::Ipip,
        is_up: true,
        next_hop: String::new(),
        totals: Totals::default(),
        active_flows: 0,
        inactive_flows: 0,
        persistent_clients: 0,
        slots: 0,
        admin: Admin::Enabled,
        backup: false,
        checks: Vec::new(),
        health: None,
        effective_weight: weight,
    }
}

fn service(name: &str, scheduler: Scheduler, reals: Vec<RealView>) -> Shown {
    let (kind, name) = name.split_once(' ').unwrap();
    let shown = vec![ShownReal::default(); reals.len()];
    let service = ServiceView {
        id: ServiceId::parse(kind, name).unwrap(),
        endpoints: Vec::new(),
        scheduler,
        flags: [].into(),
        tracking: Tracking::Auto,
        persistence: None,
        one_packet: false,
        on_removal: OnRemoval::Reset,
        health: PoolView::default(),
        slots: 0,
        slots_in_transition: 0,
        totals: Totals::default(),
        active_flows: 0,
        inactive_flows: 0,
        reasons: Vec::new(),
        reals,
        leaving: Vec::new(),
    };
    Shown { service, counted: Totals::default(), rates: Rates::default(), reals: shown }
}

/// Returns a service of each kind, not in order.
fn table() -> Vec<Shown> {
    let mut web = service(
        "tcp 192.0.2.100:80",
        Scheduler::Wlc,
        vec![
            RealView { active_flows: 12, inactive_flows: 345, ..real("10.0.0.3:80", Forward::Tun, 2) },
            RealView { upper: 100, lower: 50, ..real("10.0.0.2:8080", Forward::Nat, 65535) },
            RealView { persistent_clients: 4, ..real("10.0.0.11:80", Forward::Dr, 1) },
            real("10.0.0.12:80", Forward::Local, 0),
        ],
    );
    web.counted = totals(100_000_000, 1_000_000_000, 100_000_000_000);
    web.rates =
        Rates { connections: 7, packets_in: 123_456_789, bytes_in: 1_234_567_890, ..Rates::default() };
    web.reals[0].counted = totals(5, 60, 7000);
    web.reals[0].rates = web.rates;

    let mut dns = service("udp 192.0.2.100:53", Scheduler::Mh, vec![real("10.0.0.2:53", Forward::Dr, 1)]);
    dns.service.flags = [SchedulerFlag::MhFallback, SchedulerFlag::MhPort].into();
    dns.service.one_packet = true;

    let mut group = service("group 7", Scheduler::Sh, vec![real("10.0.0.2:0", Forward::Dr, 1)]);
    group.service.flags = [SchedulerFlag::ShPort].into();
    group.service.persistence = Some(Persistence { seconds: 360, prefix: 24 });

    let mut ftp = service("tcp 192.0.2.100:21", Scheduler::Rr, Vec::new());
    ftp.service.persistence = Some(Persistence { seconds: 60, prefix: 32 });
    vec![group, dns, web, ftp]
}

#[test]
fn a_plain_list() {
    assert_eq!(
        page::list(Some(4096), table(), NUMERIC, &Nameless),
        "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.0.2.100:21 rr persistent 60
TCP  192.0.2.100:80 wlc
  -> 10.0.0.2:8080                Masq    65535  0          0        \u{20}
  -> 10.0.0.3:80                  Tunnel  2      12         345      \u{20}
  -> 10.0.0.11:80                 Route   1      0          0        \u{20}
  -> 10.0.0.12:80                 Local   0      0          0        \u{20}
UDP  192.0.2.100:53 mh (mh-fallback,mh-port) ops
  -> 10.0.0.2:53                  Route   1      0          0        \u{20}
FWM  7 sh (sh-port) persistent 360 mask 255.255.255.0
  -> 10.0.0.2:0                   Route   1      0          0        \u{20}
"
    );
}

#[test]
fn an_empty_list_and_one_service() {
    let empty = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
";
    assert_eq!(page::list(Some(4096), Vec::new(), NUMERIC, &Nameless), empty);
    let one = page::list(None, vec![table().remove(3)], NUMERIC, &Nameless);
    assert_eq!(one, format!("{}TCP  192.0.2.100:21 rr persistent 60\n", empty.split_once('\n').unwrap().1));
}

#[test]
fn counters() {
    let web = vec![table().remove(2)];
    assert_eq!(
        page::list(None, web.clone(), Format { stats: true, ..NUMERIC }, &Nameless),
        "\
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.0.2.100:80                100000K    1000M        0     100G        0
  -> 10.0.0.2:8080                       0        0        0        0        0
  -> 10.0.0.3:80                         5       60        0     7000        0
  -> 10.0.0.11:80                        0        0        0        0        0
  -> 10.0.0.12:80                        0        0        0        0        0
"
    );
    assert_eq!(
        page::list(None, web, Format { stats: true, exact: true, ..NUMERIC }, &Nameless)
            .lines()
            .nth(2)
            .unwrap(),
        "TCP  192.0.2.100:80               100000000 1000000000        0 100000000000        0"
    );
}

#[test]
fn rates() {
    let page = page::list(None, vec![table().remove(2)], Format { rate: true, ..NUMERIC }, &Nameless);
    assert_eq!(
        page.lines().take(5).collect::<Vec<_>>(),
        [
            "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS",
            "  -> RemoteAddress:Port",
            "TCP  192.0.2.100:80                      7  123456K        0    1234M        0",
            "  -> 10.0.0.2:8080                       0        0        0        0        0",
            // Packets of a real are not scaled.
            "  -> 10.0.0.3:80                         7 123456789        0    1234M        0",
        ]
    );
}

#[test]
fn thresholds_persistence_and_tunnels() {
    let web = || vec![table().remove(2)];
    assert_eq!(
        page::list(None, web(), Format { thresholds: true, ..NUMERIC }, &Nameless),
        "\
Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn\u{20}
  -> RemoteAddress:Port
TCP  192.0.2.100:80 wlc
  -> 10.0.0.2:8080                100        50         0          0        \u{20}
  -> 10.0.0.3:80                  0          0          12         345      \u{20}
  -> 10.0.0.11:80                 0          0          0          0        \u{20}
  -> 10.0.0.12:80                 0          0          0          0        \u{20}
"
    );
    assert_eq!(
        page::list(None, web(), Format { persistent: true, ..NUMERIC }, &Nameless),
        "\
Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn\u{20}
  -> RemoteAddress:Port
TCP  192.0.2.100:80 wlc
  -> 10.0.0.2:8080                65535     0           0          0        \u{20}
  -> 10.0.0.3:80                  2         0           12         345      \u{20}
  -> 10.0.0.11:80                 1         4           0          0        \u{20}
  -> 10.0.0.12:80                 0         0           0          0        \u{20}
"
    );
    assert_eq!(
        page::list(None, web(), Format { tunnels: true, ..NUMERIC }, &Nameless),
        "\
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn
TCP  192.0.2.100:80 wlc
  -> 10.0.0.2:8080                Masq    n/a           65535  0          0        \u{20}
  -> 10.0.0.3:80                  Tunnel  ipip          2      12         345      \u{20}
  -> 10.0.0.11:80                 Route   n/a           1      0          0        \u{20}
  -> 10.0.0.12:80                 Local   n/a           0      0          0        \u{20}
"
    );
}

/// Tests that a new real comes first, as in the kernel.
#[test]
fn without_sorting_the_last_real_comes_first() {
    let page = page::list(None, vec![table().remove(2)], Format { unsorted: true, ..NUMERIC }, &Nameless);
    let reals: Vec<&str> = page.lines().skip(3).map(|line| line[5..17].trim_end()).collect();
    assert_eq!(reals, ["10.0.0.12:80", "10.0.0.11:80", "10.0.0.2:808", "10.0.0.3:80"]);
}

/// Gives every address and port a long name.
struct Long;

impl Names for Long {
    fn address(&self, _: &str) -> Option<Ipv4Addr> {
        None
    }

    fn port(&self, _: &str, _: Protocol) -> Option<u16> {
        None
    }

    fn host(&self, _: IpAddr) -> Option<String> {
        Some("a-very-long-name-of-a-host.example.org".to_owned())
    }

    fn service(&self, port: u16, _: Protocol) -> Option<String> {
        (port == 80).then(|| "http".to_owned())
    }
}

#[test]
fn long_names_are_cut_in_lists_and_whole_in_rules() {
    let mut web = table().remove(2);
    web.service.reals.truncate(1);
    let page = page::list(None, vec![web.clone()], Format::default(), &Long);
    assert_eq!(
        page.lines().skip(2).collect::<Vec<_>>(),
        [
            "TCP  a-very-long-name-of-a-host.e wlc",
            "  -> a-very-long-name-of-a-host.e Tunnel  2      12         345       ",
        ]
    );
    assert_eq!(
        rules::save(vec![web], Format::default(), &Long),
        "-A -t a-very-long-name-of-a-host.example.org:http -s wlc\n\
         -a -t a-very-long-name-of-a-host.example.org:http -r a-very-long-name-of-a-host.example.org:http -i -w 2 \
         --tun-type ipip\n"
    );
}

const SAVED: &str = "\
-A -t 192.0.2.100:21 -s rr -p 60
-A -t 192.0.2.100:80 -s wlc
-a -t 192.0.2.100:80 -r 10.0.0.2:8080 -m -w 65535 -x 100 -y 50
-a -t 192.0.2.100:80 -r 10.0.0.3:80 -i -w 2 --tun-type ipip
-a -t 192.0.2.100:80 -r 10.0.0.11:80 -g -w 1
-a -t 192.0.2.100:80 -r 10.0.0.12:80 -g -w 0
-A -u 192.0.2.100:53 -s mh -o -b mh-fallback,mh-port
-a -u 192.0.2.100:53 -r 10.0.0.2:53 -g -w 1
-A -f 7 -s sh -p 360 -M 255.255.255.0 -b sh-port
-a -f 7 -r 10.0.0.2:0 -g -w 1
";

#[test]
fn what_is_saved_can_be_restored() {
    assert_eq!(rules::save(table(), NUMERIC, &Nameless), SAVED);
    let mut restored = Vec::new();
    for line in read_rules(SAVED, &Nameless) {
        match line.order.unwrap() {
            Order::AddService(id, options) => {
                let mut model = lb_model::Service::default();
                options.apply(&mut model);
                let ServiceOptions { flags, one_packet, .. } = options;
                let mut shown = service(&id.to_string(), model.scheduler, Vec::new());
                shown.service.persistence = model.persistence;
                shown.service.flags = flags.unwrap();
                shown.service.one_packet = one_packet.unwrap();
                restored.push(shown);
            }
            Order::AddReal(_, address, options) => {
                let model = options.new_real();
                let address: SocketAddr = (address.ip, address.port.unwrap()).into();
                let view = real(&address.to_string(), model.forward, model.weight);
                let view = RealView { upper: model.upper, lower: model.lower, ..view };
                restored.last_mut().unwrap().service.reals.push(view);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rules::save(restored, NUMERIC, &Nameless), SAVED);
}

#[test]
fn connections_and_templates() {
    let connection = |client: &str, service: &str, state: &str, expires_seconds| Connection {
        group: None,
        protocol: Protocol::Tcp,
        client: client.parse().unwrap(),
        service: service.parse().unwrap(),
        real: "10.0.0.2:80".parse().unwrap(),
        state: state.to_owned(),
        idle_seconds: 0,
        expires_seconds,
    };
    let list = [
        connection("198.51.100.7:34567", "192.0.2.100:80", "ESTABLISHED", 899),
        connection("198.51.100.7:0", "192.0.2.100:80", "NONE", 60),
        Connection { group: Some(7), ..connection("198.51.100.7:0", "0.0.0.7:0", "NONE", 3600) },
    ];
    assert_eq!(
        connections::list(&list, NUMERIC, &Nameless),
        "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 198.51.100.7:34567 192.0.2.100:80     10.0.0.2:80
TCP 01:00  NONE        198.51.100.7:0     192.0.2.100:80     10.0.0.2:80
IP  60:00  NONE        198.51.100.7:0     0.0.0.7:0          10.0.0.2:80
"
    );
    assert_eq!(
        connections::list(&[], Format { persistent: true, ..NUMERIC }, &Nameless),
        "IPVS connection entries\n\
         pro expire state       source             virtual            destination        pe name          pe_data\n"
    );
}

#[test]
fn the_version_is_that_of_the_grammar() {
    assert_eq!(help::version(), "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n");
    assert!(help::help().lines().all(|line| line.chars().count() <= 110));
}
