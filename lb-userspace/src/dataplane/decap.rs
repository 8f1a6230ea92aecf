// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decapsulator of real servers.
