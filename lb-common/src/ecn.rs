// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Explicit congestion notification at the end of a tunnel (RFC 6040, section 4.2). Pure.

/// Mask of the two ECN bits in a type of service or traffic class (RFC 3168, section 5).
pub const MASK: u8 = 0b11;
/// The sender does not support ECN.
pub const NOT_ECT: u8 = 0b00;
/// The sender supports ECN.
pub const ECT_1: u8 = 0b01;
/// The sender supports ECN; the usual codepoint.
pub const ECT_0: u8 = 0b10;
/// A router on the path is congested.
pub const CE: u8 = 0b11;

/// Returns the ECN codepoint of a packet that leaves a tunnel, by those of the inner and of the outer header.
/// `None` means that the packet must be dropped: a router marked it instead of dropping it, but its sender
/// does not support ECN.
#[inline(always)]
#[must_use]
pub const fn decapsulated(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 6040, figure 4: rows by the inner header, columns by the outer one.
    #[test]
    fn the_table_of_rfc_6040() {
        let marks = [NOT_ECT, ECT_0, ECT_1, CE];
        let table = [
            [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None],
            [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)],
            [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)],
            [Some(CE), Some(CE), Some(CE), Some(CE)],
        ];
        for (inner, row) in marks.iter().zip(table) {
            for (outer, expected) in marks.iter().zip(row) {
                assert_eq!(decapsulated(*inner, *outer), expected, "{inner:02b} in {outer:02b}");
            }
        }
    }
}
