//! A record's headers as a JSON object: order kept, repeated names as arrays, bytes that are no text as base64.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use embermq_protocol::limits::{HEADER_NAME_BYTES_MAX, RECORD_HEADERS_MAX};
use embermq_protocol::v1::Header;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Headers on their way out.
pub(super) struct HeadersOut<'a>(pub(super) &'a [Header]);

struct Value<'a>(&'a [u8]);

struct Values<'a>(Vec<&'a [u8]>);

impl Serialize for HeadersOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(self.0.len());
        let mut named: Vec<(&str, Vec<&[u8]>)> = Vec::with_capacity(self.0.len());
        for header in self.0 {
            let place = *places.entry(&header.name).or_insert(named.len());
            match named.get_mut(place) {
                Some((_, values)) => values.push(&header.value),
                None => named.push((&header.name, vec![&header.value])),
            }
        }
        let mut map = serializer.serialize_map(Some(named.len()))?;
        for (name, values) in named {
            match values.as_slice() {
                [value] => map.serialize_entry(name, &Value(value))?,
                _ => map.serialize_entry(name, &Values(values))?,
            }
        }
        map.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &STANDARD.encode(self.0))?;
        map.end()
    }
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for value in &self.0 {
            list.serialize_element(&Value(value))?;
        }
        list.end()
    }
}

/// Headers on their way in.
#[derive(Default)]
pub(super) struct HeadersIn(pub(super) Vec<Header>);

/// One header's values: a string, `{"base64":..}`, or an array of those.
struct ValuesIn(Vec<Bytes>);

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = HeadersIn;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of header names and strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeadersIn, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, ValuesIn(values))) = map.next_entry::<String, ValuesIn>()? {
            if name.is_empty() || name.len() > HEADER_NAME_BYTES_MAX {
                let limit = format!("a header name has 1 to {HEADER_NAME_BYTES_MAX} bytes");
                return Err(A::Error::custom(limit));
            }
            headers.extend(values.into_iter().map(|value| Header { name: name.clone(), value }));
            if headers.len() > RECORD_HEADERS_MAX as usize {
                let limit = format!("a record has at most {RECORD_HEADERS_MAX} headers");
                return Err(A::Error::custom(limit));
            }
        }
        Ok(HeadersIn(headers))
    }
}

impl<'de> Deserialize<'de> for HeadersIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct ValuesVisitor {
    /// An array may not stand in an array.
    nested: bool,
}

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = ValuesIn;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of strings, or {\"base64\": \"...\"}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ValuesIn, E> {
        Ok(ValuesIn(vec![Bytes::copy_from_slice(text.as_bytes())]))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ValuesIn, A::Error> {
        let (Some((name, text)), None) =
            (map.next_entry::<String, String>()?, map.next_key::<String>()?)
        else {
            return Err(A::Error::custom("a header object has exactly the member \"base64\""));
        };
        if name != "base64" {
            return Err(A::Error::unknown_field(&name, &["base64"]));
        }
        let bytes = STANDARD.decode(text).map_err(A::Error::custom)?;
        Ok(ValuesIn(vec![bytes.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ValuesIn, A::Error> {
        if self.nested {
            return Err(A::Error::custom("a header's array holds strings"));
        }
        let mut values = Vec::new();
        while let Some(One(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(ValuesIn(values))
    }
}

impl<'de> Deserialize<'de> for ValuesIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor { nested: false })
    }
}

/// One value within an array.
struct One(Bytes);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ValuesIn(values) = deserializer.deserialize_any(ValuesVisitor { nested: true })?;
        let value = values.into_iter().next();
        Ok(Self(value.ok_or_else(|| D::Error::custom("a header value is missing"))?))
    }
}
