// SPDX-License-Identifier: MIT OR Apache-2.0
//! DNS messages (RFC 1035): queries of one question, and what an answer holds.
#![forbid(unsafe_code)]

use lb_model::check::DnsRecord;

/// Length of the header.
const HEADER: usize = 12;
/// Class of the Internet.
const CLASS_IN: u16 = 1;

/// Returns the number of a record type.
const fn number(record: DnsRecord) -> u16 {
    match record {
        DnsRecord::A => 1,
        DnsRecord::Ns => 2,
        DnsRecord::Cname => 5,
        DnsRecord::Soa => 6,
        DnsRecord::Ptr => 12,
        DnsRecord::Mx => 15,
        DnsRecord::Txt => 16,
        DnsRecord::Aaaa => 28,
        DnsRecord::Srv => 33,
        DnsRecord::Any => 255,
    }
}

/// Returns a query that asks for recursion. `name` consists of labels of 1 to 63 bytes, or is empty or `.` for
/// the root.
pub(super) fn query(id: u16, name: &str, record: DnsRecord) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(number(record).to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// Content of an answer.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// Response code.
    pub code: u8,
    /// The answer did not fit into a datagram.
    pub is_truncated: bool,
    /// Number of records of the queried type.
    pub records: usize,
}

/// Returns the content of the answer to a query; `None` if the message does not answer it.
pub(super) fn answer(query: &[u8], message: &[u8], record: DnsRecord) -> Option<Answer> {
    let flags = word(message, 2)?;
    let is_response = flags & 0x8000 != 0;
    if !is_response || word(message, 0)? != word(query, 0)? {
        return None;
    }
    let answer = |records| Answer { code: (flags & 15) as u8, is_truncated: flags & 0x0200 != 0, records };
    let questions = word(message, 4)?;
    if questions == 0 && flags & 15 != 0 {
        // Servers that refuse a query need not repeat it.
        return Some(answer(0));
    }
    let question = message.get(HEADER..query.len())?;
    if questions != 1 || !question.eq_ignore_ascii_case(&query[HEADER..]) {
        return None;
    }
    let mut at = query.len();
    let mut records = 0;
    for _ in 0..word(message, 6)? {
        let Some((kind, next)) = skip(message, at) else { break };
        records += usize::from(record == DnsRecord::Any || kind == number(record));
        at = next;
    }
    Some(answer(records))
}

/// Returns the type of the record at an offset, and the offset behind it.
fn skip(message: &[u8], mut at: usize) -> Option<(u16, usize)> {
    loop {
        match *message.get(at)? {
            0 => {
                at += 1;
                break;
            }
            // A pointer ends the name.
            length if length & 0xc0 == 0xc0 => {
                at += 2;
                break;
            }
            length => at += 1 + usize::from(length),
        }
    }
    let end = at + 10 + usize::from(word(message, at + 8)?);
    (end <= message.len()).then_some((word(message, at)?, end))
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]))
}

/// Returns the name of a response code.
pub(super) fn code_name(code: u8) -> String {
    match code {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        9 => "NOTAUTH".to_owned(),
        other => format!("response code {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answer to a query for `a.example`, with a CNAME and an A record behind pointers.
    fn response(query: &[u8], flags: u16) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[7] = 2;
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 3, 1, b'b', 0]);
        message.extend([1, b'b', 0, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        message
    }

    #[test]
    fn a_query_has_one_question() {
        let message = query(0x1234, "a.example.", DnsRecord::Aaaa);
        let expected =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x1c\x00\x01";
        assert_eq!(message, expected);
        assert_eq!(query(0, ".", DnsRecord::Soa)[HEADER..], [0, 0, 6, 0, 1]);
    }

    #[test]
    fn records_of_the_type_are_counted() {
        let asked = query(7, "a.example", DnsRecord::A);
        let message = response(&asked, 0x8180);
        let found = |record| answer(&asked, &message, record).unwrap().records;
        assert_eq!([DnsRecord::A, DnsRecord::Mx, DnsRecord::Any].map(found), [1, 0, 2]);
        let truncated = answer(&asked, &response(&asked, 0x8380), DnsRecord::A).unwrap();
        assert!(truncated.is_truncated);
        assert_eq!(answer(&asked, &response(&asked, 0x8183), DnsRecord::A).unwrap().code, 3);
    }

    #[test]
    fn other_messages_are_no_answer_and_damaged_ones_do_no_harm() {
        let asked = query(7, "a.example", DnsRecord::A);
        let message = response(&asked, 0x8180);
        assert_eq!(answer(&query(8, "a.example", DnsRecord::A), &message, DnsRecord::A), None);
        assert_eq!(answer(&query(7, "b.example", DnsRecord::A), &message, DnsRecord::A), None);
        assert_eq!(answer(&asked, &response(&asked, 0x0100), DnsRecord::A), None);
        for length in 0..message.len() {
            let records = answer(&asked, &message[..length], DnsRecord::A).map_or(0, |answer| answer.records);
            assert_eq!(records, 0, "{length}");
        }
    }
}
