//! What every REST request of a group has: its place in the path, what the client accepts, a body in JSON or protobuf.
//!
//! A protobuf body is the request message of the method of the same meaning; its topic and group may be left out, and what is
//! there must be what the path says.

use axum::body::Body;
use axum::http::Uri;
use axum::http::request::Parts;
use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::v1;
use prost::{Message, Name};

use super::convert::group_name;
use crate::http::body::{Taken, take_body};
use crate::http::failure::Failure;
use crate::http::media::{JSON, PROTOBUF, body_kind, negotiate};
use crate::http::query::percent_decode;
use crate::http::shared::Shared;
use crate::http::topics::{LIMIT, topic_of};

/// Where the group's name stands in a path: behind the empty part, `v1`, `topics`, the topic and `groups`.
const GROUP_PART: usize = 5;

/// The last part of a group's path as it was meant: the name, perhaps with a verb.
pub(super) fn last_part(uri: &Uri) -> String {
    let part = uri.path().split('/').nth(GROUP_PART).unwrap_or_default();
    String::from_utf8_lossy(&percent_decode(part)).into_owned()
}

/// The topic and the group of a path.
pub(in crate::http) fn place_of(uri: &Uri) -> Result<(TopicName, GroupName), Failure> {
    Ok((topic_of(uri)?, group_name(&last_part(uri))?))
}

/// A message that names a group.
pub(super) trait OfGroup: Message + Name + Default {
    /// Its topic and its group.
    fn place(&mut self) -> [&mut String; 2];
}

macro_rules! of_group {
    ($($message:ident)*) => { $(
        impl OfGroup for v1::$message {
            fn place(&mut self) -> [&mut String; 2] {
                [&mut self.topic, &mut self.group]
            }
        }
    )* };
}

of_group!(CreateGroupRequest UpdateGroupRequest LeaseRequest SettleRequest SeekRequest RedriveRequest);

/// A request that was read.
#[derive(Debug)]
pub(super) struct Asked {
    topic: TopicName,
    group: GroupName,
    /// What the client wants the answer in.
    pub(super) accepted: &'static str,
    /// What the body is in.
    pub(super) kind: &'static str,
    /// The body.
    pub(super) taken: Taken,
}

impl Asked {
    /// Reads the body of a request about a group.
    pub(super) async fn open(
        shared: &Shared,
        parts: &Parts,
        body: Body,
        group: &str,
    ) -> Result<Self, Failure> {
        let accepted = negotiate(&parts.headers, &[JSON, PROTOBUF])?;
        let (topic, group) = (topic_of(&parts.uri)?, group_name(group)?);
        let kind = body_kind(&parts.headers)?;
        let taken = take_body(shared, &parts.headers, body, LIMIT).await?;
        Ok(Self { topic, group, accepted, kind, taken })
    }

    /// The message that was sent, in protobuf or in the JSON of people.
    pub(super) fn message<M: OfGroup>(
        &self,
        read_json: impl FnOnce(&[u8]) -> Result<M, Failure>,
    ) -> Result<M, Failure> {
        let mut message = if self.kind == PROTOBUF {
            M::decode(self.taken.bytes.clone()).map_err(|error| {
                Failure::malformed(format!("the body is no {}: {error}", M::full_name()))
            })?
        } else {
            read_json(&self.taken.bytes)?
        };
        for (field, name) in
            message.place().into_iter().zip([self.topic.as_str(), self.group.as_str()])
        {
            if !field.is_empty() && field != name {
                let detail =
                    format!("the path says {name:?} and the message {field:?}; leave it out there");
                return Err(Failure::invalid(detail));
            }
            name.clone_into(field);
        }
        Ok(message)
    }
}
