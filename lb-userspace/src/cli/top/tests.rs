// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of the screen. `INSTA_UPDATE=always cargo test` writes them anew.

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent},
};

use super::{draw::draw, keys::press, rows::Sort, view::View};
use crate::{
    api::live::{
        Live, LiveDaemon, LiveDoctor, LiveFinding, LiveReal, LiveReason, LiveService, Load, RealState,
        ServiceState,
    },
    cli::units::Units,
};
use lb_model::{
    Forward, ServiceId,
    health::{Admin, Health},
};

const NOW: u64 = 1_000_000;

fn load(packets: u64) -> Load {
    Load {
        packets_in: packets,
        packets_out: packets / 2,
        bytes_in: packets * 420,
        bytes_out: packets * 1300,
        connections: packets / 12,
        active: Some(packets * 3),
        inactive: Some(1),
    }
}

fn real(number: u8, word: &str, packets: u64) -> LiveReal {
    let is_up = word == "up";
    LiveReal {
        address: format!("10.0.0.{number}:8080").parse().unwrap(),
        forward: Forward::Nat,
        backup: number == 13,
        state: RealState {
            word: word.to_owned(),
            admin: Admin::Enabled,
            weight: 100,
            effective_weight: if is_up { 100 } else { 0 },
            health: Some(if is_up { Health::Up } else { Health::Down }),
            last: Some(if is_up { "L7OK" } else { "L7STS HTTP 500" }.to_owned()),
            since_seconds: NOW - 250,
            unreachable: (word == "no answer").then(|| "no host answers for 10.0.0.12".to_owned()),
        },
        load: load(packets),
    }
}

fn service(kind: &str, name: &str, reals: Vec<LiveReal>) -> LiveService {
    let id = ServiceId::parse(kind, name).unwrap();
    let up = reals.iter().filter(|real| real.state.word == "up").count();
    let mut sum = load(0);
    for real in &reals {
        sum.add_rates(&real.load);
    }
    sum.active = reals.iter().map(|real| real.load.active).sum();
    LiveService {
        name: id.to_string(),
        service: id,
        scheduler: "mh".to_owned(),
        state: ServiceState { serving: up, down: reals.len() - up, pool: "normal".to_owned() },
        load: sum,
        reasons: Vec::new(),
        reals,
    }
}

fn live() -> Live {
    let v6 = service("tcp", "[2001:db8::100]:443", vec![real(21, "up", 12)]);
    let reason = |reason: &str, fate: &str, rate| LiveReason {
        reason: reason.to_owned(),
        fate: fate.to_owned(),
        rate,
        packets: rate * 1000,
    };
    Live {
        number: 1,
        time_ms: NOW * 1000,
        daemon: LiveDaemon {
            version: "1.2.3".to_owned(),
            pid: 1,
            start_time_seconds: NOW - 7200,
            interfaces: vec![crate::api::types::InterfaceStatus {
                name: "eth0".to_owned(),
                mode: "native".to_owned(),
            }],
            flows: 12_345,
            max_flows: 1 << 20,
            flows6: 0,
            max_flows6: 1 << 20,
            ..LiveDaemon::default()
        },
        services: vec![
            service(
                "tcp",
                "192.0.2.100:80",
                vec![real(11, "up", 1500), real(12, "no answer", 0), real(13, "down", 3)],
            ),
            v6,
            service("udp", "192.0.2.100:53", vec![real(31, "disabled", 0)]),
        ],
        reasons: vec![
            reason("forwarded", "sent", 1515),
            reason("no_real", "answered", 0),
            reason("source_own", "dropped", 4),
        ],
        doctor: Some(LiveDoctor {
            count: 1,
            is_outdated: false,
            findings: vec![LiveFinding {
                severity: "error".to_owned(),
                check: "next-hop".to_owned(),
                about: Some("tcp 192.0.2.100:80 -> 10.0.0.12:8080".to_owned()),
                cause: "no host answers for 10.0.0.12".to_owned(),
                fix: "ip neigh".to_owned(),
            }],
        }),
    }
}

/// Returns the screen after keys.
fn screen(width: u16, height: u16, keys: &[KeyCode]) -> String {
    let mut view = View::new(String::new(), Sort::default(), Units::default(), true);
    for step in 0..50_u64 {
        let mut live = live();
        live.services[1].load.packets_in = step % 20;
        view.update(live);
    }
    view.update(live());
    for key in keys {
        assert!(!press(&mut view, KeyEvent::from(*key)), "{key:?} ends");
    }
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &mut view)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn services_at_three_sizes() {
    insta::assert_snapshot!("services_80x24", screen(80, 24, &[]));
    insta::assert_snapshot!("services_120x40", screen(120, 40, &[]));
    insta::assert_snapshot!("services_40x10", screen(40, 10, &[]));
}

#[test]
fn enter_shows_the_reals_of_a_service() {
    insta::assert_snapshot!("reals_80x24", screen(80, 24, &[KeyCode::Enter]));
    insta::assert_snapshot!("reals_120x40", screen(120, 40, &[KeyCode::Enter]));
    insta::assert_snapshot!("reals_40x10", screen(40, 10, &[KeyCode::Enter]));
}

#[test]
fn reasons_findings_and_help_have_pages() {
    insta::assert_snapshot!("reasons_80x24", screen(80, 24, &[KeyCode::Char('d')]));
    insta::assert_snapshot!("findings_80x24", screen(80, 24, &[KeyCode::Char('f')]));
    insta::assert_snapshot!("help_80x24", screen(80, 24, &[KeyCode::Char('?')]));
}

#[test]
fn a_filter_is_written_and_rows_are_sorted() {
    let keys = |text: &str| text.chars().map(KeyCode::Char).collect::<Vec<_>>();
    let filtered = screen(80, 24, &keys("/udp"));
    assert!(filtered.contains("1 of 3 services") && filtered.contains("/udp"), "{filtered}");
    let of_a_real = screen(80, 24, &keys("/no answer"));
    assert!(
        of_a_real.contains("tcp 192.0.2.100:80"),
        "a service is shown if one of its reals is\n{of_a_real}"
    );
    let place =
        |screen: &str, text: &str| screen.find(text).unwrap_or_else(|| panic!("no {text} in\n{screen}"));
    let by_state = screen(80, 24, &keys("s"));
    assert!(place(&by_state, "✖ down") < place(&by_state, "▲ degraded"), "the worst is first\n{by_state}");
    let by_packets = screen(80, 24, &keys("ss"));
    assert!(place(&by_packets, "▲ degraded") < place(&by_packets, "2001"), "{by_packets}");
    let reversed = screen(80, 24, &keys("ssr"));
    assert!(place(&reversed, "▲ degraded") > place(&reversed, "2001"), "{reversed}");
}

#[test]
fn a_pause_keeps_the_data_and_q_ends() {
    let mut view = View::new(String::new(), Sort::default(), Units::default(), false);
    view.update(live());
    assert!(!press(&mut view, KeyEvent::from(KeyCode::Char('p'))));
    let mut later = live();
    later.number = 9;
    view.update(later.clone());
    assert_eq!(view.live.as_ref().map(|live| live.number), Some(1));
    assert!(!press(&mut view, KeyEvent::from(KeyCode::Char('p'))));
    view.update(later);
    assert_eq!(view.live.as_ref().map(|live| live.number), Some(9));
    assert!(press(&mut view, KeyEvent::from(KeyCode::Char('q'))));
}

#[test]
fn the_selection_stays_in_the_list_and_is_visible() {
    let mut view = View::new(String::new(), Sort::default(), Units::default(), false);
    let mut many = live();
    many.services = (1..200).map(|port| service("tcp", &format!("192.0.2.1:{port}"), Vec::new())).collect();
    view.update(many);
    view.step(150);
    view.scroll(10);
    assert_eq!((view.selected, view.offset), (150, 141));
    view.step(-9);
    view.scroll(10);
    assert_eq!(view.offset, 141);
    view.step(isize::MAX);
    view.scroll(10);
    assert_eq!((view.selected, view.offset), (198, 189));
    view.update(live());
    view.scroll(10);
    assert_eq!((view.selected, view.offset), (2, 0));
}
