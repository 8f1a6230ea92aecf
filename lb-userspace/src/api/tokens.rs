// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens of people and programs: a file with one `NAME ROLE SECRET` per line, which only its owner can read.
#![forbid(unsafe_code)]

use std::{fmt, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::access::Role;
use lb_model::failure::Failure;

/// Minimum number of characters of a secret: shorter ones can be guessed.
const SHORTEST: usize = 16;
/// Maximum number of tokens: each request is compared with all of them.
const MOST: usize = 1000;
/// Text that is signed to compare secrets.
const COMPARED: &[u8] = b"xvs token, version 1";

/// Tokens of one file. Messages never contain a secret.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    name: Arc<str>,
    role: Role,
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| (&entry.name, entry.role))).finish()
    }
}

impl Tokens {
    /// Reads the tokens from a file.
    ///
    /// # Errors
    /// If the file cannot be read, others may read it, or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed =
            |why: &dyn fmt::Display| Failure::failed(format!("cannot use the tokens of {shown}: {why}"));
        let make = format!(
            "make a token: `(umask 077; echo \"NAME write $(openssl rand -hex 32)\" >> {shown})`; the roles are \
             read, agent and write"
        );
        let mode = fs::metadata(path).map_err(|error| failed(&error).hint(&*make))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(
                failed(&"others than its owner can read or change it").hint(format!("`chmod 600 {shown}`"))
            );
        }
        let text = fs::read_to_string(path).map_err(|error| failed(&error).hint(&*make))?;
        Self::parse(&text).map_err(|why| failed(&why).hint(make))
    }

    /// Parses the lines of a file. Empty lines, and those that begin with `#`, are ignored.
    fn parse(text: &str) -> Result<Self, String> {
        let mut entries: Vec<Entry> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, role, secret) = match words[..] {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [name, role, secret] => (name, role, secret),
                _ => return Err(format!("line {number} is not NAME ROLE SECRET")),
            };
            let role = Role::named(role)
                .ok_or_else(|| format!("line {number} has the role '{role}', not read, agent or write"))?;
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c)) {
                return Err(format!("line {number}: a name has letters, digits and -_.@ only"));
            }
            if secret.len() < SHORTEST || !secret.chars().all(|c| c.is_ascii_graphic()) {
                let why = format!("line {number}: the secret of {name} needs at least {SHORTEST} printable");
                return Err(format!("{why} characters"));
            }
            if entries.iter().any(|entry| *entry.name == *name) {
                return Err(format!("line {number}: {name} has a token already"));
            }
            entries.push(Entry { name: name.into(), role, mac: signed(secret.as_bytes()) });
        }
        if entries.len() > MOST {
            return Err(format!("it has {} tokens, and {MOST} are allowed", entries.len()));
        }
        Ok(Self(entries))
    }

    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns name and role of the token with that secret. The time depends neither on the secret nor on the
    /// token that it belongs to.
    #[must_use]
    pub fn find(&self, secret: &[u8]) -> Option<(Arc<str>, Role)> {
        let shown = signed(secret).finalize().into_bytes();
        let mut found = None;
        for entry in &self.0 {
            // The comparison takes constant time.
            if entry.mac.clone().verify_slice(&shown).is_ok() {
                found = Some((Arc::clone(&entry.name), entry.role));
            }
        }
        found
    }
}

/// Returns the code of a text that is signed with a secret: two secrets are compared by their codes.
fn signed(secret: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("any length will do"));
    mac.update(COMPARED);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# people\nalice write 0123456789abcdef\n\n  graphs\tread  fedcba9876543210\n";

    #[test]
    fn each_token_has_a_name_and_a_role() {
        let tokens = Tokens::parse(FILE).unwrap();
        assert_eq!(tokens.find(b"0123456789abcdef"), Some(("alice".into(), Role::Write)));
        assert_eq!(tokens.find(b"fedcba9876543210"), Some(("graphs".into(), Role::Read)));
        for wrong in ["", "0123456789abcde", "0123456789abcdef ", "0123456789ABCDEF"] {
            assert_eq!(tokens.find(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains("0123"));
        assert!(Tokens::parse("").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_line_is_named_without_its_secret() {
        for (line, why) in [
            ("alice write", "not NAME ROLE SECRET"),
            ("alice root 0123456789abcdef", "the role 'root'"),
            ("alice write 0123456789abcde", "at least 16"),
            ("al/ice write 0123456789abcdef", "letters, digits"),
            ("bob read 0123456789abcdef\nbob read 0123456789abcdeF", "has a token already"),
        ] {
            let refused = Tokens::parse(&format!("\n{line}")).unwrap_err();
            assert!(refused.contains(why) && refused.contains("line "), "{refused}");
            assert!(!refused.contains("0123456789"), "{refused}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        assert!(Tokens::read(&path).unwrap_err().hint.unwrap().contains("openssl rand"));
        fs::write(&path, FILE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Tokens::read(&path).unwrap_err().hint.unwrap().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Tokens::read(&path).unwrap().len(), 2);
    }
}
