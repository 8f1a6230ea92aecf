// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the probes, with real servers on the loopback interface.
#![forbid(unsafe_code)]

mod datagram; // udp, dns, ping
mod exec; //     commands
mod http; //     http
mod https; //    TLS
mod tcp; //      tcp

use std::net::SocketAddr;

use lb_model::{
    Endpoint, Forward, Protocol, RealKey, Tunnel,
    check::{Period, Timing, Via},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::channel,
};

use super::*;
use crate::target::TargetKey;

/// Returns a direct check with a timeout of 300 ms.
fn check(kind: CheckType) -> Check {
    let timing = Timing { timeout: Period::from_millis(300), ..Timing::default() };
    Check { via: Via::Direct, timing, ..Check::new(kind) }
}

/// Returns the target at an address.
fn target(check: &Check, address: SocketAddr) -> Target {
    let vip = "192.0.2.1:8000".parse().unwrap();
    let service = Endpoint { protocol: Protocol::Tcp, address: vip };
    let real = RealKey { address, forward: Forward::Nat, tunnel: Tunnel::Ipip };
    Target {
        key: TargetKey::new("name".parse().unwrap(), check, service, real),
        check: Arc::new(check.clone()),
        vip,
        services: [].into(),
        hold_down: Period::default(),
        real_id: 1,
        forward: Forward::Nat,
    }
}

/// Probes an address. Returns the result and the steps.
async fn probe_with_steps(check: &Check, address: SocketAddr) -> (LastResult, Vec<String>) {
    assert_eq!(check.validate(), Ok(()));
    let target = target(check, address);
    let prepared = Prepared::new(&target.check).unwrap();
    let (steps, mut lines) = channel(64);
    let (result, _) = run(&prepared, &target, &Way::Direct, Some(steps)).await;
    let mut received = Vec::new();
    while let Some(line) = lines.recv().await {
        received.push(line);
    }
    (result, received)
}

/// Probes an address. Returns the result and its text.
async fn probe_address(check: &Check, address: SocketAddr) -> (ResultCode, String) {
    let (result, _) = probe_with_steps(check, address).await;
    (result.code, result.text)
}

/// Starts a TCP server whose connections are handled by `handle`.
async fn serve<F: Future<Output = ()> + Send>(
    handle: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            handle(stream).await;
        }
    });
    address
}

/// Starts a TCP server that reads a request, sends these bytes and closes the connection.
async fn serve_bytes(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.is_ok());
            // The probe may have ended.
            drop(stream.write_all(&answer).await);
        }
    })
    .await
}

/// Starts a TCP server that accepts connections and sends nothing.
async fn serve_nothing() -> SocketAddr {
    serve(|mut stream| async move {
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
    })
    .await
}

/// Returns an address where nothing listens.
async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[test]
fn texts_are_short_and_have_no_control_characters() {
    assert_eq!(plain("a\r\n\u{1b}[1mé"), "a\\r\\n\\u{1b}[1mé");
    assert_eq!(plain(&"é".repeat(300)).chars().count(), LONGEST_TEXT);
    assert!(plain(&"\n".repeat(300)).chars().count() <= LONGEST_TEXT);
    assert_eq!(quote(&[b'x'; 61]), format!("\"{}\"…", "x".repeat(60)));
}
