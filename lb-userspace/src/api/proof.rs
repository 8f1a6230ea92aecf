// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mutual proof of a director and its agents that they have the same token, which itself never crosses the
//! network: HMAC-SHA256 over the message (RFC 2104), with a different prefix for each direction, over a nonce
//! of the agent, and over the time.
#![forbid(unsafe_code)]

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::token::Token;
use lb_explain::hex::{decode, encode};

/// Name of the scheme in `Authorization`, `Authentication-Info` and `WWW-Authenticate`.
pub const SCHEME: &str = "XVS-HMAC-SHA256";
/// Maximum difference between the clocks of director and agent.
pub const CLOCKS: Duration = Duration::from_mins(5);
/// Prefixes of the signed texts of questions and answers: neither can be taken for the other.
const QUESTION: &[u8] = b"xvs agent's question, version 1\n";
const ANSWER: &[u8] = b"xvs director's answer, version 1\n";
/// Number of questions that are remembered.
const REMEMBERED: usize = 1 << 20;

/// A number that is used once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Creates a random nonce.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if got == bytes.len() { Ok(Self(bytes)) } else { Err(std::io::Error::other("too few random bytes")) }
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        encode(&nonce.0)
    }
}

impl TryFrom<String> for Nonce {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = decode(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| "it is not 32 hexadecimal digits".to_owned())
    }
}

/// Returns the present time in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Token {
    /// Returns the header value that authenticates a question.
    #[must_use]
    pub fn sign_question(&self, body: &[u8]) -> String {
        header(&self.mac(QUESTION, &[body]))
    }

    /// Returns whether a header value authenticates a question.
    #[must_use]
    pub fn signed_question(&self, header: &[u8], body: &[u8]) -> bool {
        self.proves(header, QUESTION, &[body])
    }

    /// Returns the header value that authenticates the answer to the question with that nonce.
    #[must_use]
    pub fn sign_answer(&self, nonce: Nonce, body: &[u8]) -> String {
        header(&self.mac(ANSWER, &[&nonce.0, body]))
    }

    /// Returns whether a header value authenticates an answer to the question with that nonce.
    #[must_use]
    pub fn signed_answer(&self, header: &[u8], nonce: Nonce, body: &[u8]) -> bool {
        self.proves(header, ANSWER, &[&nonce.0, body])
    }

    fn mac(&self, domain: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret())
            .unwrap_or_else(|_| unreachable!("any length will do"));
        mac.update(domain);
        for part in parts {
            mac.update(part);
        }
        mac
    }

    fn proves(&self, header: &[u8], domain: &[u8], parts: &[&[u8]]) -> bool {
        let shown =
            std::str::from_utf8(header).ok().and_then(|text| credentials(text, SCHEME)).and_then(decode);
        // The comparison takes constant time.
        shown.is_some_and(|shown| self.mac(domain, parts).verify_slice(&shown).is_ok())
    }
}

fn header(mac: &Hmac<Sha256>) -> String {
    format!("{SCHEME} {}", encode(&mac.clone().finalize().into_bytes()))
}

/// Returns the part after the name of a scheme, which is case-insensitive (RFC 9110, section 11.1).
#[must_use]
pub fn credentials<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = header.trim().split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Reason why a question with a valid proof is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stale {
    /// The clocks differ by this number of seconds.
    Clock(u64),
    /// The question was asked before.
    Again,
}

/// Questions of the last minutes, so that none is answered twice.
#[derive(Debug, Default)]
pub struct Asked(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    nonces: HashSet<Nonce>,
    /// Nonces in order of arrival, with the time of the question.
    order: VecDeque<(u64, Nonce)>,
}

impl Asked {
    /// Records a question of that time.
    ///
    /// # Errors
    /// If it is too old, too new or known.
    pub fn note(&self, time: u64, nonce: Nonce, now: u64) -> Result<(), Stale> {
        let apart = time.abs_diff(now);
        if apart > CLOCKS.as_secs() {
            return Err(Stale::Clock(apart));
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { nonces, order } = &mut *known;
        while let Some((old, nonce)) = order.front().copied() {
            // The time check refuses older ones. If there are too many, the oldest could be replayed.
            if old + CLOCKS.as_secs() >= now && order.len() < REMEMBERED {
                break;
            }
            nonces.remove(&nonce);
            order.pop_front();
        }
        if !nonces.insert(nonce) {
            return Err(Stale::Again);
        }
        order.push_back((time, nonce));
        Ok(())
    }
}

lb_model::text_schema!(Nonce, "32 hexadecimal digits.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_cannot_be_changed_turned_round_or_used_for_another() {
        let token = Token::from("0123456789abcdef");
        let (nonce, other) = (Nonce([1; 16]), Nonce([2; 16]));
        let question = token.sign_question(b"body");
        assert!(token.signed_question(question.as_bytes(), b"body"));
        assert!(token.signed_question(question.to_lowercase().as_bytes(), b"body"), "the scheme has no case");
        assert!(!token.signed_question(question.as_bytes(), b"Body"));
        assert!(!Token::from("0123456789abcdeF").signed_question(question.as_bytes(), b"body"));
        assert!(!token.signed_answer(question.as_bytes(), nonce, b"body"));
        let answer = token.sign_answer(nonce, b"body");
        assert!(token.signed_answer(answer.as_bytes(), nonce, b"body"));
        assert!(!token.signed_answer(answer.as_bytes(), other, b"body"));
        assert!(!token.signed_question(answer.as_bytes(), b"body"));
        for wrong in [
            "",
            "XVS-HMAC-SHA256",
            "XVS-HMAC-SHA256 ",
            "XVS-HMAC-SHA256 00",
            "Bearer 0123456789abcdef",
            "XVS-HMAC-SHA256 zz",
        ] {
            assert!(!token.signed_question(wrong.as_bytes(), b"body"), "{wrong}");
        }
        assert!(
            !token.signed_question(&question.as_bytes()[..question.len() - 2], b"body"),
            "all of it counts"
        );
        assert!(!question.contains("0123456789abcdef"));
    }

    /// Tests case 2 of RFC 4231, with the same construction and no prefix.
    #[test]
    fn it_is_hmac_sha256() {
        let mac = Token::from("Jefe").mac(b"", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            encode(&mac.finalize().into_bytes()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_question_is_answered_once_and_in_time() {
        let asked = Asked::default();
        let (now, limit) = (1_000_000, CLOCKS.as_secs());
        assert_eq!(asked.note(now - limit - 1, Nonce([0; 16]), now), Err(Stale::Clock(limit + 1)));
        assert_eq!(asked.note(now + limit + 1, Nonce([0; 16]), now), Err(Stale::Clock(limit + 1)));
        assert_eq!(asked.note(now + limit, Nonce([1; 16]), now), Ok(()));
        assert_eq!(asked.note(now, Nonce([2; 16]), now), Ok(()));
        assert_eq!(asked.note(now, Nonce([2; 16]), now + 1), Err(Stale::Again));
        // The nonce is known as long as its time is valid.
        assert_eq!(asked.note(now + limit, Nonce([1; 16]), now + 2 * limit), Err(Stale::Again));
        assert_eq!(asked.note(now, Nonce([2; 16]), now + limit), Err(Stale::Again));
        // Then the nonce is removed, and the time check refuses it.
        assert_eq!(asked.note(now + 2 * limit + 1, Nonce([3; 16]), now + 2 * limit + 1), Ok(()));
        assert_eq!(asked.0.lock().unwrap().nonces.len(), 1);
        assert_eq!(asked.note(now, Nonce([2; 16]), now + 2 * limit + 1), Err(Stale::Clock(2 * limit + 1)));
    }

    #[test]
    fn nonces_are_hexadecimal_digits() {
        let nonce = Nonce::random().unwrap();
        assert_ne!(nonce, Nonce::random().unwrap());
        assert_eq!(Nonce::try_from(String::from(nonce)), Ok(nonce));
        for wrong in ["", "00", &"g".repeat(32), &"0".repeat(33), &"é".repeat(16)] {
            assert!(Nonce::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
