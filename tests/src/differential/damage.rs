// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damage to frames in transit.

use super::random::Random;

/// The longest frame that a test run of a program takes, with some room to grow.
pub const LONGEST: usize = 3300;
/// Number of bytes in which headers are, most often.
const HEADERS: usize = 120;
/// An Ethernet header, without which the kernel runs no program.
const ETHERNET: usize = 14;
/// Bytes at the edges of what fields may hold.
const EDGES: [u8; 12] = [0, 1, 2, 0x45, 0x4f, 0x60, 6, 17, 44, 60, 0x7f, 0xff];

/// Does one to four things to a frame. `other` is a frame that parts may be taken from.
pub fn damage(random: &mut Random, frame: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(4) {
        let headers = frame.len().min(HEADERS);
        match random.below(16) {
            0..5 => {
                let at = random.below(headers);
                frame[at] ^= 1 << random.below(8);
            }
            5..8 => {
                let at = random.below(headers);
                frame[at] = random.pick(&EDGES);
            }
            8 => {
                let at = random.below(frame.len());
                frame[at] = random.number() as u8;
            }
            9 => frame.truncate(ETHERNET + random.below(frame.len() - ETHERNET + 1)),
            10 => {
                let more = random.below(80);
                frame.extend(random.bytes(more));
            }
            11..14 => length(random, frame),
            _ => {
                // A field of another frame, where such fields are.
                let at = random.below(headers);
                let end = (at + random.pick(&[1, 2, 4, 8, 20])).min(frame.len()).min(other.len());
                if at < end {
                    frame[at..end].copy_from_slice(&other[at..end]);
                }
            }
        }
        frame.truncate(LONGEST);
    }
    if frame.len() < ETHERNET {
        frame.resize(ETHERNET, 0);
    }
}

/// Writes a length that is slightly wrong, or right except for the bytes behind it.
fn length(random: &mut Random, frame: &mut [u8]) {
    let at = match frame[12..14] {
        [0x08, 0x00] => 16,
        [0x86, 0xdd] => 18,
        _ => 20,
    };
    let Some(field) = frame.get_mut(at..at + 2) else { return };
    let old = u16::from_be_bytes([field[0], field[1]]);
    let by = random.pick(&[1, 4, 8, 12, 20, 40]);
    let new = match random.below(4) {
        0 => old.wrapping_add(by),
        1 => random.below(80) as u16,
        _ => old.wrapping_sub(by),
    };
    field.copy_from_slice(&new.to_be_bytes());
}
