//! From which record on which model answers: noted when a swap takes effect, in the commit of the first batch that it answers.
//!
//! A swap is asked for at some moment; what counts is the record from which it holds. For each partition that is the first record that is
//! tried for the first time by the new model. With [`Ordering::Partition`](crate::Ordering) every record from there on is; those
//! before it were tried by an earlier model first, and only what is tried again is tried by the new one. With other orderings batches are
//! processed side by side, so that records around that place may be of either; each output names its model in any case. A record that is offered
//! again (redriven, or read again behind a seek) was tried before, whatever its attempts say.
//!
//! Where the stage has a journal (those of a server do), the note is a record in it, in the same commit as the outputs: there is one if and only if
//! they are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use embermq_protocol::names::TopicName;
use embermq_storage::Offset;
use parking_lot::Mutex;

use super::instances::{Failure, Outcome};
use super::processor::{Identity, Processor};
use crate::consume::Lease;
use crate::topic::PartitionId;

/// A processor, and how many there were before it.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub(super) processor: Arc<dyn Processor>,
    pub(super) generation: u64,
}

/// A model answers the records of a partition from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The partition of the input topic.
    pub partition: PartitionId,
    /// The first record that it was the first to try.
    pub offset: Offset,
    /// What answers.
    pub identity: Identity,
    /// What answered before, as `name@version`; `None`: nothing did.
    pub before: Option<String>,
}

/// Which model answers which partition now.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    latest: Mutex<BTreeMap<PartitionId, (u64, Takeover)>>,
    /// Up to where records of each partition were tried since the stage began.
    tried: Mutex<BTreeMap<PartitionId, Offset>>,
    pub(super) journal: Option<Journal>,
}

/// Where takeovers are noted.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) topic: TopicName,
    /// Makes the record of one.
    pub(super) record: fn(&super::StageSettings, &Takeover) -> crate::record::Record,
}

/// A takeover that is being committed, and what it puts an end to.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) takeover: Takeover,
    previous: Option<(u64, Takeover)>,
}

impl Takeovers {
    /// Goes on where an earlier process was.
    pub(super) fn new(known: Vec<Takeover>, journal: Option<Journal>) -> Self {
        let latest = known.into_iter().map(|takeover| (takeover.partition, (0, takeover)));
        Self { latest: Mutex::new(latest.collect()), tried: Mutex::default(), journal }
    }

    /// What a batch that this processor has answered begins; noted as if it was committed. [`undo`](Self::undo) takes it back.
    pub(super) fn begin(&self, by: &Installed, ended: &[(Lease, Outcome)]) -> Vec<Begun> {
        let firsts = self.firsts(ended);
        let identity = by.processor.identity();
        let mut latest = self.latest.lock();
        let mut begun = Vec::new();
        for (partition, offset) in firsts {
            let before = match latest.get_mut(&partition) {
                // A batch that was begun before the swap, and ends after it.
                Some((generation, _)) if *generation > by.generation => continue,
                Some((generation, known)) if known.identity == *identity => {
                    *generation = by.generation;
                    continue;
                }
                Some((_, known)) => Some(known.model()),
                None => None,
            };
            let takeover = Takeover { partition, offset, identity: identity.clone(), before };
            let previous = latest.insert(partition, (by.generation, takeover.clone()));
            begun.push(Begun { takeover, previous });
        }
        begun
    }

    /// The first record of each partition that nobody had tried.
    fn firsts(&self, ended: &[(Lease, Outcome)]) -> BTreeMap<PartitionId, Offset> {
        let mut tried = self.tried.lock();
        let mut firsts: BTreeMap<PartitionId, Offset> = BTreeMap::new();
        let of_it = |(_, outcome): &&(Lease, Outcome)| *outcome != Err(Failure::NotTried);
        let ended = || ended.iter().filter(of_it).map(|(lease, _)| lease);
        for lease in ended().filter(|lease| lease.attempt == 1) {
            if tried.get(&lease.partition).is_none_or(|tried| lease.offset >= *tried) {
                let first = firsts.entry(lease.partition).or_insert(lease.offset);
                *first = lease.offset.min(*first);
            }
        }
        for lease in ended() {
            let next = Offset(lease.offset.0 + 1);
            let tried = tried.entry(lease.partition).or_insert(next);
            *tried = next.max(*tried);
        }
        firsts
    }

    /// The batch was not committed.
    pub(super) fn undo(&self, begun: Vec<Begun>) {
        let mut latest = self.latest.lock();
        let mut tried = self.tried.lock();
        for Begun { takeover, previous } in begun {
            let partition = takeover.partition;
            // It begins there when it is tried once more.
            tried.insert(partition, takeover.offset);
            if latest.get(&partition).is_none_or(|(_, known)| *known != takeover) {
                continue;
            }
            match previous {
                Some(previous) => drop(latest.insert(partition, previous)),
                None => drop(latest.remove(&partition)),
            }
        }
    }

    /// The latest of each partition.
    pub(super) fn latest(&self) -> Vec<Takeover> {
        self.latest.lock().values().map(|(_, takeover)| takeover.clone()).collect()
    }
}

impl Takeover {
    /// `name@version`
    #[must_use]
    pub fn model(&self) -> String {
        format!("{}@{}", self.identity.name, self.identity.version)
    }
}

#[cfg(test)]
mod tests {
    use embermq_storage::Timestamp;

    use super::*;
    use crate::record::Record;
    use crate::stage::{Fault, Output};

    #[derive(Debug)]
    struct Named(Identity);

    impl Processor for Named {
        fn identity(&self) -> &Identity {
            &self.0
        }

        fn process(&self, _: &[Record]) -> Vec<Result<Output, Fault>> {
            Vec::new()
        }
    }

    fn installed(version: &str, generation: u64) -> Installed {
        let digest = version.repeat(64);
        let (name, version) = ("m".to_owned(), version.to_owned());
        let identity = Identity { name, version, digest, overrides: None };
        Installed { processor: Arc::new(Named(identity)), generation }
    }

    fn batch(places: &[(u64, u32)]) -> Vec<(Lease, Outcome)> {
        let one = |&(offset, attempt): &(u64, u32)| {
            let lease = Lease {
                token: String::new(),
                partition: PartitionId(0),
                offset: Offset(offset),
                attempt,
                deadline: Timestamp(0),
                first_leased: Timestamp(0),
                append_time: Timestamp(0),
                record: Record::new("x"),
            };
            let (code, message) = ("device".to_owned(), "gone".to_owned());
            (lease, Err(Failure::Fault(Fault { retryable: true, code, message })))
        };
        places.iter().map(one).collect()
    }

    #[test]
    fn a_record_that_is_offered_again_begins_nothing() {
        let takeovers = Takeovers::default();
        let (one, two) = (installed("1", 1), installed("2", 2));
        assert_eq!(begin(&takeovers, &one, &[(0, 1), (4, 1)]), [(0, "m@1".to_owned())]);
        assert_eq!(begin(&takeovers, &two, &[(0, 1)]), [], "redriven");
        assert_eq!(begin(&takeovers, &two, &[(4, 1), (5, 1)]), [(5, "m@2".to_owned())]);
    }

    fn begin(takeovers: &Takeovers, by: &Installed, places: &[(u64, u32)]) -> Vec<(u64, String)> {
        let begun = takeovers.begin(by, &batch(places));
        begun.iter().map(|b| (b.takeover.offset.0, b.takeover.model())).collect()
    }

    #[test]
    fn a_model_takes_over_at_the_first_record_that_it_is_the_first_to_try() {
        let takeovers = Takeovers::default();
        let (one, two) = (installed("1", 1), installed("2", 2));
        assert_eq!(begin(&takeovers, &one, &[(0, 1), (1, 1)]), [(0, "m@1".to_owned())]);
        assert_eq!(begin(&takeovers, &one, &[(2, 1)]), []);
        assert_eq!(begin(&takeovers, &two, &[(1, 2)]), [], "tried again only");
        assert_eq!(begin(&takeovers, &two, &[(1, 3), (4, 1), (3, 1)]), [(3, "m@2".to_owned())]);
        assert_eq!(takeovers.latest()[0].before.as_deref(), Some("m@1"));
        assert_eq!(begin(&takeovers, &one, &[(5, 1)]), [], "begun before the swap");
        assert_eq!(begin(&takeovers, &installed("2", 3), &[(6, 1)]), [], "the same model");
    }

    #[test]
    fn what_is_not_committed_has_not_begun() {
        let takeovers = Takeovers::default();
        let begun = takeovers.begin(&installed("1", 1), &batch(&[(0, 1)]));
        takeovers.undo(begun);
        assert_eq!(takeovers.latest(), []);
        begin(&takeovers, &installed("1", 1), &[(0, 1)]);
        let begun = takeovers.begin(&installed("2", 2), &batch(&[(1, 1)]));
        takeovers.undo(begun);
        assert_eq!(takeovers.latest()[0].model(), "m@1");
    }
}
