// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets that pass the director, and packets that do not, by the counters of the switch.

use lb_tests::lab::{Counters, Method, Stage, eventually};

const REQUESTS: usize = 50;

#[test]
fn replies_of_dr_and_tun_never_cross_the_director() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    let (lab, director) = (&stage.lab, &stage.lab.director);

    for method in Method::ALL {
        let before = lab.crossing();
        lab.client.requests(method.service(), REQUESTS).is_complete(REQUESTS);

        // The last packet of a connection may still be under way.
        let seen = eventually("xvs has counted what the switch saw", || {
            let (stats, seen) = (director.stats(), lab.crossing() - before);
            let count = stats.service("tcp", method.port()).count;
            let counted = [(count.packets_in, count.bytes_in), (count.packets_out, count.bytes_out)];
            let crossed = [seen.client_to_director, seen.director_to_client];
            if counted == crossed.map(|count| (count.packets, count.bytes)) {
                Ok(seen)
            } else {
                Err(format!("{method:?}: {count:?}\n{seen:?}"))
            }
        });
        assert_eq!(seen.director_to_reals.packets, seen.client_to_director.packets, "{method:?}: {seen:?}");
        assert_eq!(seen.director_to_client.packets, seen.reals_to_director.packets, "{method:?}: {seen:?}");

        let (direct, through) = (seen.reals_to_client.packets, seen.reals_to_director.packets);
        if method.replies_directly() {
            assert!(direct > 0 && through == 0, "{method:?}: {seen:?}");
        } else {
            assert!(direct == 0 && through > 0, "{method:?}: {seen:?}");
        }
    }
}

#[test]
fn counters_of_the_reals_add_up_to_those_of_the_service() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "wrr");

    for method in Method::ALL {
        let spread = stage.lab.client.requests(method.service(), 30);
        spread.is_complete(30);

        let stats = stage.lab.director.stats();
        let service = stats.service("tcp", method.port());
        let sum =
            |field: fn(&Counters) -> u64| service.reals.iter().map(|real| field(&real.count)).sum::<u64>();
        assert_eq!(service.count.packets_in, sum(|count| count.packets_in), "{service:#?}");
        assert_eq!(service.count.bytes_in, sum(|count| count.bytes_in), "{service:#?}");
        assert_eq!(service.count.packets_out, sum(|count| count.packets_out), "{service:#?}");
        assert_eq!(service.count.new_flows, 30, "{service:#?}");
        for real in &stage.lab.reals {
            assert_eq!(service.real(real.rip).new_flows, spread.by(real.name()) as u64, "{service:#?}");
        }
    }
}
