// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared secret of director and agents: one line in a file that only its owner can read.
#![forbid(unsafe_code)]

use std::{fmt, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use lb_model::failure::Failure;

/// Minimum number of characters: shorter tokens can be guessed.
const SHORTEST: usize = 16;

/// A token. Messages never contain its text.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Reads the token from a file of the director; surrounding white space is ignored.
    ///
    /// # Errors
    /// If the file cannot be read, others may read it, or its content is not a token.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let make =
            format!("make one: `{}(umask 077; openssl rand -hex 32 > {})`", folder(path), path.display());
        Self::read_or(path, &make)
    }

    /// Reads the token from a file of a real server, which must hold the director's token.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_copy(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let copy = format!(
            "copy the file that the director's `xvs run --api-token-file` names, any other token is refused: \
             `{}scp root@DIRECTOR:/etc/xvs/token {shown} && chmod 600 {shown}`",
            folder(path)
        );
        Self::read_or(path, &copy)
    }

    /// Reads the token from a file; `get` is the hint if there is none.
    fn read_or(path: &Path, get: &str) -> Result<Self, Failure> {
        let shown = path.display();
        let failed =
            |why: &dyn fmt::Display| Failure::failed(format!("cannot use the token file {shown}: {why}"));
        let mode = fs::metadata(path).map_err(|error| failed(&error).hint(get))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(
                failed(&"others than its owner can read or change it").hint(format!("`chmod 600 {shown}`"))
            );
        }
        let text = fs::read_to_string(path).map_err(|error| failed(&error).hint(get))?;
        let token = text.trim();
        if token.len() < SHORTEST || !token.chars().all(|c| c.is_ascii_graphic()) {
            let why = format!("it must hold one word of at least {SHORTEST} printable characters");
            return Err(failed(&why).hint(get));
        }
        Ok(Self(token.into()))
    }

    /// Returns the secret.
    pub(super) fn secret(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Returns the command that creates the folder of a file, if it does not exist.
fn folder(path: &Path) -> String {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => {
            format!("install -d -m 755 {} && ", folder.display())
        }
        _ => String::new(),
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
    fn a_director_makes_a_token_and_a_real_copies_it() {
        let dir = tempfile::tempdir().unwrap();
        let hint = |failure: Failure| failure.hint.unwrap();
        let path = dir.path().join("token");
        assert!(hint(Token::read(&path).unwrap_err()).starts_with("make one: `(umask 077; openssl rand"));
        let copy = hint(Token::read_copy(&path).unwrap_err());
        assert!(copy.starts_with("copy the file that the director's") && copy.contains("`scp "), "{copy}");
        assert!(!copy.contains("openssl"), "{copy}");
        let path = dir.path().join("xvs/token");
        let folder = format!("`install -d -m 755 {} && ", dir.path().join("xvs").display());
        for failure in [Token::read(&path).unwrap_err(), Token::read_copy(&path).unwrap_err()] {
            assert!(failure.to_string().contains(&folder), "{failure}");
        }
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused() {
        assert!(file("0123456789abcdef", 0o640).unwrap_err().hint.unwrap().contains("chmod 600"));
        assert!(file("short", 0o600).is_err() && file("", 0o600).is_err());
        assert!(file("0123456789abcde", 0o600).unwrap_err().message.contains("at least 16"));
        assert!(file("two words that are long", 0o600).is_err());
    }
}
