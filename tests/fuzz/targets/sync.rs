// SPDX-License-Identifier: MIT OR Apache-2.0
//! No datagram and no list of connections makes the codec of the synchronisation protocol panic, and what it reads is
//! read again after it was written.
#![no_main]

use lb_common::sync::{Connection, MESSAGE, Message, Parameter, Writer, snapshot};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    datagram(input);
    // A message whose header fits: no fuzzer guesses a length.
    let mut valid = input.to_vec();
    if valid.len() >= 8 {
        valid[2..4].copy_from_slice(&(input.len() as u16).to_be_bytes());
        datagram(&valid);
        [valid[0], valid[5], valid[6], valid[7]] = [0, 1, 0, 0];
        datagram(&valid);
    }
    for line in String::from_utf8_lossy(input).lines() {
        if let Ok(snapshot::Line::Connection { connection, .. }) = snapshot::line(line) {
            let is_mixed = connection.client.is_ipv4() != connection.real.is_ipv4()
                || connection.client.is_ipv4() != connection.vip.is_ipv4();
            if !is_mixed {
                written(&connection, &[]);
            }
        }
    }
});

/// Reads a datagram, and writes and reads each of its entries.
fn datagram(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let _signature = message.signature();
    for entry in message.entries().flatten() {
        let parameters: Vec<Parameter<'_>> = entry.parameters.iter().collect();
        let length: usize = parameters.iter().map(|parameter| 2 + parameter.data.len()).sum();
        if length < MESSAGE - 100 {
            written(&entry.connection, &parameters);
        }
    }
}

/// Writes a connection, reads it, and compares both.
fn written(connection: &Connection, parameters: &[Parameter<'_>]) {
    let mut buffer = [0; MESSAGE];
    let mut writer = Writer::new(&mut buffer, 0, false).expect("room for a header");
    assert!(writer.push(connection, parameters), "{connection:?}");
    let message = Message::parse(writer.finish().expect("an entry")).expect("a valid header");
    let entry = message.entries().next().expect("an entry").expect("a valid entry");
    assert_eq!(entry.connection, *connection);
    assert!(entry.parameters.iter().eq(parameters.iter().copied()));
}
