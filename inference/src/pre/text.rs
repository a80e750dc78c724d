//! Texts: a `tokenizer.json` of Hugging Face's `tokenizers`, and the usual inputs of text encoders.
//!
//! Padding and truncation that the tokenizer's file carries are ignored: fixed padding to 128 makes a short text five times as dear.
//! A text is padded on its right to the next of `lengths`, or, without lengths, to the longest of those that run together.
//! Longer texts than `max_tokens` are cut, or refused where `truncate = false`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{Tokenizer, TruncationParams};

use super::{PayloadError, Row, check_bytes, dtype_among, with_axis};
use crate::bundle::{Section, Surroundings, declared, fixed};
use crate::dtype::DType;
use crate::tensor::Tensor;

/// A tokenizer's file may have this size; those of large vocabularies have 20 MB.
const TOKENIZER_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a text, unless `bytes_max` says otherwise. All of them are tokenised before anything is cut.
const BYTES_MAX: usize = 1 << 20;

/// Tokens of a text, where nobody says otherwise.
const TOKENS: usize = 512;

/// No encoder reads more at once.
const TOKENS_MAX: usize = 1 << 20;

/// The shortest length that texts are padded to by default.
const LENGTH_MIN: usize = 16;

/// How texts become inputs.
#[derive(Debug)]
pub(crate) struct TextPre {
    tokenizer: Tokenizer,
    max_tokens: usize,
    special: bool,
    pad: i64,
    lengths: Vec<usize>,
    /// What each input of the model gets, in order.
    roles: Vec<(Role, DType)>,
    bytes_max: usize,
    axis: Option<usize>,
}

/// What an input of a text encoder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Ids,
    Mask,
    Types,
    Positions,
}

impl TextPre {
    pub(super) fn read(
        section: &Section<'_>,
        around: &Surroundings<'_>,
        axis: Option<usize>,
    ) -> Option<Self> {
        let file = section.text("tokenizer").unwrap_or_else(|| "tokenizer.json".to_owned());
        let bytes_max = section.count("bytes_max", 1..=usize::MAX).unwrap_or(BYTES_MAX);
        let truncate = section.flag("truncate").unwrap_or(true);
        let special = section.flag("special_tokens").unwrap_or(true);
        let (asked_tokens, asked_pad) = (
            section.count("max_tokens", 1..=TOKENS_MAX),
            section.count("pad_id", 0..=u32::MAX as usize),
        );
        let asked_lengths = section.counts("lengths", 1..=TOKENS_MAX);
        let roles = roles(section, around);
        let fixed_length = fixed_length(around);
        let bytes = around.file(section, "tokenizer", &file, TOKENIZER_BYTES_MAX)?;
        let mut tokenizer = match tokenizer_of(&bytes) {
            Ok(tokenizer) => tokenizer,
            Err(what) => {
                section.problem("tokenizer", format!("{file:?} is no tokenizer: {what}"));
                return None;
            }
        };
        let own_tokens = tokenizer.get_truncation().map(|truncation| truncation.max_length);
        let max_tokens = asked_tokens.or(fixed_length).or(own_tokens).unwrap_or(TOKENS);
        let max_tokens = max_tokens.min(TOKENS_MAX);
        let lengths = lengths_of(section, asked_lengths, max_tokens, fixed_length)?;
        let pad =
            asked_pad.and_then(|pad| i64::try_from(pad).ok()).unwrap_or_else(|| pad_of(&tokenizer));
        tokenizer.with_padding(None);
        let truncation = truncate
            .then(|| TruncationParams { max_length: max_tokens, ..TruncationParams::default() });
        if let Err(error) = tokenizer.with_truncation(truncation) {
            section.problem("max_tokens", format!("the tokenizer refuses it: {error}"));
            return None;
        }
        let roles = roles?;
        Some(Self { tokenizer, max_tokens, special, pad, lengths, roles, bytes_max, axis })
    }

    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    pub(super) fn mask_input(&self) -> Option<usize> {
        self.roles.iter().position(|(role, _)| *role == Role::Mask)
    }

    pub(super) fn prepare(&self, payload: &[u8]) -> Result<Row, PayloadError> {
        check_bytes(payload, self.bytes_max)?;
        let text = std::str::from_utf8(payload)
            .map_err(|error| PayloadError(format!("the text is no UTF-8: {error}")))?;
        let encoding = self
            .tokenizer
            .encode_fast(text, self.special)
            .map_err(|error| PayloadError(format!("the text was not tokenised: {error}")))?;
        let ids = encoding.get_ids();
        if ids.len() > self.max_tokens {
            let what =
                format!("the text has {} tokens, the limit is {}", ids.len(), self.max_tokens);
            return Err(PayloadError(what));
        }
        // An encoder that gets nothing at all has no answer; one padded position that counts has.
        let length = ids.len().max(1);
        let padded =
            self.lengths.iter().copied().find(|padded| *padded >= length).unwrap_or(length);
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let types: Vec<i64> = encoding.get_type_ids().iter().map(|id| i64::from(*id)).collect();
        Ok(self.row(&ids, &types, length, padded))
    }

    pub(super) fn sample(&self, length: Option<usize>) -> Row {
        let length = length.unwrap_or(LENGTH_MIN).min(self.max_tokens).max(1);
        self.row(&[], &[], length, length)
    }

    fn row(&self, ids: &[i64], types: &[i64], length: usize, padded: usize) -> Row {
        let input = |(role, dtype): &(Role, DType)| {
            let at = |at: usize| match role {
                Role::Ids => ids.get(at).copied().unwrap_or(self.pad),
                Role::Mask => i64::from(at < length),
                Role::Types => types.get(at).copied().unwrap_or(0),
                Role::Positions => i64::try_from(at).unwrap_or(i64::MAX),
            };
            integers(*dtype, with_axis(&[padded], self.axis), (0..padded).map(at).collect())
        };
        Row { inputs: self.roles.iter().map(input).collect(), count: 1, length: Some(length) }
    }

    /// Pads rows of their own lengths to the longest.
    pub(super) fn pad(&self, rows: &mut [Row]) {
        let longest = rows.iter().filter_map(|row| row.length).max().unwrap_or(1);
        for row in rows.iter_mut().filter(|row| row.length != Some(longest)) {
            let length = row.length.unwrap_or(1);
            let of = |wanted: Role| {
                let at = self.roles.iter().position(|(role, _)| *role == wanted);
                at.and_then(|at| row.inputs.get(at)?.to_i64s().ok()).unwrap_or_default()
            };
            *row = self.row(&of(Role::Ids), &of(Role::Types), length, longest);
        }
    }
}

fn integers(dtype: DType, shape: Vec<usize>, values: Vec<i64>) -> Tensor {
    if dtype == DType::I32 {
        // Ids come from a u32 and small counters; a larger one cannot be a token of an i32 model.
        let narrow = values.into_iter().map(|value| i32::try_from(value).unwrap_or(i32::MAX));
        return Tensor::new(shape, narrow.collect());
    }
    Tensor::new(shape, values)
}

/// What each input gets: by the keys, or by the names that are usual.
fn roles(section: &Section<'_>, around: &Surroundings<'_>) -> Option<Vec<(Role, DType)>> {
    let ids = around.input_or(section, "ids", "input_ids");
    let named = [
        (ids, Role::Ids),
        (around.input_or(section, "mask", "attention_mask"), Role::Mask),
        (around.input_or(section, "types", "token_type_ids"), Role::Types),
        (around.input_or(section, "positions", "position_ids"), Role::Positions),
    ];
    if ids.is_none() && !section.has("ids") {
        section.problem(
            "ids",
            "the model has no input \"input_ids\"; say which input takes the tokens",
        );
        return None;
    }
    let mut roles = Vec::new();
    for (at, port) in around.network.inputs().iter().enumerate() {
        let Some((_, role)) = named.iter().find(|(input, _)| *input == Some(at)) else {
            let what = format!(
                "nothing fills the input {:?}; name it with ids, mask, types or positions",
                port.name
            );
            section.problem("kind", what);
            return None;
        };
        roles.push((*role, dtype_among(section, port, &[DType::I64, DType::I32])?));
    }
    Some(roles)
}

/// The length of the inputs, if the model takes only one.
fn fixed_length(around: &Surroundings<'_>) -> Option<usize> {
    let lasts = around.network.inputs().iter().filter_map(|port| declared(port).1?.last());
    lasts.filter_map(fixed).next()
}

fn lengths_of(
    section: &Section<'_>,
    asked: Option<Vec<usize>>,
    max_tokens: usize,
    fixed: Option<usize>,
) -> Option<Vec<usize>> {
    if let Some(fixed) = fixed {
        if max_tokens > fixed {
            section.problem("max_tokens", format!("the model takes texts of {fixed} tokens only"));
            return None;
        }
        if asked.as_ref().is_some_and(|asked| *asked != [fixed]) {
            section.problem("lengths", format!("the model takes the length {fixed} only"));
            return None;
        }
        return Some(vec![fixed]);
    }
    let Some(mut lengths) = asked else {
        let doubled = std::iter::successors(Some(LENGTH_MIN), |length| length.checked_mul(2));
        let mut lengths: Vec<usize> = doubled.take_while(|length| *length < max_tokens).collect();
        lengths.push(max_tokens);
        return Some(lengths);
    };
    if let Some(longer) = lengths.iter().find(|length| **length > max_tokens) {
        section.problem(
            "lengths",
            format!("{longer} is longer than max_tokens, which is {max_tokens}"),
        );
        return None;
    }
    if !lengths.is_empty() {
        lengths.push(max_tokens);
    }
    lengths.sort_unstable();
    lengths.dedup();
    Some(lengths)
}

/// The token that fills a row: what the file pads with, or the one that is called so.
fn pad_of(tokenizer: &Tokenizer) -> i64 {
    let own = tokenizer.get_padding().map(|padding| padding.pad_id);
    let named = || ["[PAD]", "<pad>"].iter().find_map(|name| tokenizer.token_to_id(name));
    i64::from(own.or_else(named).unwrap_or(0))
}

/// Reads a tokenizer's file, which comes from outside: its reader may panic.
fn tokenizer_of(bytes: &[u8]) -> Result<Tokenizer, String> {
    match catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes))) {
        Ok(Ok(tokenizer)) => Ok(tokenizer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(crate::run::message_of(&*panic)),
    }
}
