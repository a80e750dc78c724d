//! The command line as a user meets it: the real binary, its output and its exit codes.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test ends where what it expects is not there")]

#[path = "cli/binary.rs"]
mod binary;
#[path = "cli/configuration.rs"]
mod configuration;
#[cfg(feature = "inference")]
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/end_to_end.rs"]
mod end_to_end;
#[cfg(feature = "inference")]
#[path = "cli/endless.rs"]
mod endless;
#[path = "cli/groups.rs"]
mod groups;
#[path = "cli/keys.rs"]
mod keys;
#[cfg(feature = "inference")]
#[path = "cli/model.rs"]
mod model;
#[cfg(feature = "inference")]
#[path = "cli/model_problems.rs"]
mod model_problems;
#[cfg(target_os = "linux")]
#[path = "cli/open_files.rs"]
mod open_files;
#[path = "cli/schedules.rs"]
mod schedules;
#[cfg(feature = "inference")]
#[path = "cli/stages.rs"]
mod stages;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/verify.rs"]
mod verify;
