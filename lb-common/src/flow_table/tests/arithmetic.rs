// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Words, phases, and the rank without branches beside one with branches.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;
use rstest::rstest;

use super::{
    super::{
        Best, Geometry, Key as _, KeyWord, Limits, Mixing, NARROW_WORDS, Narrow, Newcomer, Phase, Seen,
        Status, Value, WIDE_WORDS, Wide, best,
    },
    MIXING,
};
use crate::{
    ids::RealId,
    packet::tcp_flags::{ACK, FIN, RST, SYN},
    protocol,
    schema::{Load, Timeouts},
    ticks::{Tick, Ticks},
    track::State,
    wire::{Be16, Be32, Be128},
};

fn phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(Phase::ALL.to_vec())
}

fn newcomer() -> impl Strategy<Value = Newcomer> {
    prop::sample::select(vec![Newcomer::Unproven, Newcomer::Proven, Newcomer::Announced])
}

/// Returns the rank of an entry as the table in the documentation of [`Best`] has it.
fn rank(word: KeyWord, value: Value, now: Seen, newcomer: Newcomer, limits: &Limits) -> u64 {
    if word.generation() != value.generation() || word.is(Status::Busy) || word.is(Status::Killed) {
        return 0;
    }
    if word.is(Status::Empty) || value.is_dead() {
        return 7;
    }
    let living = match value.phase() {
        _ if newcomer == Newcomer::Announced => 0,
        Phase::SynReceived | Phase::NewUdp | Phase::Close => 3,
        Phase::NewEstablished | Phase::FinWait => 2,
        Phase::Udp | Phase::Established | Phase::Dead => u64::from(newcomer == Newcomer::Proven),
    };
    if value.seen().age(now) > limits.of_phase(value.phase_number()) { 4 + living } else { living }
}

proptest! {
    #[test]
    fn mixing_can_be_undone(random in any::<[u64; 3]>(), number in any::<u64>()) {
        let mixing = Mixing::new(random);
        prop_assert_eq!(mixing.undo(mixing.mix(number)), number);
    }

    #[test]
    fn a_narrow_key_comes_back(
        client in any::<u32>(),
        port in any::<u16>(),
        service in any::<u16>(),
        size in 11_u32..27,
        in_second in any::<bool>(),
        generation in any::<u64>(),
    ) {
        let geometry = Geometry::new(1 << size).unwrap();
        let key = Narrow::new(&MIXING, Be32(client), Be16(port), service);
        prop_assert_eq!(key.parts(&MIXING), (Be32(client), Be16(port), service));
        let [first, second] = [geometry.first(key.hash()), geometry.second(key.hash())];
        prop_assert_ne!(first, second);
        prop_assert!(first < geometry.buckets() && second < geometry.buckets());
        let word = key.word(in_second).with(Status::Live, generation);
        let bucket = if in_second { second } else { first };
        prop_assert_eq!(Narrow::of_entry(word, bucket, geometry), Some(key));
        prop_assert_eq!(word.matched(key.word(in_second)), Some(generation & 0xff));
        prop_assert_eq!(word.matched(key.word(!in_second)), None);
    }

    #[test]
    fn the_parts_of_a_value_are_independent(
        real in 0..=Value::MAX_REAL,
        seen in any::<u64>(),
        phase in phase(),
        announced in any::<bool>(),
        gateway in any::<u8>(),
        generation in any::<u64>(),
    ) {
        let seen = Seen::from_number(seen);
        let value = Value::new(RealId(real), seen, phase)
            .with_gateway(gateway)
            .with_announced(announced)
            .at_generation(generation);
        let parts = |value: Value| (value.real().0, value.is_announced(), value.gateway(), value.generation());
        prop_assert_eq!(parts(value), (real, announced, gateway, generation & 0xff));
        prop_assert_eq!((value.seen(), value.phase()), (seen, phase));
        let closed = value.at_phase(Phase::Close, Seen::default());
        // A packet has renewed it.
        prop_assert_eq!(parts(closed), parts(value.with_announced(false)));
        prop_assert_eq!((closed.seen(), closed.phase()), (Seen::default(), Phase::Close));
    }

    #[test]
    fn the_best_place_is_that_of_the_highest_rank_and_then_the_oldest(
        entries in prop::array::uniform8((0_u64..4, phase(), 0_u64..40_000, 0_u64..2)),
        newcomer in newcomer(),
        line in prop::sample::select(vec![0_usize, 4]),
        now in any::<u64>(),
    ) {
        let now = Seen::from_number(now);
        let limits = Limits::of(&Timeouts::DEFAULT);
        let words: [AtomicU64; NARROW_WORDS] = Default::default();
        let mut ranks = Vec::new();
        for (number, (status, phase, age, generation)) in entries.into_iter().enumerate() {
            let status = [Status::Empty, Status::Busy, Status::Live, Status::Killed][status as usize];
            let word = KeyWord(77 << 11).with(status, 1);
            let seen = Seen::from_number(now.number().wrapping_sub(age));
            let value = Value::new(RealId(1), seen, phase).at_generation(generation);
            let at = Narrow::place(line ^ number);
            words[at].store(word.0, std::sync::atomic::Ordering::Relaxed);
            words[at + 1].store(value.0, std::sync::atomic::Ordering::Relaxed);
            ranks.push((rank(word, value, now, newcomer, &limits), value.seen().age(now), 7 - number));
        }
        let found = best::<_, Narrow>(&words[..], line, now, newcomer, &limits);
        let highest = ranks.iter().max().unwrap();
        prop_assert_eq!(found.held(), ranks.iter().filter(|(rank, _, _)| *rank < 4).count() as u64);
        prop_assert_eq!(found.firm(), ranks.iter().filter(|(rank, _, _)| *rank < 2).count() as u64);
        prop_assert_eq!(found.rank(), highest.0);
        if highest.0 > 0 {
            prop_assert_eq!(found.place(), 7 - highest.2);
        }
    }
}

#[test]
fn buckets_are_whole_lines() {
    assert_eq!((8 * NARROW_WORDS, 8 * WIDE_WORDS), (128, 256));
    assert_eq!(Best(0).rank(), 0);
}

#[rstest]
#[case(2048, true)]
#[case(1024, false)]
#[case(3000, false)]
#[case(1 << 26, true)]
fn a_table_needs_a_power_of_two_of_buckets(#[case] buckets: u32, #[case] yes: bool) {
    assert_eq!(Geometry::new(buckets).is_some(), yes);
}

#[test]
fn a_wide_key_has_its_parts() {
    let client = Be128::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    let key = Wide::new(&MIXING, client, Be16(0x1234), 999, Be16(443));
    assert_eq!(key.parts(), (client, Be16(0x1234), 999, Be16(443)));
    assert_eq!(key.word(false), key.word(true));
    let other = Wide::new(&MIXING, Be128([client.0[1], client.0[0]]), Be16(0x1234), 999, Be16(443));
    assert_ne!(key.hash(), other.hash(), "exchanged halves are another client");
}

#[rstest]
#[case::handshake(&[(0, SYN), (0, ACK)], Phase::NewEstablished)]
#[case::data_in_the_same_window(&[(0, SYN), (0, ACK), (14, ACK)], Phase::NewEstablished)]
#[case::data_a_second_later(&[(0, SYN), (0, ACK), (15, ACK)], Phase::Established)]
#[case::and_then_quickly(&[(0, SYN), (0, ACK), (15, ACK), (15, ACK)], Phase::Established)]
#[case::syn_again(&[(0, SYN), (20, SYN)], Phase::SynReceived)]
#[case::a_slow_handshake(&[(0, SYN), (20, ACK)], Phase::Established)]
#[case::closed(&[(0, SYN), (0, ACK), (15, FIN | ACK), (15, ACK)], Phase::FinWait)]
#[case::reset(&[(0, SYN), (0, ACK), (15, RST)], Phase::Close)]
#[case::packets_that_were_on_their_way(&[(0, SYN), (0, ACK), (15, RST), (29, ACK)], Phase::Close)]
#[case::a_forged_reset(&[(0, SYN), (0, ACK), (15, RST), (30, ACK)], Phase::Established)]
#[case::reset_again(&[(0, SYN), (0, ACK), (15, RST), (30, RST | ACK)], Phase::Close)]
fn a_flow_is_proven_by_a_second_window(#[case] packets: &[(u64, u8)], #[case] end: Phase) {
    let time = |units: u64| Seen::from_number(0xff_fff8 + units);
    let mut value = Value::new(RealId(1), time(0), Phase::first(protocol::TCP, packets[0].1));
    for &(at, flags) in &packets[1..] {
        value = value.after(flags, time(at));
    }
    assert_eq!(value.phase(), end);
}

#[test]
fn datagrams_prove_a_flow_in_a_second_window() {
    let time = Seen::from_number;
    let first = Value::new(RealId(1), time(5), Phase::first(protocol::UDP, 0));
    assert_eq!(first.phase(), Phase::NewUdp);
    assert_eq!(first.after(0, time(6)), first, "nothing to write");
    assert_eq!(first.after(0, time(20)).phase(), Phase::Udp);
}

#[test]
fn phases_have_the_states_and_loads_of_flows() {
    for state in State::ALL {
        let phases = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Dead && phase.state() == state);
        for phase in phases {
            let expected = if state.is_active() { Load::ACTIVE } else { Load::INACTIVE };
            assert_eq!(phase.load(), expected, "{phase:?}");
        }
    }
    assert_eq!(Phase::Dead.load(), 0);
    for phase in Phase::ALL {
        let value = Value::new(RealId(0xf_ffff), Seen::from_number(0xff_ffff), phase).with_gateway(0xff);
        assert_eq!((value.state_number(), value.load()), (phase.state() as u32, phase.load()), "{phase:?}");
    }
    for (number, phase) in Phase::ALL.into_iter().enumerate() {
        assert_eq!((Phase::from_number(number as u64), phase as usize), (phase, number));
    }
}

#[test]
fn a_flow_expires_after_its_timeout_and_at_most_one_unit_later() {
    let (timeouts, seen) = (Timeouts::DEFAULT, Tick(u32::MAX - 1000));
    let limits = Limits::of(&timeouts);
    for phase in Phase::ALL {
        let timeout = phase.state().timeout(&timeouts);
        let is_over = |after: Ticks| limits.is_over(phase, Seen::of(seen), Seen::of(seen.after(after)), ACK);
        assert!(!is_over(timeout), "{phase:?}");
        assert!(is_over(Ticks(timeout.0 + 128)), "{phase:?}");
    }
    assert!(limits.is_over(Phase::FinWait, Seen::default(), Seen::default(), SYN), "reused ports");
    assert!(!limits.is_over(Phase::Established, Seen::default(), Seen::default(), SYN));
    assert_eq!(Seen::from_number(9).age(Seen::from_number(8)), 0, "a clock that is ahead");
}

proptest! {
    #[test]
    fn a_steady_value_stays_as_it_is(phase in phase(), tcp_flags: u8, age in 0_u32..40, announced: bool, gateway: u8) {
        // No flow has a dead entry.
        prop_assume!(phase != Phase::Dead);
        let now = Seen::from_number(1000);
        let seen = Seen::from_number(u64::from(1000 - age));
        let value = Value::new(RealId(7), seen, phase).with_announced(announced).with_gateway(gateway);
        if value.is_steady(tcp_flags, now) {
            prop_assert_eq!(value.after(tcp_flags, now), value);
            prop_assert_eq!(value.after_reply(tcp_flags, now), value);
        } else {
            let changes = tcp_flags & (SYN | FIN | RST) != 0;
            prop_assert!(changes || phase == Phase::SynReceived || age >= Seen::WINDOW);
        }
    }
}
