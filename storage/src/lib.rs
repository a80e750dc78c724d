//! The bytes of EmberMQ on disk.
//!
//! Offsets, positions and opaque payloads live here; what a topic, a group or a lease is does not.
//!
//! A data folder:
//!
//! ```text
//! LOCK                                                    one process per folder      lock
//! log/{first position}.log                                the commit log              commit_log
//! snapshots/{position}.snap                               states, to trim the log     snapshot
//! topics/{topic id}/{partition}/{base offset}.seg, .idx   what readers read           segments
//!                                        {base offset}.keys   where keys are, once asked  keys
//! ```
//!
//! Numbers in names have 20 digits, so that names sort like the numbers. What users chose (topic names) never
//! becomes a name on disk. Files are private to their owner (0600, folders 0700).
//!
//! Promises:
//!
//! - durable means durable: nothing is called durable before its file, and its name, are synced;
//! - every byte that matters is under a checksum bound to the file's own random epoch, so damage, and bytes of
//!   another file or of an earlier life of the same blocks, are noticed before they are handed out;
//! - a failed sync is final; a full disk is not: it is refused before anything has changed;
//! - all file access goes through [`disk`], so the same code runs on a simulated disk that loses power.

pub mod batch;
pub mod commit_log;
pub mod compaction;
pub mod disk;
pub mod entropy;
pub mod gather;
mod index;
pub mod keys;
pub mod lock;
pub mod names;
pub mod partition;
pub mod reader;
pub mod retention;
pub mod segment;
pub mod snapshot;

pub use names::{Entropy, Epoch, Offset, Position, Timestamp};
