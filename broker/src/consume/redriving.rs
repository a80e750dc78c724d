//! Redriving: dead letters are offered once more to the group that they failed in.
//!
//! While the record is still in its topic it is offered from there, with its attempts at zero. When retention has removed it, a
//! copy is appended to the topic with a header that says which group alone it is for.

use std::sync::Arc;

use embermq_protocol::batch::decode_batches;
use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::v1::{Header, Record};
use embermq_storage::Offset;

use super::dead_letter::{self, LETTER_PARTITION, header};
use super::leasing::{ONLY_FOR, key_hash};
use super::settling::dead_letter_topic;
use super::{Redrive, Redriven};
use crate::broker::Broker;
use crate::commit::{Append, Batch};
use crate::error::CommitError;
use crate::group::{KeyHash, Offer, Place};
use crate::state::{GroupRequest, Made, Redriving};
use crate::topic::{Partition, PartitionId, Topic};

/// Letters that are redriven in one commit.
const AT_ONCE: usize = 256;
/// Bytes that are read of the letters at a time.
const READ_BYTES: u64 = 1 << 20;

impl Broker {
    /// Offers dead letters to the group that they failed in once more, with their attempts at zero.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], or what can befall any commit.
    pub async fn redrive(
        &self,
        topic: &TopicName,
        group: &GroupName,
        redrive: Redrive,
    ) -> Result<Redriven, CommitError> {
        let desk = self.desk(topic, group)?;
        let topic = self.known_topic(topic)?;
        let state = desk.state();
        let letters_in = self.topic(&dead_letter_topic(&desk, &state)?);
        let Some(letters_in) = letters_in else { return Ok(Redriven::default()) };
        let most = redrive.records_max.map_or(usize::MAX, |most| most as usize);
        let mut done = Redriven::default();
        for run in wanted(&redrive, state.letters.runs()) {
            let mut next = run.0;
            while next < run.1 {
                let partition = Arc::clone(&letters_in.partitions[LETTER_PARTITION.0 as usize]);
                let read = move || read(&partition, next, run.1);
                let (letters, end) = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(|_| CommitError::ShuttingDown)??;
                next = end;
                let fits = |letter: &&(u64, Record)| redrive.fits(&letter.1);
                let left = most.saturating_sub(usize::try_from(done.matched).unwrap_or(usize::MAX));
                let fitting: Vec<&(u64, Record)> = letters.iter().filter(fits).take(left).collect();
                done.matched += fitting.len() as u64;
                for some in fitting.chunks(AT_ONCE).filter(|_| !redrive.dry_run) {
                    let letters = some
                        .iter()
                        .filter_map(|(letter, record)| {
                            redriving(&topic, group, *letter, record, redrive.drop)
                        })
                        .collect();
                    let request = GroupRequest::Redrive { group: desk.id, letters };
                    if let Made::Redriven(count) = self.ask_group(request).await? {
                        done.done += count;
                    }
                }
                if done.matched >= most as u64 {
                    return Ok(done);
                }
            }
        }
        Ok(done)
    }
}

impl Redrive {
    fn fits(&self, letter: &Record) -> bool {
        let said = |name| header(letter, name).is_some_and(|text| text.contains(&self.contains));
        self.contains.is_empty() || said(dead_letter::REASON) || said(dead_letter::ERROR)
    }
}

/// Which runs of letters to look at: those that are open, as far as they were asked for.
fn wanted(redrive: &Redrive, open: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    if redrive.offsets.is_empty() {
        return open.collect();
    }
    let open: Vec<(u64, u64)> = open.collect();
    let mut asked: Vec<u64> = redrive.offsets.iter().map(|offset| offset.0).collect();
    asked.sort_unstable();
    asked.dedup();
    let is_open = |letter: &u64| open.iter().any(|(first, end)| (*first..*end).contains(letter));
    asked.into_iter().filter(is_open).map(|letter| (letter, letter + 1)).collect()
}

/// Letters from `next` on, and where to go on.
fn read(
    partition: &Partition,
    next: u64,
    end: u64,
) -> Result<(Vec<(u64, Record)>, u64), CommitError> {
    let unreadable = |detail: String| CommitError::Invalid {
        detail: format!("dead letters from offset {next} on cannot be read: {detail}"),
    };
    let from = Offset(next).max(partition.start());
    if from.0 >= end {
        return Ok((Vec::new(), end));
    }
    let slice =
        partition.reader.read(from, READ_BYTES).map_err(|error| unreadable(error.to_string()))?;
    let after = slice.next.0.max(from.0 + 1);
    let mut letters = Vec::new();
    for record in decode_batches(slice.pieces, from.0) {
        let record = record.map_err(|error| unreadable(error.to_string()))?;
        if record.offset < end {
            letters.push((record.offset, record.record));
        }
    }
    Ok((letters, after.min(end)))
}

fn redriving(
    topic: &Topic,
    group: &GroupName,
    letter: u64,
    record: &Record,
    drop: bool,
) -> Option<Redriving> {
    if drop {
        return Some(Redriving { letter, offer: None, copy: None });
    }
    let number = |name| header(record, name)?.parse().ok();
    let partition = PartitionId(u32::try_from(number(dead_letter::PARTITION)?).ok()?);
    let offset = Offset(number(dead_letter::OFFSET)?);
    let there = topic.partitions.get(partition.0 as usize)?;
    if offset >= there.start() && super::read_record(there, offset).is_some() {
        let key = record.key.as_deref().map_or(KeyHash::NONE, key_hash);
        let offer = Some(Offer { place: Place { partition, offset }, key });
        return Some(Redriving { letter, offer, copy: None });
    }
    let mut record = record.clone();
    record.headers.retain(|header| header.name != ONLY_FOR);
    let value = bytes::Bytes::copy_from_slice(group.as_str().as_bytes());
    record.headers.push(Header { name: ONLY_FOR.to_owned(), value });
    let batch = Batch::of(&[record]);
    let copy = Some(Append { topic: topic.name.clone(), partition, batch });
    Some(Redriving { letter, offer: None, copy })
}
