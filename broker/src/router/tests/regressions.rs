//! Cases that once went wrong, kept.
