// SPDX-License-Identifier: MIT OR Apache-2.0
//! `UDP_CHECK`: a datagram, and the answer.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::super::{super::Kind, lines::Said, way::Taken};

/// A datagram, and the answer that it must get.
#[derive(Clone, Debug, Default)]
pub(super) struct Udp {
    /// Text to send.
    pub send: Option<String>,
    /// Pattern of the answer; `None`: no answer is needed.
    pub expect: Option<(Said, String)>,
}

impl Udp {
    /// Parses a line; `None` if it is about something else.
    pub fn take(&mut self, said: &Said, words: &[&str]) -> Option<Taken> {
        let lost = |why: &str| Some(Taken::No(why.to_owned(), Kind::Health));
        let bytes = || bytes(&words[1..].concat());
        match words[0] {
            "payload" => match bytes().filter(|bytes| !bytes.is_empty()) {
                Some(bytes) if bytes.iter().all(|(_, mask)| *mask == 0xff) => {
                    self.send = Some(bytes.iter().fold(String::new(), |mut text, (byte, _)| {
                        // Writing to a string cannot fail.
                        let _ = write!(text, "\\x{byte:02x}");
                        text
                    }));
                }
                _ => return lost("it is no text of hexadecimal digits: keepalived ignores the line"),
            },
            "require_reply" => {
                let Some(bytes) = bytes() else {
                    self.expect = Some((said.clone(), String::new()));
                    return lost("it is no text of hexadecimal digits: any answer is accepted");
                };
                self.expect = Some((said.clone(), pattern(&bytes)));
            }
            "min_reply_length" | "max_reply_length" => {
                return lost("the length of the answer is not examined: `expect = REGEX` can");
            }
            _ => return None,
        }
        Some(Taken::Yes)
    }
}

/// Parses bytes in hexadecimal, where `x` stands for four bits of any value. Returns each byte with the mask
/// of the bits that count.
fn bytes(text: &str) -> Option<Vec<(u8, u8)>> {
    let digits: Option<Vec<(u8, u8)>> = text
        .chars()
        .map(|c| match c.to_digit(16) {
            Some(digit) => Some((digit as u8, 0xf)),
            None if c.eq_ignore_ascii_case(&'x') => Some((0, 0)),
            None => None,
        })
        .collect();
    let digits = digits?;
    let joined = |pair: &[(u8, u8)]| (pair[0].0 << 4 | pair[1].0, pair[0].1 << 4 | pair[1].1);
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(joined).collect())
}

/// Returns the regular expression of answers that begin with these bytes.
fn pattern(bytes: &[(u8, u8)]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    bytes.iter().fold("(?s-u)\\A".to_owned(), |mut text, (byte, mask)| {
        // Writing to a string cannot fail.
        let _ = match mask {
            0xff => write!(text, "\\x{byte:02x}"),
            0xf0 => write!(text, "[\\x{byte:02x}-\\x{:02x}]", byte | 0xf),
            0x0f => {
                let each = (0..16)
                    .fold(String::new(), |each, high: u8| each + &format!("\\x{:02x}", high << 4 | byte));
                write!(text, "[{each}]")
            }
            _ => write!(text, "."),
        };
        text
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("0aFF", "(?s-u)\\A\\x0a\\xff")]
    #[case("1x", "(?s-u)\\A[\\x10-\\x1f]")]
    #[case("xx0a", "(?s-u)\\A.\\x0a")]
    #[case("", "")]
    fn an_answer_matches_by_its_first_bytes(#[case] hex: &str, #[case] expected: &str) {
        assert_eq!(super::pattern(&super::bytes(hex).unwrap()), expected);
    }

    #[test]
    fn each_first_digit_is_possible() {
        let pattern = super::pattern(&super::bytes("x1").unwrap());
        assert!(pattern.starts_with("(?s-u)\\A[\\x01\\x11") && pattern.ends_with("\\xf1]"), "{pattern}");
    }

    #[test]
    fn bytes_have_two_digits() {
        assert_eq!((super::bytes("0a1"), super::bytes("zz")), (None, None));
    }
}
