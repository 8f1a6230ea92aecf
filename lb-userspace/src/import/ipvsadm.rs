// SPDX-License-Identifier: MIT OR Apache-2.0
//! The output of `ipvsadm -S` or `ipvsadm-save`, with numbers or with names, or a script of ipvsadm commands.
#![forbid(unsafe_code)]

use std::{path::Path, sync::Arc};

use super::{Imported, Kind, Place};
use crate::{
    api::types::Change,
    ipvsadm::{Names, Order, read_rules},
};
use lb_model::ServiceId;

/// Reads rules; comments and empty lines are ignored.
#[must_use]
pub fn import(text: &str, path: &Path, names: &dyn Names) -> Imported {
    let mut imported = Imported::default();
    let file = Arc::new(path.to_owned());
    for line in read_rules(text, names) {
        let place = Place { file: Arc::clone(&file), line: line.number };
        for note in &line.notes {
            let note = note.trim_start_matches("warning: ");
            imported.leave(&place, &line.text, note, Kind::Setting, None);
        }
        let order = match line.order {
            Ok(order) => order,
            Err(trouble) => {
                imported.leave(&place, &line.text, trouble.text("ipvsadm"), lost(&line.text), None);
                continue;
            }
        };
        if let Order::SetTimeouts(said) = order {
            let old = &mut imported.timeouts;
            (old.tcp, old.tcp_fin) = (said.tcp.or(old.tcp), said.tcp_fin.or(old.tcp_fin));
            old.udp = said.udp.or(old.udp);
            imported.carry(&place);
            continue;
        }
        let Some(change) = order.change() else {
            let why = "it asks for something, but sets no rule";
            imported.leave(&place, &line.text, why, Kind::Rest, None);
            continue;
        };
        if let Err(failure) = imported.change(&change) {
            imported.leave(&place, &line.text, failure.message, lost(&line.text), None);
            continue;
        }
        imported.carry(&place);
        if let Change::AddService { service: ServiceId::Group { group, .. }, .. } = change {
            imported.leave(&place, &line.text, mark(group), Kind::Service, None);
        }
    }
    imported
}

/// Returns the kind of loss if a line cannot be parsed.
fn lost(text: &str) -> Kind {
    let has = |options: &[&str]| text.split_whitespace().any(|word| options.contains(&word));
    if has(&["-A", "-E", "--add-service", "--edit-service"]) {
        Kind::Service
    } else if has(&["-a", "-e", "--add-server", "--edit-server"]) {
        Kind::Real
    } else {
        Kind::Rest
    }
}

/// Returns the text about the missing part of a service by firewall mark.
pub(super) fn mark(group: u32) -> String {
    format!(
        "the service is there, but which packets have mark {group} stands in the firewall's rules: name them as \
         endpoints of [[group]] id = {group}"
    )
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::ipvsadm::{Nameless, tests::memory::saved};
    use lb_control::config;
    use lb_model::Protocol;

    fn of(text: &str) -> Imported {
        import(text, Path::new("rules"), &Nameless)
    }

    #[test]
    fn rules_become_a_config_that_can_be_read() {
        let imported = of(
            "# saved\n-A -t 192.0.2.1:80 -s wrr -p 60\n-a -t 192.0.2.1:80 -r 10.0.0.2:8080 -m -w 3 -x 9\n\
            -A -f 7 -s rr\n-a -f 7 -r 10.0.0.2:0 -g -w 1\n-A -t [2001:db8::1]:80 -s rr\n\
            -a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -g\n--set 300 0 30\n-L\n",
        );
        let config = config::parse(&imported.config(), Path::new("xvs.toml")).unwrap();
        assert_eq!(config.desired, imported.desired);
        assert_eq!(config.desired.services.len(), 3);
        assert!(imported.config().ends_with("[director]\ntcp-timeout = \"300s\"\nudp-timeout = \"30s\"\n"));
        let lines: Vec<usize> = imported.left.iter().map(|left| left.place.line).collect();
        assert_eq!(lines, [4, 9], "{:?}", imported.left);
    }

    #[rstest::rstest]
    #[case::by_path("/sbin/ipvsadm -A -t 192.0.2.1:80 -s rr")]
    #[case::by_another_path("/usr/sbin/ipvsadm -A -t 192.0.2.1:80 -s rr")]
    #[case::by_sudo("sudo ipvsadm -A -t 192.0.2.1:80 -s rr")]
    #[case::by_sudo_and_path("  sudo /sbin/ipvsadm -A -t 192.0.2.1:80 -s rr  ")]
    #[case::comment("-A -t 192.0.2.1:80 -s rr # the web")]
    #[case::continued("ipvsadm -A -t 192.0.2.1:80 \\\n  -s rr \\\n  # no more")]
    #[case::byte_order_mark("\u{feff}-A -t 192.0.2.1:80 -s rr")]
    #[case::carriage_return("-A -t 192.0.2.1:80 -s rr\r")]
    #[case::comments("# rules\n\n  # of a script\n-A -t 192.0.2.1:80 -s rr")]
    #[case::cleared_before("ipvsadm -C\nipvsadm -A -t 192.0.2.1:80 -s rr")]
    fn lines_of_scripts_are_rules(#[case] text: &str) {
        let imported = of(&format!("{text}\n"));
        assert!(imported.left.is_empty(), "{:?}", imported.left);
        assert_eq!(saved(&imported.desired), "-A -t 192.0.2.1:80 -s rr\n");
    }

    #[rstest::rstest]
    #[case("ipvsadm -A -t $VIP:80 -s rr", Kind::Service)]
    #[case("-a -t 192.0.2.9:80 -r 10.0.0.2:80 -g", Kind::Real)]
    #[case("-A -t 192.0.2.1:81 -s rr -p 2678400", Kind::Setting)]
    #[case("-A -u 192.0.2.1:5060 -s rr --pe sip", Kind::Service)]
    #[case("echo 1 > /proc/sys/net/ipv4/ip_forward", Kind::Rest)]
    #[case("ipvsadm -L -n", Kind::Rest)]
    #[case("-A -f 7 -6 -s rr", Kind::Service)]
    fn what_is_lost_with_a_line_is_told(#[case] line: &str, #[case] kind: Kind) {
        let imported = of(&format!("-A -t 192.0.2.1:80 -s rr\n{line}\n"));
        let left: Vec<(usize, Kind)> =
            imported.left.iter().map(|left| (left.place.line, left.kind)).collect();
        assert_eq!(left, [(2, kind)], "{:?}", imported.left);
    }

    #[test]
    fn ports_of_marks_are_kept() {
        let rules = "-A -f 7 -s rr\n-a -f 7 -r 10.0.1.223:80 -g -w 1\n-a -f 7 -r 10.0.1.224:8080 -i -w 1 --tun-type ipip\n";
        assert_eq!(saved(&of(rules).desired), rules);
    }

    /// Resolves only `www:http`.
    struct Book;

    impl Names for Book {
        fn address(&self, host: &str) -> Option<Ipv4Addr> {
            (host == "www").then_some(Ipv4Addr::new(192, 0, 2, 1))
        }

        fn port(&self, service: &str, _: Protocol) -> Option<u16> {
            (service == "http").then_some(80)
        }

        fn host(&self, _: IpAddr) -> Option<String> {
            None
        }

        fn service(&self, _: u16, _: Protocol) -> Option<String> {
            None
        }
    }

    #[test]
    fn names_and_numbers_are_the_same() {
        let rules = "-A -t www:http -s rr\n-a -t www:http -r 10.0.0.2:http -g -w 1\n";
        let names = import(rules, Path::new("rules"), &Book);
        let numbers = of(&rules.replace("www", "192.0.2.1").replace("http", "80"));
        assert!(names.left.is_empty() && names.desired.services.len() == 1);
        assert_eq!(names.desired, numbers.desired);
        assert_eq!(of(rules).left.len(), 2, "what nobody knows is listed");
    }

    const LINES: &[&str] = &[
        "-A -t 192.0.2.1:80 -s wlc",
        "-A -u 192.0.2.1:53 -s rr -o",
        "-A -f 3 -s sh",
        "-A --sctp-service 192.0.2.1:9 -s rr",
        "-a -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 1",
        "-a -t 192.0.2.1:80 -r 10.0.0.3:81 -m -w 1",
        "-a -t 192.0.2.1:80 -r 10.0.0.4:80 -i -w 1 --tun-type gue --tun-port 6080",
        "-a -u 192.0.2.1:53 -r 10.0.0.2:53 -g -w 70000",
        "-D -t 192.0.2.1:80",
        "-C",
        "nonsense",
    ];

    proptest! {
        #[test]
        fn each_line_is_reflected_or_listed(lines in prop::collection::vec(prop::sample::select(LINES), 0..16)) {
            let imported = of(&lines.join("\n"));
            let read = config::parse(&imported.config(), Path::new("xvs.toml")).unwrap().desired;
            prop_assert_eq!(read, imported.desired.clone());
            for number in 1..=lines.len() {
                let carried = imported.carried.iter().any(|place| place.line == number);
                prop_assert!(carried || imported.left.iter().any(|left| left.place.line == number));
            }
        }
    }
}
