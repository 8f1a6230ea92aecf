// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selection of tracked connections, and connections that an operator ends.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use lb_tests::lab::{Lab, Method, Server, Stage, eventually};

/// A connection whose real returns each line.
struct Talk {
    method: Method,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Talk {
    fn begin(lab: &Lab, method: Method) -> Self {
        let stream = lab.client.connect(method.service()).expect("the service answers");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("it is not zero");
        let reader = BufReader::new(stream.try_clone().expect("a file handle more"));
        let mut talk = Self { method, stream, reader };
        talk.say("hello\n").expect("it is new");
        talk
    }

    /// Sends a line and reads it back.
    fn say(&mut self, words: &str) -> Result<(), ErrorKind> {
        self.stream.write_all(words.as_bytes()).map_err(|error| error.kind())?;
        let mut line = String::new();
        while line != words {
            line.clear();
            let length = self.reader.read_line(&mut line).map_err(|error| error.kind())?;
            assert_ne!(length, 0, "closed before {words}");
        }
        Ok(())
    }

    fn client(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }
}

/// Returns the clients that `xvs connections` lists with these options.
fn listed(lab: &Lab, options: &str) -> Vec<String> {
    let list = lab.director.xvs(&format!("--json connections {options}")).succeeds().json();
    let list = list.as_array().expect("a list");
    list.iter().map(|entry| entry["client"].as_str().expect("an address").to_owned()).collect()
}

#[test]
fn selected_connections_of_every_method_are_reset_and_no_others() {
    let stage = Stage::new();
    let lab = &stage.lab;
    let _greeters: Vec<_> = lab
        .reals
        .iter()
        .flat_map(|real| {
            Method::real_ports().map(|port| Server::greeter(real, (Ipv4Addr::UNSPECIFIED, port)))
        })
        .collect();
    stage.serve_all_methods("tcp", "wrr");
    // The packet alone determines the real of a hashing scheduler: an entry must end the connection all the same.
    let hashed = format!("service edit tcp {} --scheduler mh --tracking full --force", Method::Tun.service());
    lab.director.xvs(&hashed).succeeds();
    let mut talks: Vec<Talk> = Method::ALL
        .into_iter()
        .flat_map(|method| [method; 3])
        .map(|method| Talk::begin(lab, method))
        .collect();
    assert_eq!(listed(lab, "").len(), talks.len());

    for cut in Method::ALL {
        let service = format!("--service tcp {}", cut.service());
        let mut expected: Vec<String> =
            talks.iter().filter(|talk| talk.method == cut).map(|talk| talk.client().to_string()).collect();
        let mut found = listed(lab, &service);
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        lab.director.xvs(&format!("connections cut {service}")).succeeds().says("3 connections cut");
        assert!(listed(lab, &service).is_empty(), "{}", cut.as_str());
        let mut ended: Vec<Talk> = talks.extract_if(.., |talk| talk.method == cut).collect();
        for talk in &mut ended {
            assert_eq!(talk.say("cut\n"), Err(ErrorKind::ConnectionReset), "{}", cut.as_str());
        }
        for talk in &mut talks {
            talk.say("others go on\n").expect("nobody has cut it");
        }
        // The client connects again, and its new connection lives.
        let mut again = Talk::begin(lab, cut);
        again.say("again\n").expect("it is new");
        lab.director
            .xvs(&format!("connections cut {service} --client {}/24", again.client().ip()))
            .succeeds();
        assert_eq!(again.say("cut\n"), Err(ErrorKind::ConnectionReset), "{}", cut.as_str());
    }

    // One client and one real at a time.
    let mut talks: Vec<Talk> = (0..6).map(|_| Talk::begin(lab, Method::Nat)).collect();
    let real = format!("10.0.0.12:{}", Method::Nat.real_port());
    assert_eq!(listed(lab, &format!("--real {real}")).len(), 2);
    assert_eq!(listed(lab, "--real 10.0.0.12:1").len(), 0);
    assert_eq!(listed(lab, "--client 198.51.100.200").len(), 0);
    lab.director.xvs(&format!("connections cut --real {real}")).succeeds().says("2 connections cut");
    let ended = talks.iter_mut().filter_map(|talk| talk.say("still here\n").err()).count();
    assert_eq!(ended, 2);
    let counted = || {
        let stats = lab.director.stats();
        stats.service("tcp", Method::Nat.port()).reals.iter().map(|real| real.count.active_flows).sum::<u64>()
    };
    eventually("four are counted", || if counted() == 4 { Ok(()) } else { Err(counted().to_string()) });

    lab.director.xvs("connections cut").fails(2).says("which connections?");
    lab.director.xvs("connections cut --service tcp 192.0.2.1:1").fails(2).says("there is no service");
    lab.director.xvs("connections cut --client 300.1.1.1").fails(2);
    assert_eq!(counted(), 4);
}
