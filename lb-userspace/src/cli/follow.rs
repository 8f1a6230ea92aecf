// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines of `xvs status` and `xvs service list` about services of the kernel's IPVS.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use crate::api::follow::FollowView;
use lb_control::ipvs::Left;
use lb_model::text::count;

/// Width of the names, with a space.
pub(super) const WIDTH: usize = 15;
/// Number of services that stay with the kernel, beyond which they are only counted.
const LINES: usize = 20;

/// Returns the lines of the status.
pub(super) fn lines(follow: Option<&FollowView>) -> String {
    let Some(follow) = follow else { return String::new() };
    let left = match follow.left.len() {
        0 => "every service".to_owned(),
        left => format!("all but {}", count(left, "service")),
    };
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        page,
        "{:<WIDTH$}{left} of the kernel's IPVS, {}",
        "follows",
        count(follow.changes as usize, "change")
    );
    page + &left_lines(&follow.left)
}

/// Returns a line for each service that stays with the kernel.
pub(super) fn left_lines(left: &[Left]) -> String {
    let mut page = String::new();
    for Left { service, reason } in left.iter().take(LINES) {
        let _ = writeln!(page, "{:<WIDTH$}{service}: {reason}", "left to IPVS");
    }
    if let more @ 1.. = left.len().saturating_sub(LINES) {
        let _ = writeln!(page, "{:<WIDTH$}and {more} more", "");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_names_what_stays_with_the_kernel() {
        assert_eq!(lines(None), "");
        let mut view = FollowView { changes: 1, ..FollowView::default() };
        assert_eq!(lines(Some(&view)), "follows        every service of the kernel's IPVS, 1 change\n");
        view.left = vec![Left { service: "fwmark 7".to_owned(), reason: "why".to_owned() }];
        assert_eq!(
            lines(Some(&view)),
            "follows        all but 1 service of the kernel's IPVS, 1 change\nleft to IPVS   fwmark 7: why\n"
        );
    }
}
