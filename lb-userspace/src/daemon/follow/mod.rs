// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xvs run --follow-ipvs`: the services are those of the kernel's IPVS on this host, which other programs change.
//!
//! The kernel has no events about its rules, so that [`task`] reads them several times a second. A difference becomes
//! one change of the director. Packets of connections that xvs does not know go to the stack, where IPVS forwards them.
#![forbid(unsafe_code)]

mod change; //      changes of the director's services
mod connections; // reading of the kernel's connections within a time
mod end; //         the end of following
mod hand_over; //   flows, handed to the kernel
mod read; //        reading of IPVS
mod task; //        the periodic read

pub(super) use end::hand_back_pinned;
pub use read::{Read, Source, import};
pub use task::start;

use crate::api::follow::FollowView;
use lb_control::ipvs::{Followed, Left, Settling};
use lb_model::failure::Failure;

use super::Director;

/// State of following: the rules of IPVS that are not the director's services, and the last problem.
#[derive(Default)]
pub(super) struct Following {
    is_on: bool,
    /// Services that stay with the kernel.
    left: Vec<Left>,
    /// Services that have vanished a moment ago.
    settling: Settling,
    /// Reason why the services may not be those of the kernel.
    problem: Option<String>,
    /// Number of changes since the start.
    changes: u64,
}

impl Following {
    /// Returns the state of following, if the director follows IPVS.
    pub(super) fn view(&self) -> Option<FollowView> {
        self.is_on.then(|| FollowView {
            left: self.left.clone(),
            changes: self.changes,
            problem: self.problem.clone(),
        })
    }
}

impl Director {
    /// Begins to follow IPVS, whose rules are `followed`.
    pub(crate) fn begin_to_follow(&mut self, followed: &Followed) {
        self.follow = Following { is_on: true, left: followed.left.clone(), ..Following::default() };
        log_left(&followed.left);
    }

    /// Returns whether the services are those of IPVS.
    pub(crate) const fn follows(&self) -> bool {
        self.follow.is_on
    }

    /// Refuses changes of services by others while the director follows IPVS.
    ///
    /// # Errors
    /// If it does; the failure is wrong input.
    pub(crate) fn may_be_changed(&self) -> Result<(), Failure> {
        if !self.follow.is_on {
            return Ok(());
        }
        Err(Failure::wrong_input(
            "the services are those of the kernel's IPVS, which this daemon follows: nothing was changed",
        )
        .hint(
            "change them where they come from, such as keepalived or `ipvsadm`; or start the daemon without \
             --follow-ipvs",
        ))
    }
}

fn log_left(left: &[Left]) {
    for Left { service, reason } in left.iter().take(super::director::LINES) {
        tracing::info!("{service} stays with the kernel: {reason}");
    }
    if let more @ 1.. = left.len().saturating_sub(super::director::LINES) {
        tracing::info!("and {more} more services stay with the kernel");
    }
}
