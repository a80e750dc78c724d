//! A dead letter: a whole record, with headers `x-dead-*` that tell its history.

use embermq_protocol::client::ConsumedRecord;
use embermq_protocol::time::Timestamp;
use embermq_protocol::v1;

use crate::cli::{Console, Failure};
use crate::http::json::{Place, Style, write_record};

/// What all headers of a dead letter's history begin with.
const HISTORY: &str = "x-dead-";
/// How much of an error a row shows.
const ROW_ERROR_CHARS: usize = 100;

/// Whether there is still something to be done about a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// It was redriven or dropped.
    Settled,
    /// It is another group's, or no dead letter at all.
    Foreign,
}

/// A record of a dead-letter topic.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    topic: String,
    found: ConsumedRecord,
    standing: Standing,
}

impl Letter {
    pub(super) fn new(topic: &str, found: ConsumedRecord, standing: Standing) -> Self {
        Self { topic: topic.to_owned(), found, standing }
    }

    pub(super) fn offset(&self) -> u64 {
        self.found.offset
    }

    pub(super) fn is_open(&self) -> bool {
        self.standing == Standing::Open
    }

    /// What became of it; none while it is open.
    pub(super) const fn why_not_open(&self) -> Option<&'static str> {
        match self.standing {
            Standing::Open => None,
            Standing::Settled => Some("it was redriven or dropped"),
            Standing::Foreign => Some("it is no dead letter of this group"),
        }
    }

    /// What its history says under this name.
    fn history(&self, name: &str) -> Option<String> {
        let is_named = |full: &str| full.strip_prefix(HISTORY) == Some(name);
        let header = self.found.record.headers.iter().find(|header| is_named(&header.name))?;
        Some(String::from_utf8_lossy(&header.value).into_owned())
    }

    /// The same if it failed in this group; several may share a dead-letter topic.
    pub(super) fn unless_of_another(mut self, topic: &str, group: &str) -> Self {
        let is = |name, expected| self.history(name).is_some_and(|of| of == expected);
        if !is("group", group) || !is("topic", topic) {
            self.standing = Standing::Foreign;
        }
        self
    }

    /// Whether its reason or its error holds this text.
    pub(super) fn says(&self, text: &str) -> bool {
        crate::consume::says(&self.found.record, text)
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.found.append_time_us)
    }

    fn place_of_origin(&self) -> String {
        let part = |what| self.history(what).unwrap_or_else(|| "?".to_owned());
        format!("{}/{}/{}", part("topic"), part("partition"), part("offset"))
    }

    /// One line.
    pub(super) fn print_row(&self, console: &mut Console) -> Result<(), Failure> {
        let error = self.history("error").unwrap_or_default();
        let error = error.lines().last().unwrap_or_default();
        console.line(format!(
            "{:>8} {} {:<28} {:>3} attempts  {:<12} {}",
            self.offset(),
            self.time(),
            self.place_of_origin(),
            self.history("attempts").unwrap_or_else(|| "?".to_owned()),
            self.history("reason").unwrap_or_default(),
            error.chars().take(ROW_ERROR_CHARS).collect::<String>(),
        ))?;
        Ok(())
    }

    /// All of it.
    pub(super) fn print(&self, console: &mut Console) -> Result<(), Failure> {
        let v1::Record { key, value, headers, .. } = &self.found.record;
        console.line(format!("dead letter  {} of {}", self.offset(), self.topic))?;
        console.line(format!(
            "open         {}",
            self.why_not_open().map_or("yes".to_owned(), |why| format!("no: {why}"))
        ))?;
        console.line(format!("died         {}", self.time()))?;
        console.line(format!("origin       {}", self.place_of_origin()))?;
        for header in headers {
            let name = header.name.strip_prefix(HISTORY).unwrap_or(&header.name);
            let text = String::from_utf8_lossy(&header.value);
            console.line(format!("{name:<12} {}", text.replace('\n', "\n             ")))?;
        }
        if let Some(key) = key {
            console.line(format!("key          {}", String::from_utf8_lossy(key)))?;
        }
        match value.as_deref().map(std::str::from_utf8) {
            None => console.line("(tombstone)")?,
            Some(Ok(text)) => console.line(format!("\n{text}\n"))?,
            Some(Err(_)) => console.line("(not text; use -o json)")?,
        }
        Ok(())
    }

    /// The record as a fetch shows it.
    pub(super) fn print_json(&self, console: &mut Console) -> Result<(), Failure> {
        let place = Place {
            topic: &self.topic,
            partition: self.found.partition,
            offset: self.offset(),
            append_time: embermq_storage::Timestamp(self.found.append_time_us),
        };
        let mut line = Vec::new();
        let style = Style { one_line: true, ..Style::default() };
        write_record(&mut line, place, &self.found.record, style).map_err(|error| {
            Failure::unavailable(format!("cannot write a record as JSON: {error}"))
        })?;
        line.push(b'\n');
        Ok(console.bytes(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(headers: &[(&str, &str)]) -> Letter {
        let mut record = v1::Record::new("x");
        for (name, value) in headers {
            record = record.with_header(*name, value.as_bytes().to_vec());
        }
        let found = ConsumedRecord { partition: 0, offset: 3, append_time_us: 0, record };
        Letter::new("jobs.g.dlq", found, Standing::Settled)
    }

    #[test]
    fn a_letter_knows_where_it_is_from_and_whose_it_is() {
        let letter = letter(&[
            ("group", "before"),
            ("x-dead-group", "g"),
            ("x-dead-topic", "jobs"),
            ("x-dead-partition", "2"),
        ]);
        assert_eq!(letter.place_of_origin(), "jobs/2/?");
        for (topic, group, expected) in
            [("jobs", "g", "redriven"), ("jobs", "before", "no dead"), ("others", "g", "no dead")]
        {
            let why = letter.clone().unless_of_another(topic, group).why_not_open().unwrap();
            assert!(why.contains(expected), "{topic}/{group}: {why}");
        }
    }
}
