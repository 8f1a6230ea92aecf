// SPDX-License-Identifier: MIT OR Apache-2.0
//! The secret that agents of real servers show: one line in a file that only its owner can read.
#![forbid(unsafe_code)]

use std::{fmt, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use crate::failure::Failure;

/// Fewer characters than this can be guessed.
const SHORTEST: usize = 16;

/// A token. Its text is in no message.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Reads the token in a file; space around it is not part of it.
    ///
    /// # Errors
    /// If the file cannot be read, others may read it, or what is in it is no token.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed =
            |why: &dyn fmt::Display| Failure::failed(format!("cannot use the token file {shown}: {why}"));
        let make = format!("make one: `(umask 077; openssl rand -hex 32 > {shown})`");
        let mode = fs::metadata(path).map_err(|error| failed(&error).hint(&make))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(
                failed(&"others than its owner can read or change it").hint(format!("`chmod 600 {shown}`"))
            );
        }
        let text = fs::read_to_string(path).map_err(|error| failed(&error).hint(&make))?;
        let token = text.trim();
        if token.len() < SHORTEST || !token.chars().all(|c| c.is_ascii_graphic()) {
            let why = format!("it must hold one word of at least {SHORTEST} printable characters");
            return Err(failed(&why).hint(make));
        }
        Ok(Self(token.into()))
    }

    /// What only those know who have the token.
    pub(super) fn secret(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> Result<Token, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Token::read(&path)
    }

    #[test]
    fn the_token_is_one_word_and_is_not_shown() {
        let token = file(" 0123456789abcdef\n", 0o600).unwrap();
        assert_eq!(token.secret(), b"0123456789abcdef");
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused() {
        assert!(file("0123456789abcdef", 0o640).unwrap_err().hint.unwrap().contains("chmod 600"));
        assert!(file("short", 0o600).is_err() && file("", 0o600).is_err());
        assert!(file("0123456789abcde", 0o600).unwrap_err().message.contains("at least 16"));
        assert!(file("two words that are long", 0o600).is_err());
    }
}
