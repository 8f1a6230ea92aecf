// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exchange of xvs with the kernel, in network namespaces of its own. Needs root; no test skips.
#![expect(clippy::unwrap_used, reason = "what a helper of a test cannot do is a failure of the test")]

mod host; //       xvs host on real servers
mod host_plan; //  dry runs of xvs host
mod lab; //        namespaces and cables between them
mod neighbours; // next hops of reals
mod tunnel; //     xvs host and tunnelled packets
mod vips; //       VIPs on the director
