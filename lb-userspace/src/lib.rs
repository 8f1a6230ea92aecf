//! The library behind the `xvs` binary.
