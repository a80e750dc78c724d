//! The commit log as its users see it, on a disk that fails in every way it can.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is its way to say so"
)]

mod append;
mod crash;
mod damage;
mod failure;
mod fixture;
mod space;
