// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs resize` while packets are forwarded.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use lb_tests::lab::{Method, Stage, VIP};

const PORT: u16 = 7000;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);

/// Sends a byte every millisecond until `end`, and returns their number. The client sends an ACK for many of them
/// together, so that several replies follow each other without a packet of the client in between.
///
/// Ends after a minute in any case, so that a failed claim of the test does not wait for this thread for ever.
fn trickle(mut stream: TcpStream, end: &AtomicBool) -> std::io::Result<usize> {
    stream.set_nodelay(true)?;
    let begin = Instant::now();
    let mut sent = 0;
    while !end.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_mins(1) {
        stream.write_all(b"x")?;
        sent += 1;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(sent)
}

/// The flow has no entry: only the return path of the client shows that the packets of the real are replies. Without
/// it, the director's stack sends them on with the address of the real, and the client resets the connection.
#[test]
fn a_download_without_a_flow_continues_while_the_director_forwards_other_packets_too() {
    let stage = Stage::new();
    let (director, real) = (&stage.lab.director, &stage.lab.reals[0]);
    director.sysctl("ipv4/ip_forward", "1");
    let listener = real.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).expect("the port is free");
    director.xvs(&format!("service add tcp {SERVICE} --scheduler mh")).succeeds();
    director.add_real("tcp", PORT, real.rip, PORT, Method::Nat, 100);
    let mut download = stage.lab.client.connect(SERVICE).expect("the service answers");
    let (upload, _) = listener.accept().expect("the client has connected");

    let end = AtomicBool::new(false);
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(|| trickle(upload, &end));
        let receiving = scope.spawn(move || download.read_to_end(&mut Vec::new()));
        for flows in [1_100_000, 1_200_000, 1_300_000, 1_400_000, 1_500_000] {
            director.xvs(&format!("resize --max-flows {flows}")).succeeds();
            thread::sleep(Duration::from_millis(100));
        }
        director.xvs("resize --max-flows6 300000").succeeds();
        thread::sleep(Duration::from_millis(100));
        end.store(true, Ordering::Relaxed);
        let ended = "the thread ends";
        (
            sending.join().expect(ended).expect("it is open"),
            receiving.join().expect(ended).expect("it is open"),
        )
    });
    assert_eq!(received, sent);
    assert!(sent > 600, "{sent} bytes in more than 600 ms");
    let flows = director.xvs("--output json connections").succeeds().json();
    assert_eq!(flows.as_array().map(Vec::len), Some(0), "the flow was not tracked: {flows:#}");
}
