// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of UDP, DNS and ping checks.
#![forbid(unsafe_code)]

use lb_model::check::DnsRecord;
use tokio::net::UdpSocket;

use super::*;

/// Starts a UDP server that sends these datagrams for each one that it receives.
async fn serve_udp(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut request = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut request).await {
            for answer in answer(&request[..length]) {
                drop(socket.send_to(&answer, client).await);
            }
        }
    });
    address
}

/// Returns an address where no UDP socket is.
async fn no_socket() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_udp_answer_is_compared() {
    let with = |expect: Option<&str>| Check {
        send: Some("ping".into()),
        expect: expect.map(Into::into),
        ..check(CheckType::Udp)
    };
    let echo = serve_udp(|request| vec![b"late".to_vec(), request.to_vec()]).await;
    assert_eq!(probe_address(&with(Some("^ping$")), echo).await.0, ResultCode::L7Ok);
    assert_eq!(probe_address(&with(None), echo).await.0, ResultCode::L4Ok);
    let found = probe_address(&with(Some("pong")), echo).await;
    assert_eq!(found, (ResultCode::L7Response, "the answer within 300ms does not match".to_owned()));
    let silent = serve_udp(|_| vec![]).await;
    let found = probe_address(&with(Some("pong")), silent).await;
    assert_eq!(found, (ResultCode::L4Timeout, "no answer within 300ms".to_owned()));
    let found = probe_address(&with(None), silent).await;
    assert_eq!(found, (ResultCode::L4Ok, "no ICMP error within 300ms".to_owned()));
    for expect in [None, Some("pong")] {
        let found = probe_address(&with(expect), no_socket().await).await;
        assert_eq!(found, (ResultCode::L4Connection, "connection refused".to_owned()));
    }
}

/// Returns an answer with an A record; `flags` replaces the flags of the query.
fn dns_answer(query: &[u8], flags: u16, records: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&flags.to_be_bytes());
    answer[7] = records;
    for _ in 0..records {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    }
    answer
}

fn dns(record: DnsRecord) -> Check {
    Check { dns_name: Some("www.example.org".into()), record, ..check(CheckType::Dns) }
}

#[tokio::test]
async fn a_dns_answer_needs_a_record_of_the_type() {
    let (a, aaaa) = (dns(DnsRecord::A), dns(DnsRecord::Aaaa));
    let good = serve_udp(|query| vec![b"noise".to_vec(), dns_answer(query, 0x8180, 1)]).await;
    assert_eq!(probe_address(&a, good).await, (ResultCode::L7Ok, String::new()));
    let found = probe_address(&aaaa, good).await;
    assert_eq!(found, (ResultCode::L7Response, "the answer has no AAAA record".to_owned()));
    for (code, name) in [(2, "SERVFAIL"), (3, "NXDOMAIN"), (5, "REFUSED")] {
        let server = serve_udp(move |query| vec![dns_answer(query, 0x8180 | code, 0)]).await;
        assert_eq!(probe_address(&a, server).await, (ResultCode::L7Status, name.to_owned()));
    }
    let root = check(CheckType::Dns);
    let empty = serve_udp(|query| vec![dns_answer(query, 0x8180, 0)]).await;
    assert_eq!(probe_address(&root, empty).await.0, ResultCode::L7Ok);
    let silent = probe_address(&a, serve_udp(|_| vec![]).await).await;
    assert_eq!(silent, (ResultCode::L4Timeout, "no answer within 300ms".to_owned()));
    assert_eq!(probe_address(&a, no_socket().await).await.0, ResultCode::L4Connection);
}

#[tokio::test]
async fn a_truncated_dns_answer_is_repeated_by_tcp() {
    let address = serve(|mut stream| async move {
        let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut query).await.unwrap();
        let answer = dns_answer(&query, 0x8180, 200);
        stream.write_u16(answer.len() as u16).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    })
    .await;
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        let (length, client) = socket.recv_from(&mut query).await.unwrap();
        socket.send_to(&dns_answer(&query[..length], 0x8380, 0), client).await.unwrap();
    });
    let (result, steps) = probe_with_steps(&dns(DnsRecord::A), address).await;
    assert_eq!(result.code, ResultCode::L7Ok, "{steps:?}");
    assert!(steps.iter().any(|step| step.contains("repeat the query by TCP")), "{steps:?}");
    assert!(steps.iter().any(|step| step.ends_with("records of type A: 200")), "{steps:?}");
}

#[tokio::test]
async fn a_ping_is_answered() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (result, steps) = probe_with_steps(&check(CheckType::Ping), address.parse().unwrap()).await;
        assert_eq!(result.code, ResultCode::L4Ok, "{steps:?}");
        assert!(steps[1].starts_with("received an ICMP echo reply after "), "{steps:?}");
    }
}
