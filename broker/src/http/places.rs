//! From the result of a commit to what each of its portions is told.

use embermq_protocol::{time, v1};

use crate::{Appended, Arranged, Committed, Schedule};

/// Where what was committed went, to be given out to the portions in their order.
#[derive(Clone, Debug)]
pub(super) struct Places<'c> {
    committed: &'c Committed,
    appended: usize,
    arranged: usize,
}

impl<'c> Places<'c> {
    pub(super) const fn of(committed: &'c Committed) -> Self {
        Self { committed, appended: 0, arranged: 0 }
    }

    /// Whether nothing was committed now.
    pub(super) const fn of_repeat(&self) -> bool {
        self.committed.repeated
    }

    /// The next one of what was to be put off, or was not, and how many partitions its topic had, if this is a repeat.
    pub(super) fn next(&mut self, put_off: bool) -> Option<(v1::AppendResult, Option<u32>)> {
        let committed = self.committed;
        let now = (!put_off).then(|| committed.appends.get(self.appended)).flatten();
        if let Some(appended) = now {
            self.appended += 1;
            let partitions = committed.partitions.get(self.appended - 1).copied();
            return Some((result(committed, appended), partitions));
        }
        // A repeat that asks for now what was put off gets the schedule.
        let arranged = match committed.scheduled.get(self.arranged)? {
            Arranged::Appended(appended) => result(committed, appended),
            Arranged::Scheduled(schedule) => scheduled_result(committed, schedule),
        };
        let partitions = committed.partitions.get(committed.appends.len() + self.arranged).copied();
        self.arranged += 1;
        Some((arranged, partitions))
    }
}

fn result(committed: &Committed, appended: &Appended) -> v1::AppendResult {
    v1::AppendResult {
        topic: appended.topic.as_str().to_owned(),
        partition: appended.partition.0,
        base_offset: appended.base_offset.0,
        count: appended.count,
        repeated_request: committed.repeated,
        append_time_us: committed.time.0,
        ..v1::AppendResult::default()
    }
}

fn scheduled_result(committed: &Committed, schedule: &Schedule) -> v1::AppendResult {
    v1::AppendResult {
        topic: schedule.topic.as_str().to_owned(),
        partition: schedule.partition.0,
        count: schedule.count,
        repeated_request: committed.repeated,
        append_time_us: committed.time.0,
        schedule: schedule.id.to_string(),
        deliver_at: Some(time::Timestamp::from_micros(schedule.id.due.0)),
        ..v1::AppendResult::default()
    }
}
