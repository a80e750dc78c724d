//! A group as a stream of records, and back.
//!
//! Order: its settings, then its cursors, then its open records, in chunks that stay small. Indexes are not kept, they
//! follow.

use embermq_storage::{Offset, Timestamp};
use prost::Message;

use super::event::StoredGroupSettings;
use super::open::{GrantEpoch, KeyHash, MemberId, Open, OpenState, Place};
use super::{Cursor, Group};
use crate::frame::FrameMalformed;
use crate::topic::PartitionId;

/// Cursors in one record: up to some 40 bytes each.
const CURSORS_PER_RECORD: usize = 1_024;
/// Open records in one record: up to some 80 bytes each.
const OPEN_PER_RECORD: usize = 512;

/// One record of a snapshot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptGroupRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    #[prost(oneof = "Kept", tags = "2, 3, 4")]
    kept: Option<Kept>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kept {
    #[prost(message, tag = "2")]
    Settings(KeptSettings),
    #[prost(message, tag = "3")]
    Cursors(KeptCursors),
    #[prost(message, tag = "4")]
    Open(KeptOpen),
}

#[derive(Clone, PartialEq, Message)]
struct KeptSettings {
    #[prost(message, required, tag = "1")]
    settings: StoredGroupSettings,
    #[prost(uint64, tag = "2")]
    epoch_next: u64,
}

#[derive(Clone, PartialEq, Message)]
struct KeptCursors {
    #[prost(message, repeated, tag = "1")]
    cursors: Vec<KeptCursor>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct KeptCursor {
    #[prost(uint64, tag = "1")]
    next: u64,
    #[prost(uint64, tag = "2")]
    batch: u64,
    #[prost(fixed64, tag = "3")]
    member: u64,
}

#[derive(Clone, PartialEq, Message)]
struct KeptOpen {
    #[prost(message, repeated, tag = "1")]
    records: Vec<KeptOpenRecord>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct KeptOpenRecord {
    #[prost(uint32, tag = "1")]
    partition: u32,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint32, tag = "3")]
    attempts: u32,
    #[prost(fixed64, tag = "4")]
    key: u64,
    #[prost(sfixed64, tag = "5")]
    first_granted_us: i64,
    /// When the lease or the wait ends; neither if the record is held.
    #[prost(sfixed64, optional, tag = "6")]
    due_us: Option<i64>,
    /// 0 unless it is leased.
    #[prost(uint64, tag = "7")]
    epoch: u64,
    #[prost(fixed64, tag = "8")]
    member: u64,
}

impl Group {
    /// The group as records of a snapshot.
    pub(crate) fn kept(&self, group: u32) -> impl Iterator<Item = KeptGroupRecord> {
        let settings = KeptSettings {
            settings: StoredGroupSettings::of(&self.settings),
            epoch_next: self.epoch_next.0,
        };
        let cursors = chunks(self.cursors.iter().map(KeptCursor::of), CURSORS_PER_RECORD);
        let open = self.open.iter().map(|(place, open)| KeptOpenRecord::of(*place, open));
        let open = chunks(open, OPEN_PER_RECORD);
        std::iter::once(Kept::Settings(settings))
            .chain(cursors.map(|cursors| Kept::Cursors(KeptCursors { cursors })))
            .chain(open.map(|records| Kept::Open(KeptOpen { records })))
            .map(move |kept| KeptGroupRecord { group, kept: Some(kept) })
    }

    /// Takes in one record of a snapshot, in the order in which they were kept: the first begins the group.
    ///
    /// # Errors
    /// When the records do not hold together.
    pub(crate) fn load(
        group: &mut Option<Self>,
        record: &KeptGroupRecord,
    ) -> Result<(), FrameMalformed> {
        let malformed = |what: &str| FrameMalformed(format!("snapshot of a group: {what}"));
        match (&record.kept, group) {
            (Some(Kept::Settings(kept)), group) => {
                let mut begun = Self::new(kept.settings.to_settings()?, []);
                begun.epoch_next = GrantEpoch(kept.epoch_next);
                *group = Some(begun);
            }
            (Some(Kept::Cursors(kept)), Some(group)) => {
                group.cursors.extend(kept.cursors.iter().copied().map(KeptCursor::to_cursor));
            }
            (Some(Kept::Open(kept)), Some(group)) => {
                for kept in &kept.records {
                    group
                        .load_open(kept)
                        .ok_or_else(|| malformed("an open record is misplaced"))?;
                }
            }
            (Some(_), None) => return Err(malformed("it begins without settings")),
            (None, _) => return Err(malformed("a record of an unknown kind")),
        }
        Ok(())
    }

    fn load_open(&mut self, kept: &KeptOpenRecord) -> Option<()> {
        let (place, open) = kept.to_open();
        let second_head = open.state != OpenState::Held && self.keys.is_taken(open.key);
        if place.offset >= self.next(place.partition)? || second_head {
            return None;
        }
        self.put(place, Some(open));
        self.refresh_turn(place.partition);
        Some(())
    }
}

/// Everything that `items` give, `most` at a time.
fn chunks<T>(mut items: impl Iterator<Item = T>, most: usize) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let chunk: Vec<T> = items.by_ref().take(most).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

impl KeptCursor {
    fn of(cursor: &Cursor) -> Self {
        Self { next: cursor.next.0, batch: cursor.batch.0, member: cursor.member.0 }
    }

    fn to_cursor(self) -> Cursor {
        Cursor {
            next: Offset(self.next),
            open: 0,
            batch: GrantEpoch(self.batch),
            member: MemberId(self.member),
        }
    }
}

impl KeptOpenRecord {
    fn of(place: Place, open: &Open) -> Self {
        let (due, epoch, member) = match open.state {
            OpenState::Leased { deadline, epoch, member } => (Some(deadline), epoch, member),
            OpenState::Waiting { until } => (Some(until), GrantEpoch(0), MemberId::NONE),
            OpenState::Held => (None, GrantEpoch(0), MemberId::NONE),
        };
        Self {
            partition: place.partition.0,
            offset: place.offset.0,
            attempts: open.attempts,
            key: open.key.0,
            first_granted_us: open.first_granted.0,
            due_us: due.map(|due| due.0),
            epoch: epoch.0,
            member: member.0,
        }
    }

    fn to_open(self) -> (Place, Open) {
        let partition = PartitionId(self.partition);
        let state = match (self.due_us.map(Timestamp), GrantEpoch(self.epoch)) {
            (None, _) => OpenState::Held,
            (Some(until), GrantEpoch(0)) => OpenState::Waiting { until },
            (Some(deadline), epoch) => {
                OpenState::Leased { deadline, epoch, member: MemberId(self.member) }
            }
        };
        let open = Open {
            attempts: self.attempts,
            key: KeyHash(self.key),
            first_granted: Timestamp(self.first_granted_us),
            state,
        };
        (Place { partition, offset: Offset(self.offset) }, open)
    }
}
