//! What both sides of xvs agree on.
#![cfg_attr(not(test), no_std)]
