//! `embermq consume`: prints the records of a topic, up to its end or as they come.
//!
//! Without `--follow` the partitions are read one after the other up to where each ended when it was first read, and
//! each in order. With it all are read at once, those too that come later; among partitions there is no order then.

use clap::Args;
use embermq_protocol::TopicName;
use embermq_protocol::client::{ConsumedRecord, FetchOptions, TopicClient};
use futures::StreamExt;

use super::from::From;
use super::remote::{block_on, client};
use super::{Console, Failure, Global, Output};
use crate::clock::{Clock, SystemClock};
use crate::http::json::{Place, Style, write_record};

#[derive(Debug, Args)]
pub(super) struct Consume {
    /// The topic
    topic: TopicName,
    /// Where to begin: start, end, an offset (of --partition, when there are several), a time, or so long ago (-1h)
    #[arg(
        long,
        value_name = "start|end|OFFSET|TIME|-1h",
        default_value = "start",
        allow_hyphen_values = true
    )]
    from: From,
    /// Only this partition
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// Wait for more at the end
    #[arg(short, long)]
    follow: bool,
    /// Stop after so many records
    #[arg(short = 'n', long = "max", value_name = "N")]
    max: Option<u64>,
}

impl Consume {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let topic = client(global)?.topic(self.topic.as_str())?;
        let printer = Printer {
            output: global.output,
            left: self.max.unwrap_or(u64::MAX),
            buffer: Vec::new(),
            console,
        };
        block_on(self.read(&topic, global, printer))?
    }

    async fn read(
        &self,
        topic: &TopicClient,
        global: &Global,
        mut printer: Printer<'_>,
    ) -> Result<(), Failure> {
        if printer.left == 0 {
            return Ok(());
        }
        let from = self.from.for_client(SystemClock::default().now().0);
        let partitions = match self.partition {
            Some(partition) => vec![partition],
            None => {
                let topic = client(global)?.get_topic(self.topic.as_str()).await?;
                self.refuse_one_offset_for(topic.partitions.len())?;
                topic.partitions.iter().map(|info| info.partition).collect()
            }
        };
        match self.partition {
            Some(partition) if self.follow => {
                return printer.follow(topic, topic.consume_partition(partition, from)).await;
            }
            None if self.follow => {
                return printer.follow(topic, topic.consume(from).await?).await;
            }
            _ => {}
        }
        for partition in partitions {
            if !printer.up_to_end(topic, partition, from).await? {
                break;
            }
        }
        Ok(())
    }

    /// Partitions count on their own: what is in the middle of one may be behind the end of another.
    fn refuse_one_offset_for(&self, partitions: usize) -> Result<(), Failure> {
        match self.from {
            From::Offset(offset) if partitions > 1 => Err(Failure::usage(format!(
                "offset {offset} is of one partition, and topic {} has {partitions}: name one with --partition, or begin at start, end or a time",
                self.topic
            ))),
            _ => Ok(()),
        }
    }
}

/// Prints records until enough are printed.
struct Printer<'a> {
    output: Output,
    left: u64,
    buffer: Vec<u8>,
    console: &'a mut Console,
}

impl Printer<'_> {
    async fn follow(
        mut self,
        topic: &TopicClient,
        records: impl futures::Stream<
            Item = Result<ConsumedRecord, embermq_protocol::client::ClientError>,
        >,
    ) -> Result<(), Failure> {
        let mut records = std::pin::pin!(records.ready_chunks(1_024));
        while let Some(ready) = records.next().await {
            for record in ready {
                if !self.print(topic.name(), &record?)? {
                    return Ok(());
                }
            }
            // Nothing more is ready: what was read must be seen now.
            self.console.flush()?;
        }
        Ok(())
    }

    /// Prints one partition up to where it ended at the first look; false when enough is printed.
    async fn up_to_end(
        &mut self,
        topic: &TopicClient,
        partition: u32,
        from: embermq_protocol::client::From,
    ) -> Result<bool, Failure> {
        use embermq_protocol::client::From as Place;
        let mut options = FetchOptions { partition, from, ..FetchOptions::default() };
        let mut end = None;
        loop {
            let fetched = topic.fetch(options).await?;
            let end = *end.get_or_insert(fetched.end_offset);
            let first = match options.from {
                Place::Offset(offset) => offset,
                Place::Start | Place::End | Place::TimeUs(_) => fetched.start_offset,
            };
            for stored in fetched.records(first) {
                let stored = stored.map_err(embermq_protocol::client::ClientError::from)?;
                if stored.offset >= end {
                    return Ok(true);
                }
                let record = ConsumedRecord {
                    partition,
                    offset: stored.offset,
                    append_time_us: stored.append_time_us,
                    record: stored.record,
                };
                if !self.print(topic.name(), &record)? {
                    return Ok(false);
                }
            }
            if fetched.next_offset >= end {
                return Ok(true);
            }
            options.from = Place::Offset(fetched.next_offset);
        }
    }

    /// Prints one record; false when it was the last one wanted.
    fn print(&mut self, topic: &TopicName, consumed: &ConsumedRecord) -> Result<bool, Failure> {
        self.buffer.clear();
        let value = consumed.record.value.as_deref();
        match self.output {
            Output::Raw => self.buffer.extend_from_slice(value.unwrap_or_default()),
            Output::Text => self.text(value),
            Output::Json => {
                let place = Place {
                    topic: topic.as_str(),
                    partition: consumed.partition,
                    offset: consumed.offset,
                    append_time: embermq_storage::Timestamp(consumed.append_time_us),
                };
                let style = Style { one_line: true, ..Style::default() };
                write_record(&mut self.buffer, place, &consumed.record, style).map_err(
                    |error| Failure::unavailable(format!("cannot write a record as JSON: {error}")),
                )?;
                self.buffer.push(b'\n');
            }
        }
        self.console.bytes(&self.buffer)?;
        self.left -= 1;
        Ok(self.left > 0)
    }

    fn text(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.buffer.extend_from_slice(b"(tombstone)"),
            Some(value) if std::str::from_utf8(value).is_ok() => {
                self.buffer.extend_from_slice(value);
            }
            Some(value) => {
                let note = format!("({} bytes, not text; use -o raw or -o json)", value.len());
                self.buffer.extend_from_slice(note.as_bytes());
            }
        }
        self.buffer.push(b'\n');
    }
}
