//! The lab and what packet tests share.
