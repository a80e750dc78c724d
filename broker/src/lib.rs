//! EmberMQ: a durable message broker in one binary with models built in; this crate is also its embedded form.
//!
//! # In a program
//!
//! [`Broker::open`] gives a broker over a data folder, without a server: see its example. The types of the interface are
//! [`Commit`] (the only thing that changes anything), [`ReadRequest`] and [`Read`], and [`Topic`].
//!
//! # Inside
//!
//! Data goes one way: [`Broker`] -> queue -> committer -> shard (state machine, commit log) -> segments -> readers.
//! The state machine is pure; the committer is the only writer. `ARCHITECTURE.md` walks a record through all of it.
//!
//! # Features
//!
//! - `server` (default): the HTTP server, the command line and the binary.

mod alarm;
mod attempt;
mod background;
mod baton;
mod broker;
mod catalog;
#[cfg(feature = "server")]
pub mod cli;
mod clock;
mod commit;
mod committer;
#[cfg(feature = "server")]
pub mod config;
mod consume;
mod courier;
mod error;
mod frame;
mod given_up;
mod group;
#[cfg(feature = "server")]
pub mod http;
mod keys;
mod log_clock;
mod metrics;
#[cfg(feature = "server")]
pub mod models;
mod options;
mod panicked;
mod queue;
mod read;
mod read_ahead;
mod reader;
mod record;
#[cfg(feature = "server")]
mod register;
pub mod requests;
mod schedule;
mod shard;
mod stage;
mod state;
mod status;
mod steady_time;
mod topic;
#[cfg(feature = "server")]
mod webhook;
mod workers;
#[cfg(test)]
mod wrong_clocks;

pub use attempt::FailedAttempt;
pub use broker::{Admission, Broker};
pub use commit::{
    Append, Appended, Arranged, Batch, Commit, Committed, IdempotencyKey, KeyExpectation,
    Precondition, ProducerStamp, Schedule, ScheduleRef, Scheduled, TopicSeen,
};
#[cfg(feature = "server")]
pub use consume::GroupTaken;
pub use consume::filter;
pub use consume::{
    Backoff, DeadLetter, DeadLetterPage, DeadLetterQuery, GroupEdit, GroupInfo, GroupPartitionInfo,
    GroupSettings, Lease, LeaseRequest, Ordering, Redrive, Redriven, Settled, Settlement, Sought,
    Verdict,
};
pub use embermq_protocol::names::{GroupName, TopicName};
pub use embermq_storage::{Offset, Position, Timestamp};
pub use error::{CommitError, KeyConflict, OpenError, ReadError};
pub use keys::{
    AsOf, KeyCursor, KeyHistory, KeyHistoryQuery, KeyList, KeyPage, KeyQuery, KeyRecord, NoKey,
    NoKeyCursor,
};
pub use metrics::{Histogram, HistogramSample, Metrics, TopicCounters};
pub use options::Options;
pub use read::{From, Read, ReadRequest};
pub use record::{ReadRecord, Record};
pub use schedule::{ScheduleCounts, ScheduleId, ScheduleIdInvalid};
pub use shard::RecoveryReport;
pub use stage::{
    AnswerIn, Fault, Identity, OnNonfinite, Output, Processor, Stage, StageInvalid, StageMeter,
    StageSettings, StageState, StageStatus, Takeover,
};
#[cfg(feature = "server")]
pub use stage::{
    BackoffConfig, Roster, Span, StageConfig, StageError, StagePut, StageSample, StageView,
};
pub use status::Status;
pub use topic::{
    Cleanup, Durability, Partition, PartitionId, Topic, TopicEdit, TopicId, TopicSettings,
};
#[cfg(feature = "server")]
pub use webhook::{
    AddressForbidden, Outcome, PrivateNetworks, Secret, SecretInvalid, TargetInvalid,
    WebhookConfig, WebhookCounters, WebhookError, WebhookOptions, WebhookPut, WebhookState,
    WebhookStatus, WebhookTest, WebhookView, Webhooks,
};
