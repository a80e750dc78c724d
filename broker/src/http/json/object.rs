//! JSON objects on their way in. What reads a structure would also take an array with its fields in order, which nobody means.

use serde::Deserialize;

/// Reads a structure from a JSON object, and from nothing else.
pub(crate) fn from_object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, String> {
    match json.trim_ascii_start().first() {
        None => Err("it is empty, a JSON object is expected".to_owned()),
        Some(b'[') => Err("it is a JSON array, an object is expected".to_owned()),
        Some(_) => serde_json::from_slice(json).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default)]
    #[derive(Default)]
    struct Pair {
        a: u8,
        b: u8,
    }

    #[test]
    fn a_structure_is_an_object_and_no_list_of_its_fields() {
        assert_eq!(from_object(b" {\"b\":2}"), Ok(Pair { a: 0, b: 2 }));
        let refused = |json: &[u8]| from_object::<Pair>(json).unwrap_err();
        assert_eq!(refused(b"\n[1,2]"), "it is a JSON array, an object is expected");
        assert_eq!(refused(b"  "), "it is empty, a JSON object is expected");
        assert!(refused(b"7").contains("invalid type"), "{}", refused(b"7"));
    }
}
