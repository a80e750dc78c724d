//! Where the records of `embermq produce` come from: an argument, lines, a whole file, or JSON records.
//!
//! Everything is read as it is needed, one record at a time, so that any amount can be piped through.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use embermq_protocol::limits::REQUEST_BYTES_MAX;
use embermq_protocol::v1::{Header, Record};

use crate::http::json::parse_record;

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This text, once.
    Text(String),
    /// This text so many times, `{n}` replaced by the number of the record.
    Template(String, u64),
    /// A whole file as one record.
    Whole(PathBuf),
    /// Each line of standard input.
    Stdin,
    /// Each line of a file.
    Lines(PathBuf),
}

/// What every record gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) key: Option<String>,
    pub(super) headers: Vec<(String, String)>,
}

/// A record and the partition that it asks for itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) record: Record,
    pub(super) partition: Option<u32>,
    /// Its line, from 1, when it comes from lines.
    pub(super) line: Option<u64>,
}

/// Why no further record can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("cannot read {what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: String },
    #[error("{what} is larger than a request can be ({REQUEST_BYTES_MAX} bytes)")]
    TooLarge { what: String },
}

/// Calls `take` with each record in order, until it says stop by returning false.
pub(super) fn read(
    source: &Source,
    ndjson: bool,
    stamp: &Stamp,
    take: &mut dyn FnMut(Input) -> bool,
) -> Result<(), InputError> {
    match source {
        Source::Text(text) if ndjson => {
            lines("the argument", &mut text.as_bytes(), true, stamp, take)
        }
        Source::Text(text) => {
            take(stamp.plain(text.clone().into_bytes(), 0));
            Ok(())
        }
        Source::Template(text, count) => {
            for number in 0..*count {
                let value = text.replace("{n}", &number.to_string());
                if !take(stamp.plain(value.into_bytes(), number)) {
                    break;
                }
            }
            Ok(())
        }
        Source::Whole(path) => {
            take(stamp.plain(whole(path)?, 0));
            Ok(())
        }
        Source::Stdin => lines("standard input", &mut io::stdin().lock(), ndjson, stamp, take),
        Source::Lines(path) => {
            let what = path.display().to_string();
            let file =
                File::open(path).map_err(|source| InputError::Io { what: what.clone(), source })?;
            lines(&what, &mut BufReader::new(file), ndjson, stamp, take)
        }
    }
}

fn whole(path: &Path) -> Result<Vec<u8>, InputError> {
    let what = path.display().to_string();
    let failed = |source| InputError::Io { what: what.clone(), source };
    let mut bytes = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64;
    File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(InputError::TooLarge { what });
    }
    Ok(bytes)
}

fn lines(
    what: &str,
    input: &mut dyn BufRead,
    ndjson: bool,
    stamp: &Stamp,
    take: &mut dyn FnMut(Input) -> bool,
) -> Result<(), InputError> {
    let limit = REQUEST_BYTES_MAX as u64;
    for number in 0.. {
        let mut line = Vec::new();
        let read = (&mut *input)
            .take(limit + 2)
            .read_until(b'\n', &mut line)
            .map_err(|source| InputError::Io { what: what.to_owned(), source })?;
        if read == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        if line.len() as u64 > limit {
            return Err(InputError::TooLarge { what: format!("line {}", number + 1) });
        }
        let mut input = if !ndjson {
            stamp.plain(line, number)
        } else if line.trim_ascii().is_empty() {
            continue;
        } else {
            stamp.json(&line).map_err(|reason| InputError::Line { line: number + 1, reason })?
        };
        input.line = Some(number + 1);
        if !take(input) {
            break;
        }
    }
    Ok(())
}

impl Stamp {
    fn plain(&self, value: Vec<u8>, number: u64) -> Input {
        let mut record = Record::new(value);
        record.key = self.key.as_ref().map(|key| key.replace("{n}", &number.to_string()).into());
        record.headers.extend(self.headers());
        Input { record, partition: None, line: None }
    }

    /// What the line says itself comes first.
    fn json(&self, line: &[u8]) -> Result<Input, String> {
        let parsed = parse_record(line)?;
        let mut record = parsed.record;
        if record.key.is_none() {
            record.key = self.key.as_ref().map(|key| key.clone().into());
        }
        let named = |name: &str| record.headers.iter().any(|header| header.name == name);
        let added: Vec<Header> = self.headers().filter(|header| !named(&header.name)).collect();
        record.headers.extend(added);
        Ok(Input { record, partition: parsed.partition, line: None })
    }

    fn headers(&self) -> impl Iterator<Item = Header> {
        self.headers
            .iter()
            .map(|(name, value)| Header { name: name.clone(), value: value.clone().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &str, ndjson: bool, stamp: &Stamp) -> Result<Vec<Input>, InputError> {
        let mut records = Vec::new();
        lines("test", &mut input.as_bytes(), ndjson, stamp, &mut |record| {
            records.push(record);
            true
        })?;
        Ok(records)
    }

    fn values(inputs: &[Input]) -> Vec<&[u8]> {
        inputs.iter().map(|input| input.record.value.as_deref().unwrap()).collect()
    }

    #[test]
    fn each_line_is_a_record_without_its_end() {
        let inputs = all("one\ntwo\r\n\nlast", false, &Stamp::default()).unwrap();
        assert_eq!(values(&inputs), [&b"one"[..], b"two", b"", b"last"]);
    }

    #[test]
    fn json_lines_keep_what_they_say_and_get_the_rest() {
        let stamp = Stamp {
            key: Some("k".to_owned()),
            headers: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
        };
        let input = "{\"value\":\"x\"}\n\n{\"value\":\"y\",\"key\":\"own\",\"headers\":{\"a\":\"9\"},\"partition\":3}\n";
        let inputs = all(input, true, &stamp).unwrap();
        assert_eq!(values(&inputs), [&b"x"[..], b"y"]);
        assert_eq!(inputs[0].record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(inputs[1].record.key.as_deref(), Some(&b"own"[..]));
        assert_eq!(inputs[1].record.header_value("a"), Some(&b"9"[..]));
        assert_eq!(inputs[1].record.header_value("b"), Some(&b"2"[..]));
        assert_eq!((inputs[1].partition, inputs[1].line), (Some(3), Some(3)));
    }

    #[test]
    fn a_broken_json_line_is_named() {
        let error = all("{\"value\":1}\n{\"value\":", true, &Stamp::default()).unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }

    #[test]
    fn a_template_counts_from_zero() {
        let stamp = Stamp { key: Some("key-{n}".to_owned()), headers: Vec::new() };
        let source = Source::Template("record {n}".to_owned(), 3);
        let mut inputs = Vec::new();
        read(&source, false, &stamp, &mut |input| {
            inputs.push(input);
            inputs.len() < 2
        })
        .unwrap();
        assert_eq!(values(&inputs), [&b"record 0"[..], b"record 1"]);
        assert_eq!(inputs[1].record.key.as_deref(), Some(&b"key-1"[..]));
    }
}
