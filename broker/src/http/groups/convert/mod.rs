//! Between the messages of the contract and the broker's types. What is out of its limits is refused here, with the limits,
//! whichever way it came.

mod group;
mod lease;
mod letter;

use std::time::Duration;

use embermq_protocol::code::Code;
use embermq_protocol::names::GroupName;
use embermq_protocol::{time, v1};
use embermq_storage::{Offset, Timestamp};

pub(super) use self::group::{edit, group_message, ordering, redrive, settings, sought_message};
pub(super) use self::lease::{lease_message, lease_request, records_max, result_message};
pub(in crate::http) use self::lease::{settled_message, settlements};
pub(super) use self::letter::{dead_letter_message, dead_letter_query};
use crate::http::failure::Failure;
use crate::http::fetch::{position, timestamp};
use crate::http::span::render_duration;

/// Reads a group name.
pub(super) fn group_name(name: &str) -> Result<GroupName, Failure> {
    GroupName::new(name).map_err(|error| Failure::new(Code::InvalidGroupName, error.to_string()))
}

/// Where a new group begins, or a seek goes.
pub(super) fn place(place: Option<v1::Place>) -> Result<crate::From, Failure> {
    use v1::place::At;
    match place.and_then(|place| place.at) {
        None => Ok(crate::From::Start),
        Some(At::Offset(offset)) => Ok(crate::From::Offset(Offset(offset))),
        Some(At::Time(time)) => timestamp(time).map(crate::From::Time),
        Some(At::Position(number)) => position(number),
    }
}

/// A duration within its limits.
fn span(
    name: &str,
    duration: time::Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, Failure> {
    let good = Duration::try_from(duration).ok().filter(|good| (least..=most).contains(good));
    good.ok_or_else(|| {
        let (least, most) = (render_duration(least), render_duration(most));
        Failure::invalid(format!("{name} is {duration}, it can be {least} to {most}"))
            .with("field", name)
    })
}

fn time_message(time: Timestamp) -> Option<time::Timestamp> {
    Some(time::Timestamp::from_micros(time.0))
}
