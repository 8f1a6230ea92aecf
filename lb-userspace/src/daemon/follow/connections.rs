// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading of the kernel's connections within a time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    time::Instant,
};

use lb_model::failure::Failure;

/// The connections of IPVS. Reading of all takes time that grows with the square of their number: the kernel counts from
/// the first one for each 4 KiB (`ip_vs_conn_array` in `ip_vs_conn.c`).
const CONNECTIONS: &str = "/proc/net/ip_vs_conn";

/// Reads the lines of the kernel's connections until the time `until`: `each` puts them `into` something. Returns that, and
/// whether all lines were read.
///
/// # Errors
/// If they cannot be read.
pub(super) async fn read<T: Send + 'static>(
    until: Instant,
    into: T,
    each: fn(&mut T, &str),
) -> Result<(T, bool), Failure> {
    // The thread that reads ends in time by itself: the end of the process waits for it.
    let read = move || lines(BufReader::new(File::open(CONNECTIONS)?), until, into, each);
    let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
    read.map_err(|error| Failure::failed(format!("cannot read {CONNECTIONS}: {error}")))
}

fn lines<T>(
    from: impl BufRead,
    until: Instant,
    mut into: T,
    each: fn(&mut T, &str),
) -> io::Result<(T, bool)> {
    for line in from.lines() {
        if Instant::now() >= until {
            return Ok((into, false));
        }
        each(&mut into, &line?);
    }
    Ok((into, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, time::Duration};

    /// A list without an end.
    struct Endless;

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let line = b"a line\n";
            buffer[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }

    #[test]
    fn reading_ends_in_time() {
        let count = |count: &mut u64, line: &str| *count += u64::from(line == "a line");
        let began = Instant::now();
        let until = began + Duration::from_millis(50);
        let (read, is_whole) = lines(BufReader::new(Endless), until, 0, count).unwrap();
        assert!(!is_whole && read > 0, "{read} lines");
        assert!(began.elapsed() >= Duration::from_millis(50));
        let all = lines(&b"a line\na line\n"[..], Instant::now() + Duration::from_mins(1), 0, count).unwrap();
        assert_eq!(all, (2, true));
    }
}
