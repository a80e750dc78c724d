//! Leases that a commit settles: which of them are the caller's, and what becomes of each.

use embermq_storage::Timestamp;

use super::State;
use super::groups::GroupId;
use crate::commit::{Append, Commit};
use crate::error::CommitError;
use crate::frame::{FrameHead, GroupChange, GroupEvent, GroupLetters};
use crate::group::{Outcome, Settlement};

/// A lease to be settled.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) group: GroupId,
    pub(crate) settlement: Settlement,
    /// Its dead letter, for the case that it becomes one.
    pub(crate) letter: Option<Append>,
}

impl Ending {
    /// Bytes of its letter.
    pub(crate) fn letter_bytes(&self) -> u64 {
        self.letter.as_ref().map_or(0, |letter| letter.batch.body.len() as u64)
    }
}

/// The leases of one commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endings {
    pub(crate) items: Vec<Ending>,
    /// One that is stale refuses the whole commit.
    pub(crate) all_or_nothing: bool,
}

/// What becomes of them.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// One for each.
    pub(crate) outcomes: Vec<Outcome>,
    /// Those whose letter is written: indexes, in the order of their appends, which follow the commit's own.
    pub(crate) letters: Vec<usize>,
}

impl State {
    /// Decides on the endings and puts what they change into `head`, but for the appends of the letters.
    pub(super) fn decide_endings(
        &self,
        endings: &Endings,
        seed: u64,
        now: Timestamp,
        head: &mut FrameHead,
    ) -> Result<Ended, CommitError> {
        let items = &endings.items;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; items.len()];
        let mut groups: Vec<GroupId> = items.iter().map(|item| item.group).collect();
        groups.sort_unstable();
        groups.dedup();
        for id in groups {
            let (at, settlements): (Vec<usize>, Vec<Settlement>) = items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.group == id)
                .map(|(index, item)| (index, item.settlement))
                .unzip();
            let Some(state) = self.group(id) else {
                let index = at.first().copied().unwrap_or_default();
                let detail = "its group was deleted".to_owned();
                return Err(CommitError::LeaseLost { index, detail });
            };
            let settled = state.group.decide_settle(id.0, &settlements, seed, now);
            for (index, outcome) in at.iter().zip(&settled.outcomes) {
                outcomes[*index] = Some(*outcome);
            }
            if !settled.event.is_empty() {
                let event = Some(GroupEvent::Settled(settled.event));
                head.groups.push(GroupChange { event });
            }
        }
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        let mut letters = Vec::new();
        for (index, (item, outcome)) in items.iter().zip(&outcomes).enumerate() {
            match outcome {
                Outcome::Stale(stale) if endings.all_or_nothing => {
                    let detail = stale.to_string();
                    return Err(CommitError::LeaseLost { index, detail });
                }
                Outcome::Dead(_) if item.letter.is_none() => {
                    return Err(CommitError::GroupChanged { index });
                }
                Outcome::Dead(_) => letters.push(index),
                _ => {}
            }
        }
        Ok(Ended { outcomes, letters })
    }

    /// The appends of a commit, then those that it schedules, then those of the letters that are written.
    pub(crate) fn sources<'a>(
        commit: &'a Commit,
        endings: &'a Endings,
        ended: &'a Ended,
    ) -> impl Iterator<Item = &'a Append> + Clone {
        let letters = ended.letters.iter().filter_map(|index| endings.items.get(*index));
        let scheduled = commit.scheduled.iter().map(|scheduled| &scheduled.append);
        let own = commit.appends.iter().chain(scheduled);
        own.chain(letters.filter_map(|item| item.letter.as_ref()))
    }
}

/// Notes the letters that a frame writes with their groups: `head.appends` from `first` on.
pub(super) fn note_letters(endings: &Endings, ended: &Ended, first: usize, head: &mut FrameHead) {
    let mut written: Vec<(GroupId, u64)> = ended
        .letters
        .iter()
        .zip(head.appends.iter().skip(first))
        .map(|(index, append)| (endings.items[*index].group, append.base_offset))
        .collect();
    written.sort_unstable();
    for of_one in written.chunk_by(|one, other| one.0 == other.0) {
        let written = of_one.iter().map(|(_, offset)| *offset).collect();
        let letters = GroupLetters { group: of_one[0].0.0, written, ended: Vec::new() };
        head.groups.push(GroupChange { event: Some(GroupEvent::Letters(letters)) });
    }
}
