// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reader of `GET /v1/live`. After the daemon has ended, it connects again.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::time::sleep;

use crate::api::{
    client::{Api, Lines},
    live::Live,
};
use lb_model::failure::Failure;

/// Path of the stream.
const PATH: &str = "/v1/live";
/// Time between attempts to connect.
const AGAIN: Duration = Duration::from_secs(1);

/// A reader.
pub(super) struct Feed<'a> {
    api: &'a Api,
    lines: Option<Lines<'a>>,
    live: Option<Live>,
    /// Name of the event whose data comes next.
    event: String,
}

/// What a reader has to say.
pub(super) enum News {
    /// The next moment.
    Moment(Box<Live>),
    /// The daemon does not answer.
    Lost(Failure),
}

impl<'a> Feed<'a> {
    /// Opens the stream.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub(super) async fn open(api: &'a Api) -> Result<Self, Failure> {
        Ok(Self { api, lines: Some(api.stream(PATH).await?), live: None, event: String::new() })
    }

    /// Returns the next moment.
    ///
    /// # Errors
    /// If the daemon ends before.
    pub(super) async fn moment(&mut self) -> Result<Live, Failure> {
        match self.next().await {
            News::Moment(live) => Ok(*live),
            News::Lost(failure) => Err(failure),
        }
    }

    /// Returns the next news. A call that is cancelled loses nothing but a pause.
    pub(super) async fn next(&mut self) -> News {
        loop {
            let Some(lines) = &mut self.lines else {
                sleep(AGAIN).await;
                match self.api.stream(PATH).await {
                    Ok(lines) => {
                        self.lines = Some(lines);
                        continue;
                    }
                    Err(failure) => return News::Lost(failure),
                }
            };
            match lines.next().await {
                Ok(Some(line)) => {
                    if let Some(event) = line.strip_prefix("event: ") {
                        event.clone_into(&mut self.event);
                    } else if let Some(data) = line.strip_prefix("data: ")
                        && let Err(why) = self.take(data)
                    {
                        self.lines = None;
                        return News::Lost(Failure::unreachable(format!(
                            "the daemon sent an unexpected event: {why}"
                        )));
                    } else if line.is_empty()
                        && let Some(live) = &self.live
                    {
                        return News::Moment(Box::new(live.clone()));
                    }
                }
                Ok(None) => {
                    self.lines = None;
                    return News::Lost(Failure::unreachable("the daemon has ended the stream"));
                }
                Err(failure) => {
                    self.lines = None;
                    return News::Lost(failure);
                }
            }
        }
    }

    /// Takes over the data of an event.
    fn take(&mut self, data: &str) -> Result<(), String> {
        let text = |error: serde_json::Error| error.to_string();
        match (self.event.as_str(), &mut self.live) {
            ("snapshot", live) => *live = Some(serde_json::from_str(data).map_err(text)?),
            ("change", Some(live)) => {
                let follows = live.apply(serde_json::from_str(data).map_err(text)?);
                return if follows { Ok(()) } else { Err("it does not follow the one before".to_owned()) };
            }
            // An event of a newer daemon.
            _ => {}
        }
        Ok(())
    }
}
