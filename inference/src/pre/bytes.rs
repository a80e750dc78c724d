//! Content as bytes: the beginning and the end of a payload, one integer per byte.
//!
//! As content-type classifiers read files: of the first `block` bytes, leading white space removed, the first `head`; of the last
//! `block` bytes, trailing white space removed, the last `tail`. What is missing is filled with `pad`, behind the head and before the
//! tail. A payload with too little in it is answered by a rule: it is empty, a short text, or neither.

use super::{PayloadError, Prepared, Row, only_input, with_axis};
use crate::bundle::{Section, Surroundings, declared, fixed};
use crate::dtype::DType;
use crate::tensor::Tensor;

/// Positions that a head or tail may have.
const POSITIONS_MAX: usize = 1 << 20;

/// How bytes become integers.
#[derive(Debug)]
pub(crate) struct BytesPre {
    head: usize,
    tail: usize,
    block: usize,
    pad: i32,
    strip: bool,
    /// Fewer bytes than this, or fewer at the head, are answered by rule.
    min: usize,
    rule: Rule,
    dtype: DType,
    axis: Option<usize>,
}

/// Answers without the model.
#[derive(Debug)]
struct Rule {
    empty: Option<String>,
    short_text: Option<String>,
    short_binary: Option<String>,
}

impl BytesPre {
    pub(super) fn read(
        section: &Section<'_>,
        around: &Surroundings<'_>,
        axis: Option<usize>,
    ) -> Option<Self> {
        let (input, dtype) =
            only_input(section, around, &[DType::I32, DType::I64, DType::U8, DType::F32])?;
        let head = section.count("head", 0..=POSITIONS_MAX).unwrap_or(1024);
        let tail = section.count("tail", 0..=POSITIONS_MAX).unwrap_or(1024);
        let block = section.count("block", 1..=POSITIONS_MAX).unwrap_or(4096);
        let pad_max = if dtype == DType::U8 { 255 } else { 1 << 16 };
        let pad = section.count("pad", 0..=pad_max).unwrap_or(pad_max.min(256));
        let strip = section.flag("strip").unwrap_or(true);
        let min = section.count("min", 0..=POSITIONS_MAX).unwrap_or(0);
        let short = section.section("short");
        let rule = Rule {
            empty: short.text("empty"),
            short_text: short.text("text"),
            short_binary: short.text("binary"),
        };
        short.finish();
        let (_, dims) = declared(around.network.inputs().get(input)?);
        let declared = dims.and_then(|dims| dims.last()).and_then(fixed);
        if let Some(declared) = declared.filter(|declared| *declared != head + tail) {
            let what = format!(
                "head {head} and tail {tail} make {}, the input takes {declared}",
                head + tail
            );
            section.problem("head", what);
            return None;
        }
        if block < head.max(tail) {
            section.problem(
                "block",
                format!("it is shorter than the head ({head}) or the tail ({tail})"),
            );
            return None;
        }
        if min > head {
            section.problem("min", format!("it is longer than the head, which has {head}"));
            return None;
        }
        let pad = i32::try_from(pad).ok()?;
        Some(Self { head, tail, block, pad, strip, min, rule, dtype, axis })
    }

    pub(super) fn prepare(&self, payload: &[u8]) -> Result<Prepared, PayloadError> {
        let block = payload.len().min(self.block);
        let first = &payload[..block];
        let last = &payload[payload.len() - block..];
        let first_full = if self.strip { strip_start(first) } else { first };
        let last_full = if self.strip { strip_end(last) } else { last };
        let head = &first_full[..first_full.len().min(self.head)];
        let tail = &last_full[last_full.len() - last_full.len().min(self.tail)..];
        if payload.is_empty()
            && let Some(label) = &self.rule.empty
        {
            return Ok(Prepared::Label(label.clone()));
        }
        if head.len() < self.min {
            let text = std::str::from_utf8(first).is_ok();
            let label = if text { &self.rule.short_text } else { &self.rule.short_binary };
            if let Some(label) = label {
                return Ok(Prepared::Label(label.clone()));
            }
        }
        let mut row = Vec::with_capacity(self.head + self.tail);
        row.extend(head.iter().map(|byte| i32::from(*byte)));
        row.resize(self.head + self.tail - tail.len(), self.pad);
        row.extend(tail.iter().map(|byte| i32::from(*byte)));
        Ok(Prepared::Row(self.row(row)))
    }

    pub(super) fn sample(&self) -> Row {
        self.row(vec![self.pad; self.head + self.tail])
    }

    #[expect(clippy::cast_precision_loss, reason = "tokens are small")]
    fn row(&self, row: Vec<i32>) -> Row {
        let shape = with_axis(&[row.len()], self.axis);
        let input = match self.dtype {
            DType::I64 => Tensor::new(shape, row.into_iter().map(i64::from).collect()),
            DType::F32 => Tensor::new(shape, row.into_iter().map(|token| token as f32).collect()),
            DType::U8 => {
                let bytes = row.into_iter().map(|token| u8::try_from(token).unwrap_or(u8::MAX));
                Tensor::new(shape, bytes.collect())
            }
            _ => Tensor::new(shape, row),
        };
        Row { inputs: vec![input], count: 1, length: None }
    }
}

/// Tab, line feed, vertical tab, form feed, carriage return and space.
const fn is_space(byte: u8) -> bool {
    matches!(byte, 9..=13 | 32)
}

fn strip_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn strip_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pre() -> BytesPre {
        let rule = Rule {
            empty: Some("empty".into()),
            short_text: Some("txt".into()),
            short_binary: Some("unknown".into()),
        };
        let (dtype, axis) = (DType::I32, Some(0));
        BytesPre { head: 4, tail: 4, block: 6, pad: 256, strip: true, min: 3, rule, dtype, axis }
    }

    fn row(payload: &[u8]) -> Vec<i32> {
        match pre().prepare(payload).unwrap() {
            Prepared::Row(row) => row.inputs[0].as_slice::<i32>().unwrap().to_vec(),
            Prepared::Label(label) => panic!("answered {label}"),
        }
    }

    fn label(payload: &[u8]) -> String {
        match pre().prepare(payload).unwrap() {
            Prepared::Label(label) => label,
            Prepared::Row(row) => panic!("made {row:?}"),
        }
    }

    #[test]
    fn each_block_is_stripped_on_its_outer_side_only() {
        assert_eq!(row(b" ab \n"), [97, 98, 32, 10, 256, 32, 97, 98]);
        assert_eq!(row(b"abcdefghij"), [97, 98, 99, 100, 103, 104, 105, 106]);
        // The block ends before the first letter of the tail is reached.
        assert_eq!(row(b"abc       "), [97, 98, 99, 32, 256, 256, 256, 256]);
    }

    #[test]
    fn short_payloads_are_answered_by_rule() {
        assert_eq!(label(b""), "empty");
        assert_eq!(label(b"ab"), "txt");
        assert_eq!(label(b"    ab"), "txt");
        assert_eq!(label(b"\xff\xfe"), "unknown");
        assert_eq!(label(b"           "), "txt");
    }
}
