// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs top`: rates and states of services and reals, live.
#![forbid(unsafe_code)]

mod columns; // columns that fit
mod draw; //   the screen
mod feed; //   the stream of live data
mod keys; //   what keys do
mod plain; //  the same as text
mod rows; //   rows: filter and order
mod screen; // the terminal: set up, and restored in any case
#[cfg(test)]
mod tests;
mod view; //   what is shown, and how

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    filter::Filter,
    ui::{Output, Ui},
    units::Units,
};
use crate::api::client::Api;
use feed::{Feed, News};
use lb_model::failure::Failure;
use rows::Sort;
use screen::{Input, Screen};
use view::View;

/// Show rates and states of services and reals, live
///
/// Keys: arrows select, Enter shows the reals of a service, Esc goes back, `/` filters, `s` sorts, `r` reverses,
/// `d` shows reasons, `p` pauses, `?` helps, `q` ends. If stdout is no terminal, each moment is printed as text.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  xvs top\n  xvs top --once --filter down\n  xvs top --once --json | jq .services"
)]
pub struct TopArgs {
    /// Print one moment, with rates over half a second, and end
    #[arg(long)]
    once: bool,
    /// Only rows that contain each of these words, and none of those with a leading `!`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Order of the rows
    #[arg(long, value_name = "COLUMN", default_value = "name")]
    sort: Sort,
    /// Print every digit of numbers instead of units such as k, M and GiB
    #[arg(long)]
    exact: bool,
}

/// Executes the command.
///
/// # Errors
/// If the daemon cannot be reached at the start, or the terminal cannot be used.
pub async fn run(args: &TopArgs, api: &Api, ui: &mut Ui) -> Result<(), Failure> {
    let mut feed = Feed::open(api).await?;
    let units = Units { exact: args.exact };
    if args.once {
        let live = feed.moment().await?;
        return ui.show_with(&live, |live, ui| plain::page(live, &filter(args), args.sort, units, ui));
    }
    if !io::stdout().is_terminal() || ui.output() == Output::Json {
        return print(args, units, feed, ui).await;
    }
    let mut view = View::new(args.filter.clone(), args.sort, units, ui.has_colours());
    interact(&mut view, feed).await
}

fn filter(args: &TopArgs) -> Filter {
    let Ok(filter) = args.filter.parse();
    filter
}

/// Prints each moment, until stdout is closed.
async fn print(args: &TopArgs, units: Units, mut feed: Feed<'_>, ui: &Ui) -> Result<(), Failure> {
    let filter = filter(args);
    loop {
        let moment = feed.moment().await?;
        let page = match ui.output() {
            Output::Table => format!("{}\n\n", plain::page(&moment, &filter, args.sort, units, ui)),
            Output::Json => {
                serde_json::to_string(&moment).map_err(|error| Failure::failed(error.to_string()))? + "\n"
            }
        };
        let mut stdout = io::stdout();
        match stdout.write_all(page.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::failed(format!("cannot write to stdout: {error}"))),
        }
    }
}

/// Shows the screen, until the operator or a signal ends it.
async fn interact(view: &mut View, mut feed: Feed<'_>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot use the terminal: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut screen = Screen::open().map_err(failed)?;
    loop {
        screen.draw(|frame| draw::draw(frame, view)).map_err(failed)?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            news = feed.next() => match news {
                News::Moment(live) => view.update(*live),
                News::Lost(failure) => view.lost(&failure),
            },
            input = screen.input() => match input {
                Some(Input::Key(key)) if keys::press(view, key) => return Ok(()),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}
