//! The elements of a tensor from JSON: numbers, booleans or texts, in lists within lists or in one.
//!
//! They are written down as they are read, in the form that the model takes; more of them than the shape says end the reading.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::models::{Datatype, Elements};

/// Reads `count` elements of a type.
pub(super) fn read(json: &str, datatype: Datatype, count: usize) -> Result<Elements, String> {
    if !json.starts_with('[') {
        return Err("\"data\" is no array".to_owned());
    }
    let width = datatype.width();
    let mut sink = Sink {
        datatype,
        left: count,
        raw: Vec::with_capacity(width.map_or(0, |width| width * count)),
        texts: Vec::with_capacity(if width.is_some() { 0 } else { count }),
    };
    let mut reader = serde_json::Deserializer::from_str(json);
    Level(&mut sink).deserialize(&mut reader).map_err(|error| error.to_string())?;
    if sink.left > 0 {
        let found = count - sink.left;
        return Err(format!("there are {found} elements, the shape says {count}"));
    }
    Ok(match width {
        Some(_) => Elements::Raw(sink.raw.into()),
        None => Elements::Texts(sink.texts),
    })
}

struct Sink {
    datatype: Datatype,
    left: usize,
    raw: Vec<u8>,
    texts: Vec<String>,
}

impl Sink {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| E::custom("there are more elements than the shape says"))?;
        Ok(())
    }

    fn unfit<E: Error>(&self, found: impl fmt::Display) -> E {
        E::custom(format!("{found} is no {}", self.datatype))
    }

    fn put<E: Error, const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), E> {
        self.raw.extend_from_slice(&bytes);
        Ok(())
    }

    fn whole<E: Error>(&mut self, number: i128) -> Result<(), E> {
        self.count()?;
        macro_rules! put {
            ($type:ty) => {
                match <$type>::try_from(number) {
                    Ok(number) => self.put(number.to_le_bytes()),
                    Err(_) => Err(self.unfit(number)),
                }
            };
        }
        match self.datatype {
            Datatype::U8 => put!(u8),
            Datatype::U16 => put!(u16),
            Datatype::U32 => put!(u32),
            Datatype::U64 => put!(u64),
            Datatype::I8 => put!(i8),
            Datatype::I16 => put!(i16),
            Datatype::I32 => put!(i32),
            Datatype::I64 => put!(i64),
            Datatype::F32 => self.put((number as f32).to_le_bytes()),
            Datatype::F64 => self.put((number as f64).to_le_bytes()),
            Datatype::Bool => match number {
                0 => self.put([0]),
                1 => self.put([1]),
                _ => Err(self.unfit(number)),
            },
            Datatype::F16 | Datatype::Bf16 => Err(binary_only(self.datatype)),
            Datatype::Bytes => Err(self.unfit(number)),
        }
    }

    fn fraction<E: Error>(&mut self, number: f64) -> Result<(), E> {
        self.count()?;
        match self.datatype {
            Datatype::F64 => self.put(number.to_le_bytes()),
            Datatype::F32 => {
                #[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is meant")]
                let narrow = number as f32;
                if narrow.is_infinite() {
                    return Err(self.unfit(number));
                }
                self.put(narrow.to_le_bytes())
            }
            Datatype::F16 | Datatype::Bf16 => Err(binary_only(self.datatype)),
            _ => Err(self.unfit(number)),
        }
    }
}

fn binary_only<E: Error>(datatype: Datatype) -> E {
    E::custom(format!("{datatype} cannot be sent as JSON; send it in binary form"))
}

/// One value: a list of such, or an element.
struct Level<'s>(&'s mut Sink);

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements, or lists of them", self.0.datatype)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Level(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if self.0.datatype != Datatype::Bool {
            return Err(self.0.unfit(value));
        }
        self.0.whole(i128::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.whole(i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.whole(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.fraction(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.0.datatype != Datatype::Bytes {
            return Err(self.0.unfit(format!("{:?}", value.chars().take(40).collect::<String>())));
        }
        self.0.count()?;
        self.0.texts.push(value.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str, datatype: Datatype, count: usize) -> Result<Vec<u8>, String> {
        match read(json, datatype, count)? {
            Elements::Raw(bytes) => Ok(bytes.to_vec()),
            Elements::Texts(_) => Err("texts".to_owned()),
        }
    }

    #[test]
    fn elements_are_read_from_one_list_or_lists_in_lists() {
        let expected = [1.5_f32, -2.0, 3.0, 0.0].map(f32::to_le_bytes).concat();
        for json in ["[1.5,-2,3.0,0]", "[[1.5,-2],[3,0]]", "[[[1.5],[-2]],[[3]],[],[0.0]]"] {
            assert_eq!(raw(json, Datatype::F32, 4).unwrap(), expected, "{json}");
        }
        assert_eq!(raw("[true,0]", Datatype::Bool, 2).unwrap(), [1, 0]);
        assert_eq!(raw("[-1]", Datatype::I8, 1).unwrap(), [255]);
        let most = format!("[{}]", u64::MAX);
        assert_eq!(raw(&most, Datatype::U64, 1).unwrap(), [255; 8]);
        let texts = Elements::Texts(vec!["a".to_owned(), "ä".to_owned()]);
        assert_eq!(read(r#"["a","\u00e4"]"#, Datatype::Bytes, 2).unwrap(), texts);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            ("[1,2,3]", Datatype::F32, 2, "more elements than the shape says"),
            ("[1]", Datatype::F32, 2, "1 elements, the shape says 2"),
            ("[256]", Datatype::U8, 1, "256 is no UINT8"),
            ("[-1]", Datatype::U64, 1, "-1 is no UINT64"),
            ("[1.5]", Datatype::I64, 1, "1.5 is no INT64"),
            ("[2]", Datatype::Bool, 1, "2 is no BOOL"),
            ("[true]", Datatype::F32, 1, "true is no FP32"),
            ("[\"x\"]", Datatype::F32, 1, "\"x\" is no FP32"),
            ("[1]", Datatype::Bytes, 1, "1 is no BYTES"),
            ("[1e300]", Datatype::F32, 1, "is no FP32"),
            ("[1]", Datatype::F16, 1, "binary form"),
            ("[null]", Datatype::F32, 1, "null"),
            ("[{}]", Datatype::F32, 1, "map"),
            ("{}", Datatype::F32, 1, "no array"),
            ("1", Datatype::F32, 1, "no array"),
        ];
        for (json, datatype, count, expected) in cases {
            let error = read(json, datatype, count).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(&deep, Datatype::F32, 1).unwrap_err().contains("recursion"));
    }
}
