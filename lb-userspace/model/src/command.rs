// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines that an operator can copy into a shell.

/// Joins words into a command line, and quotes those that a shell would change.
#[must_use]
pub fn line(words: &[&str]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// Returns the command that writes a file.
#[must_use]
pub fn write(path: &str, text: &str) -> String {
    format!("cat > {} <<'EOF'\n{text}EOF", quoted(path))
}

/// Quotes a word for a POSIX shell, if necessary.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_each_word_as_it_is() {
        let words = ["printf", "%s\\n", "net.ipv4.conf.eth0/10.arp_ignore=1", "it's", "a b", "", "$HOME"];
        let output = std::process::Command::new("sh").args(["-c", &line(&words)]).output().unwrap();
        let expected = format!("{}\n", words[2..].join("\n"));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    #[test]
    fn a_file_gets_its_text_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a file");
        let text = "ExecStart=/bin/sh -c \"echo $$HOME `id` \\\\ 100%%\"\n";
        let command = write(path.to_str().unwrap(), text);
        assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
