// SPDX-License-Identifier: MIT OR Apache-2.0
//! `~SEQ(NAME, …) text`, `~SEQx` and `~LST(NAMES, VALUES) text`: a text that is repeated for each value.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::definitions::Definitions;

/// Maximum number of values of a sequence.
const MOST: u64 = 65_536;

/// A sequence that is being expanded.
#[derive(Debug)]
pub struct Sequence {
    names: Vec<String>,
    values: VecDeque<Vec<String>>,
    text: String,
}

impl Sequence {
    /// Parses a sequence.
    ///
    /// # Errors
    /// If the text is invalid; the message has the reason.
    pub fn read(text: &str, definitions: &mut Definitions) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("~LST") {
            return list(rest);
        }
        let rest = text.strip_prefix("~SEQ").unwrap_or(text);
        let (hex, rest) = match rest.strip_prefix('x') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        count(hex, rest, definitions)
    }

    /// Returns the text that is repeated for each value.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Sets the variables to the next value. Returns whether another value follows.
    pub fn step(&mut self, definitions: &mut Definitions) -> bool {
        if let Some(values) = self.values.pop_front() {
            for (name, value) in self.names.iter().zip(values) {
                definitions.set(name, value);
            }
        }
        !self.values.is_empty()
    }
}

/// Parses `(NAME, LAST)`, `(NAME, FIRST, LAST)` or `(NAME, FIRST, STEP, LAST)`.
fn count(hex: bool, rest: &str, definitions: &Definitions) -> Result<Sequence, String> {
    let wrong = || "it is no sequence: ~SEQ(NAME, FIRST, LAST) is one".to_owned();
    let inner = rest.trim_start().strip_prefix('(').ok_or_else(wrong)?;
    let (inner, text) = inner.split_once(')').ok_or_else(wrong)?;
    let (name, numbers) = inner.split_once(',').ok_or_else(wrong)?;
    let numbers = match definitions.replace(numbers)? {
        Some(replaced) if !replaced.begun.is_empty() => return Err(wrong()),
        Some(replaced) => replaced.text,
        None => numbers.to_owned(),
    };
    let numbers: Option<Vec<i64>> = numbers.split(',').map(|word| number(word.trim())).collect();
    let (first, step, last) = match numbers.ok_or_else(wrong)?[..] {
        [last] => (if last < 0 { -1 } else { 1 }, if last < 1 { -1 } else { 1 }, last),
        [first, last] => (first, if first <= last { 1 } else { -1 }, last),
        [first, step, last] if step != 0 && (first >= last || step > 0) && (first <= last || step < 0) => {
            (first, step, last)
        }
        _ => return Err(wrong()),
    };
    if hex && (first < 0 || last < 0) {
        return Err("~SEQx is for positive numbers".to_owned());
    }
    if first.abs_diff(last) / step.unsigned_abs() >= MOST {
        return Err(format!("its values are more than {MOST}"));
    }
    let mut values = VecDeque::new();
    let mut next = first;
    // The first value is used even if it lies behind the last one.
    loop {
        values.push_back(vec![if hex { format!("{next:x}") } else { next.to_string() }]);
        next += step;
        if (step > 0 && next > last) || (step < 0 && next < last) {
            break;
        }
    }
    let name = name.trim().to_owned();
    Ok(Sequence { names: vec![name], values, text: text.trim_start().to_owned() })
}

/// Parses `(NAME, VALUE, …)` or `({NAME, …}, {VALUE, …}, …)`.
fn list(rest: &str) -> Result<Sequence, String> {
    let wrong =
        || "it is no list: ~LST(NAME, VALUE, VALUE) and ~LST({NAME, NAME}, {VALUE, VALUE}) are".to_owned();
    let mut rest = rest.trim_start().strip_prefix('(').ok_or_else(wrong)?;
    let mut sets = Vec::new();
    let text = loop {
        let set;
        (set, rest) = next_set(rest).ok_or_else(wrong)?;
        sets.push(set);
        rest = rest.trim_start();
        if let Some(text) = rest.strip_prefix(')') {
            break text;
        }
        rest = rest.strip_prefix(',').ok_or_else(wrong)?;
    };
    let mut sets = sets.into_iter();
    let names = sets.next().ok_or_else(wrong)?;
    let mut values: VecDeque<Vec<String>> = sets.collect();
    if values.is_empty() || values.iter().any(|set| set.len() > names.len()) {
        return Err(wrong());
    }
    for set in &mut values {
        set.resize(names.len(), String::new());
    }
    Ok(Sequence { names, values, text: text.trim_start().to_owned() })
}

/// Parses one word, or several in braces, and returns the rest.
fn next_set(text: &str) -> Option<(Vec<String>, &str)> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        let (inner, rest) = inner.split_once('}')?;
        return Some((inner.split(',').map(|word| word.trim().to_owned()).collect(), rest));
    }
    let end = text.find([' ', '\t', ',', ')', '}'])?;
    Some((vec![text[..end].to_owned()], &text[end..]))
}

/// Parses a number as `strtol` does with base 0.
fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = if let Some(digits) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i64::from_str_radix(digits, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(&digits[1..], 8)
    } else {
        digits.parse()
    };
    let value = value.ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(if negative { -value } else { value })
}
