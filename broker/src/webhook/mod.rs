//! Webhooks: records of a topic, posted to a URL.
//!
//! A webhook is a group like any other whose only member is the broker. Each record is posted once per attempt: its value as the body,
//! described as a CloudEvent in binary mode, signed as the Standard Webhooks have it. 2xx acknowledges it; whatever else
//! comes puts it off by the webhook's schedule, and behind the last attempt it is a dead letter.
//!
//! - **At least once.** The receiver is outside the broker, so the effect comes before its settlement, and a record may be posted again.
//!   Its `webhook-id` is the same then: who remembers ids has each record once.
//! - **Order** is that of the group. A record that is put off is passed by those behind it, but with `key` not by those of its key.
//! - **Bounds.** Posts under way, the time and the body of each, what is read of an answer, and how long a receiver can put us off. While nothing gets
//!   through, fewer attempts are begun (`brake`).
//! - **Where to.** Only addresses that may be called (`address`), checked where they are connected to (`dial`). No redirect is
//!   followed, no proxy is used.
//! - **Secrets** are told once, kept sealed (`vault`), and print nothing.

mod address;
mod brake;
mod dial;
mod error;
mod event;
mod kept;
mod lane;
mod outcome;
mod post;
mod roster;
mod running;
mod schedule;
mod secret;
mod settings;
mod status;
mod target;
mod trust;
mod vault;

pub use address::{AddressForbidden, PrivateNetworks};
pub use error::WebhookError;
pub use outcome::Outcome;
pub use roster::{WebhookOptions, WebhookPut, WebhookTest, WebhookView, Webhooks};
pub use secret::{Secret, SecretInvalid};
pub use settings::WebhookConfig;
pub use status::{WebhookCounters, WebhookState, WebhookStatus};
pub use target::TargetInvalid;
