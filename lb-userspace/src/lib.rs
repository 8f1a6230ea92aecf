//! The library behind the `xvs` binary.
pub mod dataplane;
