// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parsing of command lines, and their errors.

use std::net::{IpAddr, Ipv4Addr};

use rstest::rstest;

use crate::ipvsadm::{
    Name, Names, Order, Trouble, grammar::Verb, order::What, page::Format, parse::parse, restore,
};
use lb_model::Protocol;
use lb_model::failure::{ErrorCode, Failure};

/// Resolves one host and one service.
struct Book;

impl Names for Book {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        (host == "www").then_some(Ipv4Addr::new(10, 0, 0, 9))
    }

    fn port(&self, service: &str, protocol: Protocol) -> Option<u16> {
        (service == "http" && protocol == Protocol::Tcp).then_some(80)
    }

    fn host(&self, _: IpAddr) -> Option<String> {
        None
    }

    fn service(&self, _: u16, _: Protocol) -> Option<String> {
        None
    }
}

fn of(line: &str) -> Result<Order, Trouble> {
    parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), &Book, &mut Vec::new())
}

/// Returns an order in one line: the request to the daemon, as JSON without missing options.
fn shown(order: Order) -> String {
    let json = |value: &dyn erased::Json| value.json();
    match order {
        Order::AddService(id, options) => format!("add {id} {}", json(&options)),
        Order::EditService(id, options) => format!("edit {id} {}", json(&options)),
        Order::RemoveService(id) => format!("remove {id}"),
        Order::AddReal(id, real, options) => format!("add {real} to {id} {}", json(&options)),
        Order::EditReal(id, real, options) => format!("edit {real} of {id} {}", json(&options)),
        Order::RemoveReal(id, real) => format!("remove {real} from {id}"),
        Order::Zero(id) => format!("zero {}", id.map_or("all".to_owned(), |id| id.to_string())),
        Order::SetTimeouts(options) => format!("timeouts {}", json(&options)),
        other => format!("{other:?}").to_lowercase(),
    }
}

mod erased {
    pub trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            let mut value = serde_json::to_value(self).unwrap();
            value.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            value.to_string().replace('"', "")
        }
    }
}

#[rstest]
#[case::defaults(
    "-A -t 10.0.0.1:80",
    "add tcp 10.0.0.1:80 {flags:[],netmask:128,one_packet:false,persistent:0,scheduler:wlc}"
)]
#[case::mh_has_no_flags_of_its_own(
    "-A -t 10.0.0.1:80 -s mh",
    "add tcp 10.0.0.1:80 {flags:[],netmask:128,one_packet:false,persistent:0,scheduler:mh,tracking:full}"
)]
#[case::flags(
    "-A -t 10.0.0.1:80 -b mh-port,flag-1 -s mh",
    "add tcp 10.0.0.1:80 \
     {flags:[mh-fallback,mh-port],netmask:128,one_packet:false,persistent:0,scheduler:mh,tracking:full}"
)]
#[case::persistent(
    "-A -t 10.0.0.1 -p -M 255.255.255.0",
    "add tcp 10.0.0.1:0 {flags:[],netmask:24,one_packet:false,persistent:360,scheduler:wlc}"
)]
#[case::udp(
    "--add-service --udp-service=10.0.0.1:53 --scheduler rr --persistent 60 -o",
    "add udp 10.0.0.1:53 {flags:[],netmask:128,one_packet:true,persistent:60,scheduler:rr}"
)]
#[case::edit_says_everything(
    "-E -f 7 -s sh",
    "edit group 7 {flags:[],netmask:128,one_packet:false,persistent:0,scheduler:sh,tracking:full}"
)]
#[case::of_ipv6(
    "-A -t [2001:db8::1]:80 -s rr -p 60 -M 64",
    "add tcp [2001:db8::1]:80 {flags:[],netmask:64,one_packet:false,persistent:60,scheduler:rr}"
)]
#[case::of_ipv6_for_every_port(
    "-A -u 2001:db8::1 -p 60",
    "add udp [2001:db8::1]:0 {flags:[],netmask:128,one_packet:false,persistent:60,scheduler:wlc}"
)]
#[case::a_group_of_ipv6("-D -f 7 -6", "remove group 7/ipv6")]
#[case::clients_of_a_network_of_ipv6(
    "-A -f 7 -6 -p 60 -M 64",
    "add group 7/ipv6 {flags:[],netmask:64,one_packet:false,persistent:60,scheduler:wlc}"
)]
#[case::all_clients_are_one(
    "-A -f 7 -p 60 -M 0.0.0.0",
    "add group 7 {flags:[],netmask:0,one_packet:false,persistent:60,scheduler:wlc}"
)]
#[case::the_longest_time(
    "-A -t 10.0.0.1:80 -p 2678400",
    "add tcp 10.0.0.1:80 {flags:[],netmask:128,one_packet:false,persistent:2073600,scheduler:wlc}"
)]
#[case::flags_that_mean_nothing(
    "-A -t 10.0.0.1:80 -b flag-3,flag-1",
    "add tcp 10.0.0.1:80 {flags:[flag-1,flag-3],netmask:128,one_packet:false,persistent:0,scheduler:wlc}"
)]
#[case::remove("-D -t www:http", "remove tcp 10.0.0.9:80")]
#[case::real(
    "-a -t 10.0.0.1:80 -r 10.0.0.2",
    "add 10.0.0.2:80 to tcp 10.0.0.1:80 {forward:dr,lower:0,state:enabled,tunnel:ipip,upper:0,weight:1}"
)]
#[case::real_for_nat(
    "-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 5 -x 9 -y 3",
    "add 10.0.0.2:8080 to tcp 10.0.0.1:80 {forward:nat,lower:3,state:enabled,tunnel:ipip,upper:9,weight:5}"
)]
#[case::direct_routing_keeps_the_port(
    "-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -i --tun-type ipip",
    "add 10.0.0.2:80 to tcp 10.0.0.1:80 {forward:tun,lower:0,state:enabled,tunnel:ipip,upper:0,weight:1}"
)]
#[case::real_of_a_group(
    "-a -f 7 -r 10.0.0.2:80 -g",
    "add 10.0.0.2:80 to group 7 {forward:dr,lower:0,state:enabled,tunnel:ipip,upper:0,weight:1}"
)]
#[case::real_of_every_port(
    "-a -t 10.0.0.1 -r 10.0.0.2:80 -m",
    "add 10.0.0.2:0 to tcp 10.0.0.1:0 {forward:nat,lower:0,state:enabled,tunnel:ipip,upper:0,weight:1}"
)]
#[case::heavy(
    "-a -t 10.0.0.1:80 -r 10.0.0.2 -w 2147483647",
    "add 10.0.0.2:80 to tcp 10.0.0.1:80 {forward:dr,lower:0,state:enabled,tunnel:ipip,upper:0,weight:2147483647}"
)]
#[case::edit_says_everything_of_a_real(
    "-e -t 10.0.0.1:80 -r 10.0.0.2:80 -w 0",
    "edit 10.0.0.2:80 of tcp 10.0.0.1:80 {forward:dr,lower:0,state:enabled,tunnel:ipip,upper:0,weight:0}"
)]
#[case::real_before_its_service("-d -r 10.0.0.2 -t 10.0.0.1:80", "remove 10.0.0.2:80 from tcp 10.0.0.1:80")]
#[case::clear("--clear", "clear")]
#[case::restore("-R", "restore")]
#[case::zero("-Z", "zero all")]
#[case::zero_one("-Z -u 10.0.0.1:53", "zero udp 10.0.0.1:53")]
#[case::timeouts("--set 900 0 30", "timeouts {tcp:900,udp:30}")]
#[case::help("-h", "help")]
#[case::version("--version", "version")]
fn a_command_line_asks_for(#[case] line: &str, #[case] expected: &str) {
    assert_eq!(shown(of(line).unwrap()), expected);
}

#[test]
fn lists_are_asked_for_in_many_ways() {
    let numeric = Format { numeric: true, ..Format::default() };
    for (line, what, format) in [
        ("", What::All, Format::default()),
        ("-ln", What::All, numeric),
        ("-Lnc", What::Connections, numeric),
        ("-L --timeout", What::Timeouts, Format::default()),
        ("-L --daemon", What::Daemons, Format::default()),
        ("-Ln --stats --exact", What::All, Format { stats: true, exact: true, ..numeric }),
        ("-Ln --rate --sort", What::All, Format { rate: true, ..numeric }),
        ("-Ln --thresholds --nosort", What::All, Format { thresholds: true, unsorted: true, ..numeric }),
        (
            "-Ln --persistent-conn --tun-info",
            What::All,
            Format { persistent: true, tunnels: true, ..numeric },
        ),
    ] {
        assert_eq!(of(line).unwrap(), Order::List(what, format), "{line}");
    }
    assert_eq!(of("-Sn").unwrap(), Order::Save(numeric));
}

/// Tests exit codes: 2 for errors of ipvsadm's parser, 255 for errors of the kernel or popt.
#[rstest]
#[case("-t 10.0.0.1:80", "Try `ipvsadm -h' or 'ipvsadm --help' for more information.", 255)]
#[case("-A -t [2001:db8::1] -p 60", "illegal virtual server address[:port] specified", 2)]
#[case("-a -f 7 -r 2001:db8::2 -g", "Different address family is allowed only for tunneling servers", 2)]
#[case("-a -f 7 -6 -r 10.0.0.2 -m", "Different address family is allowed only for tunneling servers", 2)]
#[case("-A -f 7 -6 -p 60 -M 129", "illegal ipv6 netmask specified", 2)]
#[case(
    "-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gre --tun-csum --tun-nocsum",
    "The option 'tun-csum' conflicts with the 'tun-nocsum' option in the 'gre' tunnel type",
    2
)]
#[case("-A", "You need to supply the 'service-address' option for the 'add-service' command", 2)]
#[case("-a -t 10.0.0.1:80", "You need to supply the 'real-server' option for the 'add-server' command", 2)]
#[case("-C -n", "Illegal 'numeric' option with the 'flush' command", 2)]
#[case("-A -t 10.0.0.1:80 -w 1", "Illegal 'weight' option with the 'add-service' command", 2)]
#[case(
    "-L -c -t 10.0.0.1:80",
    "The option 'service-address' conflicts with the 'connection' option in the 'list' command",
    2
)]
#[case("-L -c --stats", "options conflicts in the list command", 2)]
#[case("-L --timeout --persistent-conn", "options conflicts in the list command", 2)]
#[case("-A -t 10.0.0.1:80 -u 10.0.0.1:53", "multiple 'service-address' options specified", 2)]
#[case("-L -A", "invalid option `-A'", 2)]
#[case("-A -t 80", "illegal virtual server address[:port] specified", 2)]
#[case("-A -t 10.0.0.1:no-such-port", "illegal virtual server address[:port] specified", 2)]
#[case("-a -t 10.0.0.1:80 -r nobody", "illegal real server address[:port] specified", 2)]
#[case("-a -t 10.0.0.1:80 -r 10.0.0.2 -w 2147483648", "illegal weight specified", 2)]
#[case("-a -t 10.0.0.1:80 -r 10.0.0.2 -x -1", "illegal u_threshold specified", 2)]
#[case("-a -t 10.0.0.1:80 -r 10.0.0.2 -x 1 -y 2", "Numerical result out of range", 255)]
#[case("-A -t 10.0.0.1", "Zero port specified for non-persistent service", 2)]
#[case("-A -t 10.0.0.1:80 -o", "One-Packet Scheduling is only for UDP virtual services", 2)]
#[case("-A -t 10.0.0.1:80 -s best", "Scheduler or persistence engine not found", 255)]
#[case("-A -t 10.0.0.1:80 -p 0", "invalid timeout value `0' specified", 2)]
#[case("-A -t 10.0.0.1:80 -p -M nonsense", "illegal virtual server persistent mask specified", 2)]
#[case("-A -f 0", "invalid fwmark value `0' specified", 2)]
#[case("-A -t 10.0.0.1:80 -b sh-port", "incompatible scheduler flag `sh-port'", 2)]
#[case("-A -t 10.0.0.1:80 -b fast", "invalid scheduler flag `fast'", 2)]
#[case("--set 1 2", "--set option requires 3 timeout values", 2)]
#[case("--set 1 2 x", "invalid timeout value `x' specified", 2)]
#[case("-L more", "unexpected argument more", 2)]
#[case("-a -t 10.0.0.1:80 -r 10.0.0.2 --tun-type gre", "Tunnel options conflict with forward method", 2)]
#[case(
    "-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-port 9",
    "Illegal 'tun-port' option with the 'ipip' tunnel type",
    2
)]
#[case(
    "-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue",
    "You need to supply the 'tun-port' option for the 'gue' tunnel type",
    2
)]
#[case(
    "-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gre --tun-port 9",
    "Illegal 'tun-port' option with the 'gre' tunnel type",
    2
)]
#[case("-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type x", "illegal tunnel type specified", 2)]
#[case("--start-daemon nobody", "illegal start-daemon parameter specified", 2)]
#[case("--start-daemon master", "No such device", 255)]
#[case(
    "--start-daemon master --mcast-interface eth0 --mcast-group 10.0.0.1",
    "illegal mcast-group specified",
    2
)]
#[case("--start-daemon backup --mcast-interface eth0 --syncid 256", "illegal syncid specified", 2)]
#[case("-A -t 10.0.0.1:80 -6", "-6 used before -f\n", 2)]
#[case(
    "-a -t [2001:db8::1]:80 -r 10.0.0.2 -m",
    "Different address family is allowed only for tunneling servers",
    2
)]
#[case("-A -t [2001:db8::1]:80 -p -M 129", "illegal ipv6 netmask specified", 2)]
fn what_is_wrong_is_said_as_ipvsadm_does(#[case] line: &str, #[case] message: &str, #[case] code: u8) {
    let trouble = of(line).unwrap_err();
    assert_eq!((trouble.text("ipvsadm").as_str(), trouble.exit_code()), (message, code));
}

#[rstest]
#[case(
    "-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue --tun-port 6080 --tun-remcsum",
    "error: remote checksums are not made: tun-remcsum"
)]
#[case("-A -t 10.0.0.1:80 -p --pe sip", "error: there are no persistence engines")]
#[case("-A -t 10.0.0.1:80 -p -M 255.0.255.0", "error: netmask 255.0.255.0 is no prefix")]
#[case("--set 2600000 0 0", "error: a timeout of 2600000 s is more than this program can count")]
fn what_is_not_there_is_refused(#[case] line: &str, #[case] message: &str) {
    let trouble = of(line).unwrap_err();
    assert_eq!(trouble.exit_code(), 2);
    let text = trouble.to_string();
    assert!(text.starts_with(message) && text.contains("\nhint: "), "{text}");
}

#[rstest]
#[case(Verb::Add, Some(ErrorCode::ServiceExists), "Service already exists", 255)]
#[case(Verb::Edit, Some(ErrorCode::NoService), "No such service", 255)]
#[case(Verb::Zero, Some(ErrorCode::NoService), "No such service", 255)]
#[case(Verb::List, Some(ErrorCode::NoService), "No such service", 1)]
#[case(Verb::AddServer, Some(ErrorCode::NoService), "Service not defined", 255)]
#[case(Verb::AddServer, Some(ErrorCode::RealExists), "Destination already exists", 255)]
#[case(Verb::DeleteServer, Some(ErrorCode::NoReal), "No such destination", 255)]
#[case(Verb::StartDaemon, Some(ErrorCode::SyncDaemonRuns), "Daemon has already run", 255)]
#[case(Verb::StopDaemon, Some(ErrorCode::NoSyncDaemon), "No daemon is running", 255)]
#[case(Verb::StartDaemon, Some(ErrorCode::NoInterface), "No such device", 255)]
#[case(Verb::AddServer, Some(ErrorCode::Full), "Memory allocation problem\nhint: why", 255)]
#[case(
    Verb::AddServer,
    None,
    "Invalid operation.  Possibly wrong module version, address not unicast, ...\nhint: why",
    255
)]
fn the_daemon_is_quoted_as_the_kernel(
    #[case] verb: Verb,
    #[case] cause: Option<ErrorCode>,
    #[case] message: &str,
    #[case] code: u8,
) {
    let trouble = Trouble::of(verb, Failure { cause, ..Failure::wrong_input("why") });
    assert_eq!((trouble.to_string().as_str(), trouble.exit_code()), (message, code));
}

#[test]
fn a_dead_daemon_is_no_answer_of_the_kernel() {
    let trouble = Trouble::of(Verb::List, Failure::unreachable("no daemon"));
    assert_eq!((trouble.to_string().as_str(), trouble.exit_code()), ("error: no daemon", 3));
}

#[test]
fn saved_rules_are_read_by_line() {
    let text = "# saved\n-A -t 10.0.0.1:80 -s rr\n\n  ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n-x\n";
    let lines = restore::read(text, &Book);
    assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 4, 5]);
    assert!(lines[0].order.is_ok() && lines[1].order.is_ok() && lines[2].order.is_err());
}

#[test]
fn the_program_has_three_more_names() {
    let name = |text: &str| Name::of(text.as_ref());
    assert_eq!(name("/usr/sbin/ipvsadm"), Some(Name::Ipvsadm));
    assert_eq!(name("ipvsadm-save"), Some(Name::Save));
    assert_eq!(name("./ipvsadm-restore"), Some(Name::Restore));
    assert_eq!(name("xvs"), None);
}
