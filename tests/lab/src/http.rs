// SPDX-License-Identifier: MIT OR Apache-2.0
//! A minimal HTTP client, which asks for the name of the host that answers.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddrV4, TcpStream},
    time::Duration,
};

/// Fetches a path over a new connection, and returns the body of a 200.
pub fn get(server: SocketAddrV4, path: &str, patience: Duration) -> Result<String, String> {
    let answer =
        exchange(server, path, patience).map_err(|error| format!("http://{server}{path}: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(format!("http://{server}{path}: {answer:?}")),
    }
}

fn exchange(server: SocketAddrV4, path: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server.into(), patience)?;
    stream.set_read_timeout(Some(patience))?;
    // In one write, so that a request is one packet.
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
