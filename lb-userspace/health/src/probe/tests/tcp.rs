// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of TCP checks.
#![forbid(unsafe_code)]

use super::*;

fn redis() -> Check {
    Check { send: Some("PING\\r\\n".into()), expect: Some("^\\+PONG\\r\\n".into()), ..check(CheckType::Tcp) }
}

#[tokio::test]
async fn a_connection_suffices_without_expect() {
    let address = serve_nothing().await;
    let (result, steps) = probe_with_steps(&check(CheckType::Tcp), address).await;
    assert_eq!((result.code, &*result.text), (ResultCode::L4Ok, ""));
    assert!(result.duration_us > 0 && result.at_ms > 1_700_000_000_000);
    assert_eq!(steps[0], format!("connect to {address} …"));
    assert!(steps[1].starts_with("connected after ") && steps[1].ends_with(" ms"), "{steps:?}");
    let (code, text) = probe_address(&check(CheckType::Tcp), closed().await).await;
    assert_eq!((code, &*text), (ResultCode::L4Connection, "connection refused"));
}

#[tokio::test]
async fn a_probe_leaves_no_time_wait() {
    let address = serve_nothing().await;
    for _ in 0..5 {
        probe_address(&check(CheckType::Tcp), address).await;
    }
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let waiting = sockets.lines().filter(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_ours = words.next().is_some_and(|it| it.ends_with(&port))
            | words.next().is_some_and(|it| it.ends_with(&port));
        is_ours && words.next() == Some("06")
    });
    assert_eq!(waiting.count(), 0);
}

#[tokio::test]
async fn an_answer_is_compared() {
    for (answer, code, text) in [
        ("+PONG\r\n", ResultCode::L7Ok, ""),
        ("-ERR\r\n", ResultCode::L7Response, "the answer does not match: \"-ERR\\r\\n\""),
        ("", ResultCode::L7Response, "the connection was closed without an answer"),
    ] {
        let found = probe_address(&redis(), serve_bytes(answer).await).await;
        assert_eq!(found, (code, text.to_owned()));
    }
    let bytes = Check { expect: Some("(?-u)^\\xff\\x00$".into()), ..check(CheckType::Tcp) };
    let address = serve(|mut stream| async move { stream.write_all(&[0xff, 0]).await.unwrap() }).await;
    assert_eq!(probe_address(&bytes, address).await.0, ResultCode::L7Ok);
}

#[tokio::test]
async fn a_timeout_names_the_step() {
    let found = probe_address(&redis(), serve_nothing().await).await;
    assert_eq!(found, (ResultCode::L7Timeout, "connected, but no answer within 300ms".to_owned()));
    let half = serve(|mut stream| async move {
        stream.write_all(b"+PO").await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    });
    let found = probe_address(&redis(), half.await).await;
    assert_eq!(found, (ResultCode::L7Response, "the answer within 300ms does not match".to_owned()));
    // A full queue of connections: further requests are dropped.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _waiting = TcpStream::connect(address).await.unwrap();
    let found = probe_address(&check(CheckType::Tcp), address).await;
    let text = "no answer to the connection request within 300ms";
    assert_eq!(found, (ResultCode::L4Timeout, text.to_owned()));
}

#[tokio::test]
async fn a_service_of_every_port_needs_a_port_for_its_check() {
    let address = serve_nothing().await;
    let mut check = check(CheckType::Tcp);
    let any = SocketAddr::new(address.ip(), 0);
    let (code, text) = probe_address(&check, any).await;
    assert_eq!(code, ResultCode::SocketError);
    assert!(text.contains("via direct"), "{text}");
    check.port = Some(address.port());
    assert_eq!(probe_address(&check, any).await.0, ResultCode::L4Ok);
}
