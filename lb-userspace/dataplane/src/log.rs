// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forwarding of the programs' rare log messages to `tracing`.
#![expect(unsafe_code, reason = "registers the descriptor of the ring buffer")]

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

/// Forwards messages of the programs until the process ends. Does nothing if they were loaded without logs.
///
/// # Errors
/// If the log map cannot be opened.
pub fn forward(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let logger = EbpfLogger::init_with_logger(ebpf, Bridge)?;
    // SAFETY: the logger owns its ring buffer's file descriptor, and keeps it open as long as it lives.
    let mut logger = unsafe { AsyncFd::register(logger) }?;
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}

/// Forwards records of the `log` crate, which `aya-log` emits, to `tracing`.
struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::info!(target: "dataplane", level = %record.level(), "{}", record.args());
    }

    fn flush(&self) {}
}
