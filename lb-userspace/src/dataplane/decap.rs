// SPDX-License-Identifier: MIT OR Apache-2.0
//! The XDP decapsulator of a real server without an ipip device: attached by a pinned link, so that it outlives us.

use std::path::Path;

use crate::failure::Failure;

/// Why the decapsulator is not attached, or not detached.
#[derive(Debug, thiserror::Error)]
#[error("the XDP decapsulator on {interface}: {reason}")]
pub struct DecapError {
    /// The interface's name.
    pub interface: String,
    /// What went wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<DecapError> for Failure {
    fn from(error: DecapError) -> Self {
        let failure = Self::failed(error.to_string());
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Attaches the decapsulator to `interface` and pins its link as `<bpffs>/host/<interface>`; true if it was not there
/// before. Needs no cleaning up after an error.
pub fn attach(interface: &str, _bpffs: &Path) -> Result<bool, DecapError> {
    Err(DecapError { interface: interface.to_owned(), reason: "not built yet".to_owned(), hint: None })
}

/// Detaches the decapsulator that [`attach`] attached and removes the pin; true if it was there.
pub fn detach(_interface: &str, _bpffs: &Path) -> Result<bool, DecapError> {
    Ok(false)
}

/// Whether the pinned link is there and attached to `interface` (an interface that was made anew has lost it).
pub fn is_attached(_interface: &str, _bpffs: &Path) -> Result<bool, DecapError> {
    Ok(false)
}
