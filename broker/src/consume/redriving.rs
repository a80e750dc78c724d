//! Redriving: dead letters are offered once more to the group that they failed in.
//!
//! While the record is still in its topic it is offered from there, with its attempts at zero. When retention has removed it, a
//! copy is appended to the topic with a header that says which group alone it is for.

use std::sync::Arc;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::v1::{Header, Record};
use embermq_storage::Offset;

use super::dead_letter::{self, LETTER_PARTITION, ONLY_FOR, header};
use super::leasing::key_hash;
use super::letters::LetterReader;
use super::settling::dead_letter_topic;
use super::{Redrive, Redriven};
use crate::broker::Broker;
use crate::commit::{Append, Batch};
use crate::error::CommitError;
use crate::group::{KeyHash, Offer, Place};
use crate::state::{GroupRequest, Letters, Made, Redriving};
use crate::topic::{PartitionId, Topic};

/// Letters that are redriven in one commit.
const AT_ONCE: usize = 256;

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
        let open = state.letters.clone();
        let offsets = redrive.offsets;
        let runs = tokio::task::spawn_blocking(move || wanted(&offsets, &open));
        let redriver = Arc::new(Redriver {
            letters: LetterReader {
                partition: Arc::clone(&letters_in.partitions[LETTER_PARTITION.0 as usize]),
                topic: topic.name.clone(),
                group: group.clone(),
                contains: redrive.contains,
            },
            topic,
            drop: redrive.drop,
        });
        for run in runs.await.map_err(|_| CommitError::ShuttingDown)? {
            let mut next = run.0;
            while next < run.1 {
                let left = most.saturating_sub(usize::try_from(done.matched).unwrap_or(usize::MAX));
                if left == 0 {
                    return Ok(done);
                }
                let redriver = Arc::clone(&redriver);
                let look = move || redriver.look(next, run.1, left);
                let look = tokio::task::spawn_blocking(look).await;
                let (letters, end) = look.map_err(|_| CommitError::ShuttingDown)??;
                next = end;
                done.matched += letters.len() as u64;
                for some in letters.chunks(AT_ONCE).filter(|_| !redrive.dry_run) {
                    let request = GroupRequest::Redrive { group: desk.id, letters: some.to_vec() };
                    if let Made::Redriven(count) = self.ask_group(request).await? {
                        done.done += count;
                    }
                }
            }
        }
        Ok(done)
    }
}

/// Which runs of letters to look at: those that are open, as far as they were asked for.
fn wanted(offsets: &[Offset], open: &Letters) -> Vec<(u64, u64)> {
    if offsets.is_empty() {
        return open.runs().collect();
    }
    let mut asked: Vec<u64> = offsets.iter().map(|offset| offset.0).collect();
    asked.sort_unstable();
    asked.dedup();
    asked.retain(|letter| open.contains(*letter));
    let runs = asked.chunk_by(|one, next| *next == one + 1);
    runs.map(|run| (run[0], run[0] + run.len() as u64)).collect()
}

/// How letters of a group are redriven.
struct Redriver {
    topic: Arc<Topic>,
    letters: LetterReader,
    drop: bool,
}

impl Redriver {
    /// What is to be done to letters from `next` on that fit the request, up to `most`, and where to go on.
    fn look(&self, next: u64, end: u64, most: usize) -> Result<(Vec<Redriving>, u64), CommitError> {
        let looked = self.letters.read(next, end, most)?;
        let mut letters = Vec::with_capacity(looked.letters.len());
        for stored in &looked.letters {
            letters.extend(self.redriving(stored.offset, &stored.record)?);
        }
        Ok((letters, looked.next))
    }

    fn redriving(&self, letter: u64, record: &Record) -> Result<Option<Redriving>, CommitError> {
        if self.drop {
            return Ok(Some(Redriving { letter, offer: None, copy: None }));
        }
        let number = |name| header(record, name).and_then(|text| text.parse().ok());
        let (Some(partition), Some(offset)) =
            (number(dead_letter::PARTITION), number(dead_letter::OFFSET))
        else {
            return Ok(None);
        };
        let partition = PartitionId(u32::try_from(partition).unwrap_or(u32::MAX));
        let offset = Offset(offset);
        let Some(there) = self.topic.partitions.get(partition.0 as usize) else { return Ok(None) };
        if offset >= there.start() && super::read_record(there, offset)?.is_some() {
            let key = record.key.as_deref().map_or(KeyHash::NONE, key_hash);
            let offer = Some(Offer { place: Place { partition, offset }, key });
            return Ok(Some(Redriving { letter, offer, copy: None }));
        }
        let mut record = record.clone();
        record.headers.retain(|header| header.name != ONLY_FOR);
        let only = format!("{}/{}", self.topic.name, self.letters.group);
        record.headers.push(Header { name: ONLY_FOR.to_owned(), value: only.into() });
        let batch = Batch::of(&[record]);
        let copy = Some(Append { topic: self.topic.name.clone(), partition, batch });
        Ok(Some(Redriving { letter, offer: None, copy }))
    }
}
