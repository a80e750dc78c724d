//! JSON objects on their way in. What reads a structure would also take an array with its fields in order, which nobody means.

use serde::de::{Deserialize, Deserializer, Visitor};

/// Reads a structure from a JSON object, and from nothing else.
pub(crate) fn from_object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, String> {
    match json.trim_ascii_start().first() {
        None => Err("it is empty, a JSON object is expected".to_owned()),
        Some(b'[') => Err("it is a JSON array, an object is expected".to_owned()),
        Some(_) => serde_json::from_slice(json).map_err(|error| error.to_string()),
    }
}

/// A structure within another one, read from a JSON object and from nothing else.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Named(deserializer)).map(Self)
    }
}

/// Gives a structure its fields by their names only.
struct Named<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Named<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, expecting = "a pair, which is an object")]
    struct Pair {
        a: u8,
        b: u8,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Pairs {
        all: Vec<Object<Pair>>,
        one: Option<Object<Pair>>,
    }

    #[test]
    fn a_structure_is_an_object_and_no_list_of_its_fields() {
        assert_eq!(from_object(b" {\"b\":2}"), Ok(Pair { a: 0, b: 2 }));
        let refused = |json: &[u8]| from_object::<Pair>(json).unwrap_err();
        assert_eq!(refused(b"\n[1,2]"), "it is a JSON array, an object is expected");
        assert_eq!(refused(b"  "), "it is empty, a JSON object is expected");
        assert!(refused(b"7").contains("invalid type"), "{}", refused(b"7"));
    }

    #[test]
    fn the_same_holds_within_another_structure() {
        let read = |json: &str| from_object::<Pairs>(json.as_bytes());
        let pairs = read(r#"{"all":[{"b":2},{}],"one":null}"#).unwrap();
        let all: Vec<Pair> = pairs.all.into_iter().map(|Object(pair)| pair).collect();
        assert_eq!(all, [Pair { a: 0, b: 2 }, Pair::default()]);
        assert!(pairs.one.is_none());
        for wrong in [r#"{"all":[[1,2]]}"#, r#"{"all":[],"one":[]}"#] {
            let reason = read(wrong).unwrap_err();
            let expected = "invalid type: sequence, expected a pair, which is an object";
            assert!(reason.starts_with(expected), "{reason}");
        }
    }
}
