// SPDX-License-Identifier: MIT OR Apache-2.0
//! The director does not take a VIP from another machine, except with `--take-over` (RFC 5227; RFC 4862 for
//! IPv6).

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_tests::lab::{DIP, Lab, RIPS, eventually};
use rstest::rstest;

/// Exit codes.
const FAILED: i32 = 1;
const WRONG_INPUT: i32 = 2;

/// Another machine's address, in a network of the director.
fn taken(six: bool) -> IpAddr {
    if six {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77).into()
    } else {
        Ipv4Addr::new(10, 0, 0, 77).into()
    }
}

#[rstest]
fn an_address_in_use_is_not_taken(#[values(false, true)] six: bool) {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let (director, holder, vip) = (&lab.director, &lab.reals[2], taken(six));
    let prefix = if six { 64 } else { 24 };
    holder.ip(&format!("address add {vip}/{prefix} dev eth0{}", if six { " nodad" } else { "" }));
    let service = SocketAddr::new(vip, 80);

    let refused = director.xvs(&format!("service add tcp {service}")).fails(FAILED);

    refused.says(&format!("{vip} is in use at 02:00:0a:00:00:0d")).says("--take-over");
    director.xvs("export").succeeds().does_not_say(&vip.to_string());
    director.sh("ip address show").succeeds().does_not_say(&format!("{vip}/"));
    lab.client.sh(&format!("ping -c 1 -W 2 {DIP}")).succeeds();

    // A standby director has the same services, and takes the VIP when it is free.
    let config = director.path("services.toml");
    fs::write(&config, format!("[[service]]\nprotocol = \"tcp\"\naddress = \"{service}\"\n")).unwrap();
    let applied = director.xvs(&format!("apply {}", config.display())).succeeds();
    applied.says(&format!("VIP {vip} is in use at"));
    director.xvs("status").succeeds().says("stays there");
    director.sh("ip address show").succeeds().does_not_say(&format!("{vip}/"));
    holder.ip(&format!("address delete {vip}/{prefix} dev eth0"));
    eventually("the VIP is taken", || {
        let shown = director.sh("ip address show").succeeds().stdout;
        if shown.contains(&format!("{vip}/")) { Ok(()) } else { Err(shown) }
    });
    director.xvs("status").succeeds().does_not_say("in use");
}

#[test]
fn an_address_is_taken_over_if_that_is_asked_for() {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let (director, vip) = (&lab.director, taken(false));
    lab.reals[2].ip(&format!("address add {vip}/24 dev eth0"));
    director.xvs(&format!("service add tcp {vip}:80 --take-over")).succeeds();
    director.sh("ip address show").succeeds().says(&format!("{vip}/32"));
}

#[rstest]
#[case::broadcast("10.0.0.255", "first or the last address")]
#[case::network("10.0.0.0", "first or the last address")]
#[case::a_real(&RIPS[0].to_string(), "address of a real")]
fn an_address_that_cannot_be_a_vip_is_refused(#[case] vip: &str, #[case] why: &str) {
    let lab = Lab::new();
    let _daemon = lab.director.start_daemon();
    let director = &lab.director;
    director.xvs("service add tcp 192.0.2.100:80").succeeds();
    director.xvs(&format!("real add tcp 192.0.2.100:80 {}", RIPS[0])).succeeds();
    director.xvs(&format!("service add tcp {vip}:81")).fails(WRONG_INPUT).says(why);
    director.xvs(&format!("group add 3 tcp {vip}:82")).succeeds();
    director.xvs("service add group 3").fails(WRONG_INPUT).says(why);
    director.xvs("export").succeeds().does_not_say(":81");
}
