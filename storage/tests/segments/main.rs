//! Segments from the outside: what is staged can be read, whatever happens to the files in between.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod append;
mod compaction;
mod concurrent;
mod damage;
mod format;
mod harness;
mod keys;
mod recovery;
mod retention;
mod space;
mod times;
