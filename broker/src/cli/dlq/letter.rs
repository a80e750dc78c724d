//! A dead letter: a whole record, with headers `x-dead-*` that tell its history.

use embermq_protocol::batch::StoredRecord;
use embermq_protocol::time::Timestamp;
use embermq_protocol::{TopicName, v1};

use crate::cli::{Console, Failure, Output};
use crate::http::json::{Place, Style, write_record};

/// What all headers of a dead letter's history begin with.
const HISTORY: &str = "x-dead-";
/// How much of an error a row shows.
const ROW_ERROR_CHARS: usize = 100;

/// A record of a dead-letter topic.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    topic: TopicName,
    partition: u32,
    stored: StoredRecord,
}

impl Letter {
    pub(super) fn new(topic: &TopicName, partition: u32, stored: StoredRecord) -> Self {
        Self { topic: topic.clone(), partition, stored }
    }

    pub(super) fn offset(&self) -> u64 {
        self.stored.offset
    }

    /// What its history says under this name.
    fn history(&self, name: &str) -> Option<String> {
        let is_named = |full: &str| full.strip_prefix(HISTORY) == Some(name);
        let header = self.stored.record.headers.iter().find(|header| is_named(&header.name))?;
        Some(String::from_utf8_lossy(&header.value).into_owned())
    }

    /// Whether it failed in this group; several may share a dead-letter topic.
    pub(super) fn is_of(&self, topic: &str, group: &str) -> bool {
        self.history("group").is_some_and(|of| of == group)
            && self.history("topic").is_none_or(|of| of == topic)
    }

    /// Whether its reason or its error holds this text.
    pub(super) fn says(&self, text: &str) -> bool {
        let holds = |name| self.history(name).is_some_and(|said| said.contains(text));
        text.is_empty() || holds("reason") || holds("error")
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.stored.append_time_us)
    }

    fn place_of_origin(&self) -> String {
        let part = |what| self.history(what).unwrap_or_else(|| "?".to_owned());
        format!("{}/{}/{}", part("topic"), part("partition"), part("offset"))
    }

    /// One line.
    pub(super) fn print_row(&self, output: Output, console: &mut Console) -> Result<(), Failure> {
        if output == Output::Json {
            return self.json(console);
        }
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
    pub(super) fn print(&self, output: Output, console: &mut Console) -> Result<(), Failure> {
        if output == Output::Json {
            return self.json(console);
        }
        let v1::Record { key, value, headers, .. } = &self.stored.record;
        console.line(format!("dead letter  {} of {}", self.offset(), self.topic))?;
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

    fn json(&self, console: &mut Console) -> Result<(), Failure> {
        let place = Place {
            topic: self.topic.as_str(),
            partition: self.partition,
            offset: self.offset(),
            append_time: embermq_storage::Timestamp(self.stored.append_time_us),
        };
        let mut line = Vec::new();
        let style = Style { one_line: true, ..Style::default() };
        write_record(&mut line, place, &self.stored.record, style).map_err(|error| {
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
        let stored = StoredRecord { offset: 3, append_time_us: 0, record };
        Letter::new(&"jobs.g.dlq".parse().unwrap(), 0, stored)
    }

    #[test]
    fn a_letter_knows_where_it_is_from_and_what_was_said() {
        let letter = letter(&[
            ("group", "before"),
            ("x-dead-group", "g"),
            ("x-dead-topic", "jobs"),
            ("x-dead-partition", "2"),
            ("x-dead-error", "exit status 3: no such picture"),
        ]);
        assert!(letter.is_of("jobs", "g") && !letter.is_of("jobs", "before"));
        assert!(!letter.is_of("others", "g"));
        assert!(letter.says("picture") && letter.says("") && !letter.says("audio"));
        assert_eq!(letter.place_of_origin(), "jobs/2/?");
    }
}
