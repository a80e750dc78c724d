//! Groups as people see them in JSON: names as in the proto files, numbers as numbers, durations as `30s` or `1m30s`.

mod answers;
mod bodies;
mod commit;
mod settings;
mod settlements;

pub(in crate::http) use answers::result_out;
pub(super) use answers::{lease_page, letter_page, sought_out};
pub(super) use bodies::{redrive, seek, wish};
pub(in crate::http) use commit::SettlementLists;
pub(super) use settings::{GroupOut, GroupsOut, creation, update};
pub(super) use settlements::settle;

use embermq_protocol::{time, v1};
use serde::de::DeserializeOwned;

use crate::http::failure::Failure;
use crate::http::json::{Number, from_object};

/// A place on its way in: `"earliest"`, `"latest"`, `{"offset":5}` or `{"time":"2026-11-22T10:00:00Z"}`.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlaceIn {
    #[serde(alias = "start")]
    Earliest,
    #[serde(alias = "end")]
    Latest,
    Offset(Number),
    Time(time::Timestamp),
}

impl From<PlaceIn> for v1::Place {
    fn from(place: PlaceIn) -> Self {
        use v1::place::At;
        let at = match place {
            PlaceIn::Earliest => At::Position(v1::Position::Start.into()),
            PlaceIn::Latest => At::Position(v1::Position::End.into()),
            PlaceIn::Offset(Number(offset)) => At::Offset(offset),
            PlaceIn::Time(time) => At::Time(time),
        };
        Self { at: Some(at) }
    }
}

/// Reads a body; an empty one says nothing.
fn parse<T: DeserializeOwned + Default>(body: &[u8], what: &str) -> Result<T, Failure> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    from_object(body).map_err(|error| Failure::malformed(format!("the body is no {what}: {error}")))
}
