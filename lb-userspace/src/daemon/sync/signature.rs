// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures of messages: the first 16 bytes of HMAC-SHA256 (RFC 2104) over all bytes before them. A signature proves that
//! a director with the same secret has sent the message, and not when.
#![forbid(unsafe_code)]

use hmac::{Hmac, KeyInit as _, Mac as _};
use lb_common::sync::{Message, Parameter};
use sha2::Sha256;

/// Prefix of the signed bytes, so that no other use of the secret makes the same signature.
const DOMAIN: &[u8] = b"xvs announcements, version 1\n";

/// The secret of the directors.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) const fn new(secret: Vec<u8>) -> Self {
        Self(secret)
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("any length is valid"));
        mac.update(DOMAIN);
        mac.update(bytes);
        mac
    }

    /// Returns the signature of these bytes.
    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; Parameter::SIGNATURE_LENGTH] {
        let whole = self.mac(bytes).finalize().into_bytes();
        let mut signature = [0; Parameter::SIGNATURE_LENGTH];
        signature.copy_from_slice(&whole[..Parameter::SIGNATURE_LENGTH]);
        signature
    }

    /// Returns whether a message has a valid signature. The comparison takes the same time for any signature.
    pub(super) fn has_signed(&self, message: &Message<'_>) -> bool {
        message.signature().is_some_and(|(bytes, signature)| {
            self.mac(bytes).verify_truncated_left(signature.as_slice()).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{
        protocol,
        sync::{Connection, Flags, MESSAGE, Writer},
    };

    use super::*;

    fn signed(key: &Key, buffer: &mut [u8]) -> Vec<u8> {
        let connection = Connection {
            protocol: protocol::TCP,
            client: "10.9.0.1:60046".parse().unwrap(),
            vip: "10.9.0.100:80".parse().unwrap(),
            real: "10.9.0.23:80".parse().unwrap(),
            flags: Flags(0x83),
            state: 1,
            mark: 0,
            timeout: 900,
        };
        let mut writer = Writer::new(buffer, 7, true).unwrap();
        assert!(writer.push(&connection, &[]));
        writer.sign(|bytes| key.sign(bytes)).unwrap().to_vec()
    }

    #[test]
    fn only_the_secret_makes_a_valid_signature_and_each_byte_counts() {
        let (key, other) =
            (Key::new(b"a secret of directors".to_vec()), Key::new(b"another one of them".to_vec()));
        let message = signed(&key, &mut [0; MESSAGE]);
        let is_valid =
            |key: &Key, bytes: &[u8]| Message::parse(bytes).is_ok_and(|message| key.has_signed(&message));
        assert!(is_valid(&key, &message));
        assert!(!is_valid(&other, &message));
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert!(!is_valid(&key, &changed), "byte {at}");
        }
    }
}
