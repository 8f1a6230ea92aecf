// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of HTTP checks.
#![forbid(unsafe_code)]

use super::*;

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_status_decides() {
    for (status, code, text) in [
        ("200 OK", ResultCode::L7Ok, "HTTP 200"),
        ("302 Found", ResultCode::L7Ok, "HTTP 302"),
        ("404 Not Found", ResultCode::L7Status, "HTTP 404 Not Found"),
        ("500 Internal Server Error", ResultCode::L7Status, "HTTP 500 Internal Server Error"),
    ] {
        let address = serve_bytes(answer(status, "")).await;
        assert_eq!(probe_address(&check(CheckType::Http), address).await, (code, text.to_owned()));
    }
    let only = Check { status: "204,404".parse().unwrap(), ..check(CheckType::Http) };
    let address = serve_bytes(answer("404 Not Found", "")).await;
    assert_eq!(probe_address(&only, address).await.0, ResultCode::L7Ok);
    assert_eq!(probe_address(&only, closed().await).await.0, ResultCode::L4Connection);
}

#[tokio::test]
async fn the_request_is_that_of_the_definition() {
    let (sender, mut requests) = channel(1);
    let address = serve(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            request.truncate(length);
            sender.send(String::from_utf8(request).unwrap()).await.unwrap();
            stream.write_all(answer("200 OK", "").as_bytes()).await.unwrap();
        }
    })
    .await;
    let path = Some("/health?full=1".to_owned());
    let check = Check { path, host: Some("www.example.org".into()), ..check(CheckType::Http) };
    let (_, steps) = probe_with_steps(&check, address).await;
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /health?full=1 HTTP/1.1\r\n"), "{request}");
    for line in ["host: www.example.org", "user-agent: xvs", "connection: close"] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    assert_eq!(steps[2], "sent GET /health?full=1");
    assert!(steps[3].starts_with("HTTP 200 OK after "), "{steps:?}");
    assert!(steps[4].starts_with("L7OK after ") && steps[4].ends_with(": HTTP 200"), "{steps:?}");
}

#[tokio::test]
async fn the_connection_ends_with_a_reset() {
    let (sender, mut ends) = channel(1);
    let address = serve(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut request = vec![0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer("200 OK", "").as_bytes()).await.unwrap();
            let end = stream.read(&mut request).await.map_err(|error| error.kind());
            sender.send(end).await.unwrap();
        }
    })
    .await;
    assert_eq!(probe_address(&check(CheckType::Http), address).await.0, ResultCode::L7Ok);
    assert_eq!(ends.recv().await, Some(Err(std::io::ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn the_first_64_kib_of_the_body_are_compared() {
    let with = |body: &str| Check { body: Some(body.into()), ..check(CheckType::Http) };
    let address = serve_bytes(answer("200 OK", "status: ready")).await;
    assert_eq!(probe_address(&with("ready$"), address).await, (ResultCode::L7Ok, "HTTP 200".to_owned()));
    let (code, text) = probe_address(&with("broken"), address).await;
    assert_eq!(
        (code, &*text),
        (ResultCode::L7Response, "HTTP 200, but the body does not match: \"status: ready\"")
    );
    let long = format!("{}late", "x".repeat(LONGEST_ANSWER));
    let address = serve_bytes(answer("200 OK", &long)).await;
    assert_eq!(probe_address(&with("^x{1000}"), address).await.0, ResultCode::L7Ok);
    assert_eq!(probe_address(&with("late"), address).await.0, ResultCode::L7Response);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n";
    assert_eq!(probe_address(&with("^ready$"), serve_bytes(chunked).await).await.0, ResultCode::L7Ok);
}

#[tokio::test]
async fn a_wrong_or_missing_answer_is_explained() {
    for (bytes, why) in [
        ("SSH-2.0-OpenSSH_10.0\r\n", "the answer is not HTTP"),
        ("", "closed before the end"),
        ("HTTP/1.1 200 OK\r\nContent-", "closed before the end"),
    ] {
        let (code, text) = probe_address(&check(CheckType::Http), serve_bytes(bytes).await).await;
        assert_eq!(code, ResultCode::L7Response, "{text}");
        assert!(text.contains(why), "{text}");
    }
    let found = probe_address(&check(CheckType::Http), serve_nothing().await).await;
    assert_eq!(found, (ResultCode::L7Timeout, "connected, but no answer within 300ms".to_owned()));
    let stalled = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    });
    let body = Check { body: Some("x".into()), ..check(CheckType::Http) };
    let found = probe_address(&body, stalled.await).await;
    assert_eq!(found, (ResultCode::L7Timeout, "the answer was not complete within 300ms".to_owned()));
}
