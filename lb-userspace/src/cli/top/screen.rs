// SPDX-License-Identifier: MIT OR Apache-2.0
//! The terminal: raw mode and the alternate screen, which end with the program in any case.
#![forbid(unsafe_code)]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyEvent, KeyEventKind},
};
use tokio::sync::mpsc;

/// Interval at which the thread that waits for keys sees that it must end.
const TICK: Duration = Duration::from_millis(100);
/// Number of keys that may wait.
const AHEAD: usize = 64;

/// Input of the operator.
pub(super) enum Input {
    /// A key.
    Key(KeyEvent),
    /// Another size, or the focus.
    Other,
}

/// The terminal. Dropping it restores the terminal; so does a panic.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    input: mpsc::Receiver<Input>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Sets up the terminal.
    ///
    /// # Errors
    /// If the terminal refuses.
    pub(super) fn open() -> io::Result<Self> {
        // It also restores the terminal before a panic's message.
        let terminal = ratatui::try_init()?;
        let (sender, input) = mpsc::channel(AHEAD);
        let ends = Arc::new(AtomicBool::new(false));
        let must_end = Arc::clone(&ends);
        let thread = thread::spawn(move || read(&sender, &must_end));
        Ok(Self { terminal, input, ends, thread: Some(thread) })
    }

    /// Draws.
    ///
    /// # Errors
    /// If the terminal cannot be written.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Returns the next input; `None` if the terminal is gone.
    pub(super) async fn input(&mut self) -> Option<Input> {
        self.input.recv().await
    }
}

/// Reads keys on a thread of its own, because reading blocks.
fn read(sender: &mpsc::Sender<Input>, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        let input = match event::poll(TICK) {
            Ok(false) => continue,
            Ok(true) => match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Input::Key(key),
                Ok(_) => Input::Other,
                Err(_) => return,
            },
            Err(_) => return,
        };
        if sender.blocking_send(input).is_err() {
            return;
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // A sender that waits for room ends now.
        self.input.close();
        if let Some(thread) = self.thread.take() {
            // It can only have failed by a panic, which was printed.
            drop(thread.join());
        }
        ratatui::restore();
    }
}
