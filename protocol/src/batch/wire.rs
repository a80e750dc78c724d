//! The protobuf wire form, one field at a time, over borrowed bytes.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::FormError;

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LEN: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Varint(u64),
    Fixed64(u64),
    /// From where to where in the walked bytes.
    Len(usize, usize),
    Fixed32(u32),
}

/// One field as it stands in the walked bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) value: Value,
    /// Where its tag starts.
    pub(crate) start: usize,
    /// Behind its last byte.
    pub(crate) end: usize,
}

impl Field {
    /// An error that says that the message has no such field.
    pub(crate) const fn unknown(&self, message: &'static str) -> FormError {
        let wire_type = match self.value {
            Value::Varint(_) => VARINT,
            Value::Fixed64(_) => FIXED64,
            Value::Len(..) => LEN,
            Value::Fixed32(_) => FIXED32,
        };
        FormError::Field { message, field: self.number, wire_type, at: self.start }
    }
}

/// A walk over the fields of one message. Never looks behind `end`, never allocates, always ends.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    /// What errors call the message.
    message: &'static str,
}

impl<'a> Walk<'a> {
    /// Walks all of `bytes`.
    pub(crate) const fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len(), message }
    }

    /// Walks a message inside of `bytes`; positions stay those of `bytes`.
    pub(crate) const fn within(
        message: &'static str,
        bytes: &'a [u8],
        start: usize,
        end: usize,
    ) -> Self {
        Self { bytes, at: start, end, message }
    }

    /// The next field, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Field>, FormError> {
        if self.at == self.end {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint(start)?;
        let wire_type = (tag & 7) as u8;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(FormError::Varint { message: self.message, at: start })?;
        let value = match wire_type {
            VARINT => Value::Varint(self.varint(start)?),
            FIXED64 => Value::Fixed64(u64::from_le_bytes(self.array(start)?)),
            FIXED32 => Value::Fixed32(u32::from_le_bytes(self.array(start)?)),
            LEN => {
                let length = self.varint(start)?;
                let from = self.at;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.skip(length, start)?;
                Value::Len(from, self.at)
            }
            _ => {
                return Err(FormError::Field {
                    message: self.message,
                    field: number,
                    wire_type,
                    at: start,
                });
            }
        };
        Ok(Some(Field { number, value, start, end: self.at }))
    }

    fn skip(&mut self, length: usize, field: usize) -> Result<(), FormError> {
        if length > self.end - self.at {
            return Err(FormError::Truncated { message: self.message, at: field });
        }
        self.at += length;
        Ok(())
    }

    fn array<const N: usize>(&mut self, field: usize) -> Result<[u8; N], FormError> {
        let from = self.at;
        self.skip(N, field)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[from..self.at]);
        Ok(array)
    }

    fn varint(&mut self, field: usize) -> Result<u64, FormError> {
        let malformed = FormError::Varint { message: self.message, at: field };
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array(field)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed)
    }
}

/// Appends a length-delimited field without its content.
pub(crate) fn put_len(out: &mut Vec<u8>, number: u32, length: usize) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// Appends a varint field.
pub(crate) fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(bytes: &[u8]) -> Result<Option<Field>, FormError> {
        Walk::new("M", bytes).next()
    }

    #[test]
    fn each_wire_type_is_read() {
        let field = |bytes: &[u8]| only(bytes).unwrap().unwrap().value;
        assert_eq!(field(&[0x08, 0x96, 0x01]), Value::Varint(150));
        assert_eq!(field(&[0x09, 1, 0, 0, 0, 0, 0, 0, 0]), Value::Fixed64(1));
        assert_eq!(field(&[0x0d, 1, 0, 0, 0]), Value::Fixed32(1));
        assert_eq!(field(&[0x0a, 0x02, 7, 7]), Value::Len(2, 4));
        // A padded length, as segments have it.
        assert_eq!(field(&[0x0a, 0x81, 0x80, 0x80, 0x80, 0x00, 7]), Value::Len(6, 7));
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(field(&largest), Value::Varint(u64::MAX));
    }

    #[test]
    fn what_is_not_protobuf_is_refused() {
        for bytes in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x0a, 0x01],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0d, 0, 0, 0],
            &[0x09, 0],
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x00, 0x00],
            &[0x0b],
            &[0x0c],
            &[0x0e],
            &[0x0f],
        ] {
            assert!(only(bytes).is_err(), "{bytes:x?}");
        }
    }
}
