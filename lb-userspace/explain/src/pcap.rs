// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame of a capture, as `tcpdump -w` writes it (draft-ietf-opsawg-pcap).

use lb_model::failure::Failure;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET: u32 = 1;

/// Returns the packet with that number, from 1, in the content of a file, and the total number.
///
/// # Errors
/// Wrong input if it is not a pcap file, lacks the packet, or the packet is truncated. `name` is that of the
/// file.
pub fn packet<'a>(file: &'a [u8], number: usize, name: &str) -> Result<(&'a [u8], usize), Failure> {
    let wrong = |why: String| Failure::wrong_input(format!("{name}: {why}"));
    let word = |at: usize, big: bool| {
        let bytes: [u8; 4] = file.get(at..at + 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let big = match word(0, false) {
        // The magic numbers for timestamps in microseconds and in nanoseconds.
        Some(0xa1b2_c3d4 | 0xa1b2_3c4d) => false,
        Some(0xd4c3_b2a1 | 0x4d3c_b2a1) => true,
        Some(0x0a0d_0d0a) => {
            return Err(
                wrong("this is pcapng".to_owned()).hint("`editcap -F pcap FILE NEW` makes it a pcap file")
            );
        }
        _ => return Err(wrong("this is no pcap file".to_owned()).hint("`tcpdump -w FILE` writes one")),
    };
    match word(20, big).map(|link| link & 0xffff) {
        Some(ETHERNET) => {}
        Some(link) => {
            return Err(wrong(format!("its packets are no Ethernet frames (link type {link})"))
                .hint("capture on the interface itself, not on `any`"));
        }
        None => return Err(wrong("it ends in its header".to_owned())),
    }
    let (mut at, mut seen, mut found) = (FILE_HEADER, 0, None);
    while let (Some(kept), Some(length)) = (word(at + 8, big), word(at + 12, big)) {
        let start = at + RECORD_HEADER;
        let Some(frame) = start.checked_add(kept as usize).and_then(|end| file.get(start..end)) else {
            break;
        };
        seen += 1;
        if seen == number {
            if kept < length {
                return Err(wrong(format!(
                    "packet {number} was cut off: {kept} of {length} bytes are there"
                ))
                .hint("`tcpdump -s 0` captures whole packets"));
            }
            found = Some(frame);
        }
        at = start + frame.len();
    }
    match found {
        Some(frame) => Ok((frame, seen)),
        None => Err(wrong(format!("there is no packet {number}, but {seen} in all"))
            .hint("packets are counted from 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(words: impl Fn(u32) -> [u8; 4], link: u32, frames: &[(&[u8], u32)]) -> Vec<u8> {
        let mut file: Vec<u8> = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link].map(&words).concat();
        for (frame, length) in frames {
            file.extend([0, 0, frame.len() as u32, *length].map(&words).concat());
            file.extend(*frame);
        }
        file
    }

    #[test]
    fn packets_are_found_in_either_byte_order() {
        for words in [u32::to_le_bytes, u32::to_be_bytes] {
            let file = file(words, 1, &[(b"one", 3), (b"second", 6)]);
            assert_eq!(packet(&file, 1, "a").unwrap(), (&b"one"[..], 2));
            assert_eq!(packet(&file, 2, "a").unwrap(), (&b"second"[..], 2));
            let cut = [&file[..], &[0; 15]].concat();
            assert_eq!(packet(&cut, 1, "a").unwrap(), (&b"one"[..], 2));
            let message = packet(&file, 3, "a").unwrap_err().message;
            assert_eq!(message, "a: there is no packet 3, but 2 in all");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let why = |file: &[u8]| packet(file, 1, "a").unwrap_err().message;
        assert_eq!(why(b"GIF89a"), "a: this is no pcap file");
        assert_eq!(why(b""), "a: this is no pcap file");
        assert_eq!(why(&[0x0a, 0x0d, 0x0d, 0x0a]), "a: this is pcapng");
        let le = u32::to_le_bytes;
        assert!(why(&file(le, 113, &[])).contains("link type 113"));
        assert!(why(&file(le, 1, &[(b"one", 9)])).contains("3 of 9 bytes"));
        let whole = file(le, 1, &[(b"one", 3)]);
        for end in 0..whole.len() {
            assert!(packet(&whole[..end], 1, "a").is_err());
        }
    }
}
