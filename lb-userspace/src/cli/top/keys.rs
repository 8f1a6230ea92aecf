// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keys do.
#![forbid(unsafe_code)]

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::view::{Page, View};

/// Number of rows of a step by Page Up and Page Down.
const PAGE: isize = 10;

/// Carries out a key. Returns whether it ends the program.
pub(super) fn press(view: &mut View, key: KeyEvent) -> bool {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd'));
    }
    if view.is_typing {
        type_filter(view, key.code);
        return false;
    }
    if view.has_help {
        view.has_help = false;
        return key.code == KeyCode::Char('q');
    }
    match key.code {
        KeyCode::Char('q') => return true,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => view.has_help = true,
        KeyCode::Char('/') => view.is_typing = true,
        KeyCode::Char('s') => {
            view.sort = view.sort.next();
            view.is_reversed = false;
        }
        KeyCode::Char('r') => view.is_reversed = !view.is_reversed,
        KeyCode::Char('p' | ' ') => view.is_paused = !view.is_paused,
        KeyCode::Char('e') => view.units.exact = !view.units.exact,
        KeyCode::Char('d') => toggle(view, Page::Reasons),
        KeyCode::Char('f') => toggle(view, Page::Findings),
        KeyCode::Up | KeyCode::Char('k') => view.step(-1),
        KeyCode::Down | KeyCode::Char('j') => view.step(1),
        KeyCode::PageUp => view.step(-PAGE),
        KeyCode::PageDown => view.step(PAGE),
        KeyCode::Home | KeyCode::Char('g') => view.selected = 0,
        KeyCode::End | KeyCode::Char('G') => view.step(isize::MAX),
        KeyCode::Enter | KeyCode::Right if view.page == Page::Services => {
            if let Some(id) = view.services().get(view.selected).map(|service| service.service) {
                view.show(Page::Reals(id));
            }
        }
        KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => back(view),
        _ => {}
    }
    false
}

/// Shows a page, or the one before if it is shown already.
fn toggle(view: &mut View, page: Page) {
    if view.page == page {
        let below = view.below;
        view.show(below);
        return;
    }
    if matches!(view.page, Page::Services | Page::Reals(_)) {
        view.below = view.page;
    }
    view.show(page);
}

/// Goes back: from a page to the one above, and from there to all rows.
fn back(view: &mut View) {
    match view.page {
        Page::Services => view.filter.clear(),
        Page::Reals(id) => {
            view.show(Page::Services);
            view.selected = view.services().iter().position(|one| one.service == id).unwrap_or(0);
        }
        Page::Reasons | Page::Findings => {
            let below = view.below;
            view.show(below);
        }
    }
}

fn type_filter(view: &mut View, code: KeyCode) {
    match code {
        KeyCode::Enter => view.is_typing = false,
        KeyCode::Esc => {
            view.is_typing = false;
            view.filter.clear();
        }
        KeyCode::Backspace => drop(view.filter.pop()),
        KeyCode::Char(letter) => view.filter.push(letter),
        _ => {}
    }
    view.stay_inside();
}
