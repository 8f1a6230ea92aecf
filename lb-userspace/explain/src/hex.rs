// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as hexadecimal digits.

/// Encodes each byte as two digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .collect()
}

/// Decodes two digits per byte; `None` if the text is not of this form.
#[must_use]
pub fn decode(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        assert_eq!(encode(&[0, 0xab, 255]), "00abff");
        assert_eq!(decode("00ABff"), Some(vec![0, 0xab, 255]));
        assert_eq!(decode("abc"), None);
        assert_eq!(decode("zz"), None);
    }
}
