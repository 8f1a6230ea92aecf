// SPDX-License-Identifier: MIT OR Apache-2.0
//! The screen: a head, a list, and a line of keys.
#![forbid(unsafe_code)]

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Sparkline},
};

use super::{
    columns::{self, Column, GAP},
    rows,
    view::{Page, View},
};
use crate::api::live::{Live, Load};

/// Height from which the head has all lines.
const TALL: u16 = 16;
/// Width from which the head has a plot.
const BROAD: u16 = 110;
/// Width of the plot.
const PLOT: u16 = 40;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let area = frame.area();
    let Some(live) = view.live.clone() else {
        let text = view.lost.clone().unwrap_or_else(|| "waiting for the daemon…".to_owned());
        frame.render_widget(Paragraph::new(text), area);
        return;
    };
    let lines = if area.height >= TALL { 4 } else { 2 };
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(lines), Constraint::Min(2), Constraint::Length(1)]).areas(area);
    draw_head(frame, head, view, &live);
    match view.page {
        Page::Services | Page::Reals(_) => draw_rows(frame, body, view),
        Page::Reasons => draw_reasons(frame, body, view, &live),
        Page::Findings => draw_findings(frame, body, view),
    }
    draw_foot(frame, foot, view);
    if view.has_help {
        draw_help(frame, area);
    }
}

/// Returns the style of a word for a state.
fn state_style(view: &View, word: &str) -> Style {
    if !view.has_colours {
        return if rows::badness(word) >= 3 && word != "degraded" { bold() } else { Style::new() };
    }
    match word {
        "up" => Style::new().fg(Color::Green),
        "degraded" | "checking" | "draining" | "drained" | "weight 0" => Style::new().fg(Color::Yellow),
        "disabled" | "standby" | "no reals" => Style::new().fg(Color::Blue),
        _ => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

const fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

const fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Returns the rates of all services.
pub(super) fn total(live: &Live) -> Load {
    let mut total = Load::default();
    for service in &live.services {
        total.add_rates(&service.load);
    }
    total.active = live.services.iter().filter_map(|service| service.load.active).reduce(|a, b| a + b);
    total
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View, live: &Live) {
    let interfaces: Vec<String> =
        live.daemon.interfaces.iter().map(|one| format!("{} {}", one.name, one.mode)).collect();
    let up = lb_model::text::duration(view.age(live.daemon.start_time_seconds));
    let units = view.units;
    let flows = format!(
        "flows {}/{}",
        units.count(live.daemon.flows + live.daemon.flows6),
        units.count(u64::from(live.daemon.max_flows) + u64::from(live.daemon.max_flows6))
    );
    let first = Line::from(vec![
        Span::styled(format!("xvs {}", live.daemon.version), bold()),
        Span::raw(format!("  {}  up {up}  {flows}", interfaces.join(", "))),
    ]);
    let sum = total(live);
    let dropped: u64 =
        live.reasons.iter().filter(|reason| reason.fate == "dropped").map(|one| one.rate).sum();
    let second = format!(
        "in {} p/s {}/s  out {} p/s {}/s  new {}/s  dropped {}/s",
        units.count(sum.packets_in),
        units.bytes(sum.bytes_in),
        units.count(sum.packets_out),
        units.bytes(sum.bytes_out),
        units.count(sum.connections),
        units.count(dropped),
    );
    let third = doctor(view, live);
    let lines = if area.height >= 4 {
        vec![first, Line::raw(second), third]
    } else {
        vec![
            first,
            if live.doctor.as_ref().is_some_and(|one| one.count > 0) { third } else { Line::raw(second) },
        ]
    };
    if area.width >= BROAD && area.height >= 4 {
        let parts = [Constraint::Min(10), Constraint::Length(PLOT)];
        let [text, plot] = Layout::horizontal(parts).spacing(2).areas(area);
        frame.render_widget(Paragraph::new(lines), text);
        let newest: Vec<u64> = view.history.iter().rev().take(usize::from(PLOT)).copied().collect();
        let data: Vec<u64> = newest.into_iter().rev().collect();
        let [plot, _] = Layout::vertical([Constraint::Length(3), Constraint::Min(0)]).areas(plot);
        frame.render_widget(Sparkline::default().data(data), plot);
    } else {
        frame.render_widget(Paragraph::new(lines), area);
    }
}

/// Returns the line about the doctor and about problems.
fn doctor<'a>(view: &View, live: &Live) -> Line<'a> {
    let alarm = if view.has_colours { Style::new().fg(Color::Red) } else { bold() };
    let found = view.findings();
    if let Some(first) = found.first() {
        let all = live.daemon.problem_count.max(live.daemon.problems.len())
            + live.doctor.as_ref().map_or(0, |doctor| doctor.count);
        let more = if all > 1 { format!(" (+{})", all - 1) } else { String::new() };
        return Line::styled(format!("! {first}{more}"), alarm);
    }
    let text = match &live.doctor {
        Some(_) => "doctor: nothing is wrong",
        None => "doctor: has not run yet",
    };
    Line::styled(text, dim())
}

/// Returns text in a column: cut or padded to its width.
fn cell(text: &str, width: usize, is_number: bool) -> String {
    let length = text.chars().count();
    if length > width {
        return text.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    }
    let pad = " ".repeat(width - length);
    if is_number { format!("{pad}{text}") } else { format!("{text}{pad}") }
}

fn draw_rows(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    let [title, head, list] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1)]).areas(area);
    view.scroll(usize::from(list.height));
    let view = &*view;
    let (all, cells): (&[Column], Vec<Vec<String>>) = match view.page {
        Page::Reals(_) => {
            (&columns::REALS, view.reals().iter().map(|real| columns::real(view, real)).collect())
        }
        _ => (&columns::SERVICES, view.services().iter().map(|one| columns::service(view, one)).collect()),
    };
    let name = cells.iter().map(|row| row[1].chars().count()).max().unwrap_or(0);
    let fitted = columns::fit(all, usize::from(list.width), name);
    frame.render_widget(Paragraph::new(heading(view, cells.len())), title);
    let names = fitted.iter().map(|(column, width)| cell(all[*column].name, *width, all[*column].is_number));
    let names = names.collect::<Vec<_>>().join(&" ".repeat(GAP));
    frame.render_widget(Paragraph::new(Line::styled(names, bold().add_modifier(Modifier::UNDERLINED))), head);
    let rows = cells.iter().enumerate().skip(view.offset).take(usize::from(list.height));
    let lines = rows.map(|(number, row)| {
        let word = row[0].split_once(' ').map_or("", |(_, word)| word);
        let state = state_style(view, word);
        let spans = fitted.iter().enumerate().flat_map(|(place, (column, width))| {
            let text = cell(&row[*column], *width, all[*column].is_number);
            let style = if *column == 0 { state } else { Style::new() };
            let gap = (place > 0).then(|| Span::raw(" ".repeat(GAP)));
            gap.into_iter().chain([Span::styled(text, style)])
        });
        let line = Line::from(spans.collect::<Vec<_>>());
        if number == view.selected { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), list);
    if cells.is_empty() {
        let text = if view.filter.is_empty() { "nothing is here" } else { "nothing passes the filter" };
        frame.render_widget(Paragraph::new(Line::styled(text, dim())), list);
    }
}

/// Returns the line above a list.
fn heading(view: &View, rows: usize) -> String {
    let order = if view.is_reversed { ", reversed" } else { "" };
    let filter = if view.filter.is_empty() { String::new() } else { format!(", filter '{}'", view.filter) };
    let sort = view.sort.as_str();
    if let Some(service) = view.service() {
        let (name, scheduler, pool) = (&service.name, &service.scheduler, &service.state.pool);
        let all = service.reals.len();
        return format!("{name} ({scheduler}, pool {pool}): {rows} of {all} reals by {sort}{order}{filter}");
    }
    let all = view.live.as_ref().map_or(0, |live| live.services.len());
    format!("{rows} of {all} services by {sort}{order}{filter}")
}

fn draw_reasons(frame: &mut Frame<'_>, area: Rect, view: &mut View, live: &Live) {
    view.scroll(usize::from(area.height.saturating_sub(2)));
    let mut lines = vec![
        Line::raw("packets by reason, of all services"),
        Line::styled(
            format!(
                "{} {} {} {}",
                cell("REASON", 22, false),
                cell("FATE", 8, false),
                cell("/S", 6, true),
                cell("PACKETS", 10, true)
            ),
            bold().add_modifier(Modifier::UNDERLINED),
        ),
    ];
    lines.extend(live.reasons.iter().enumerate().skip(view.offset).map(|(number, one)| {
        let text = format!(
            "{} {} {} {}",
            cell(&one.reason, 22, false),
            cell(&one.fate, 8, false),
            cell(&view.units.count(one.rate), 6, true),
            cell(&view.units.count(one.packets), 10, true)
        );
        let style = match (number == view.selected, one.fate == "dropped" && one.rate > 0) {
            (true, _) => Style::new().add_modifier(Modifier::REVERSED),
            (false, true) if view.has_colours => Style::new().fg(Color::Red),
            (false, true) => bold(),
            (false, false) => Style::new(),
        };
        Line::styled(text, style)
    }));
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_findings(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    view.scroll(usize::from(area.height.saturating_sub(1)));
    let mut lines =
        vec![Line::styled("problems and findings of the doctor; `xvs doctor` prints the fixes", bold())];
    let found = view.findings();
    if found.is_empty() {
        lines.push(Line::raw("nothing is wrong"));
    }
    lines.extend(found.into_iter().skip(view.offset).map(Line::raw));
    frame.render_widget(Paragraph::new(lines).wrap(ratatui::widgets::Wrap { trim: false }), area);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let line = if view.is_typing {
        Line::raw(format!("/{}▏  Enter keeps the filter, Esc clears it", view.filter))
    } else if let Some(why) = &view.lost {
        let alarm = if view.has_colours { Style::new().fg(Color::Red) } else { bold() };
        Line::styled(format!("NO DATA: {why}"), alarm)
    } else if view.is_paused {
        Line::styled("PAUSED: p continues", bold())
    } else {
        let first = if view.page == Page::Services { "Enter reals" } else { "Esc back" };
        let keys = format!("? help  q quit  {first}  / filter  s sort  r reverse  d reasons  p pause");
        Line::styled(keys, dim())
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// Lines of the help.
const HELP: [&str; 14] = [
    "Up Down j k     select a row",
    "PgUp PgDn g G   ten rows, first, last",
    "Enter Right     reals of the service",
    "Esc Left        back; clear the filter",
    "/               filter: words, !words",
    "s               next order",
    "r               reverse the order",
    "d               packets by reason",
    "f               problems and findings",
    "e               exact numbers",
    "p Space         pause",
    "? h F1          this help",
    "q Ctrl-C        quit",
    "IN: from clients. OUT: back through xvs",
];

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let width = HELP.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u16 + 4;
    let [area] =
        Layout::horizontal([Constraint::Length(width)]).flex(ratatui::layout::Flex::Center).areas(area);
    let height = HELP.len() as u16 + 2;
    let [area] =
        Layout::vertical([Constraint::Length(height)]).flex(ratatui::layout::Flex::Center).areas(area);
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" keys ").title_alignment(Alignment::Center);
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
