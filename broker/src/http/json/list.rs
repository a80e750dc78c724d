//! Arrays whose length is bounded while they are read, not afterwards: an element of two bytes becomes a pointer of
//! sixteen.

use std::fmt;

use embermq_protocol::limits::REQUEST_RECORDS_MAX;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The elements of an array, unread; at most as many as a request may have records.
#[derive(Debug, Default)]
pub(crate) struct BoundedList<'a> {
    pub(crate) elements: Vec<&'a RawValue>,
    /// There were more.
    pub(crate) overflow: bool,
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = BoundedList<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<BoundedList<'de>, A::Error> {
        let mut bounded = BoundedList::default();
        while let Some(element) = list.next_element::<&RawValue>()? {
            if bounded.elements.len() < REQUEST_RECORDS_MAX as usize {
                bounded.elements.push(element);
            } else {
                bounded.overflow = true;
            }
        }
        Ok(bounded)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for BoundedList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}
