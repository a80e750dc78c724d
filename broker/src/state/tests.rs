//! The rules of the state machine, one question a test.

mod repeats;
mod schedules;

use std::time::Duration;

use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Position, Timestamp};

use super::*;
use crate::commit::{
    Append, Batch, Commit, Committed, IdempotencyKey, Precondition, ProducerStamp,
};
use crate::error::CommitError;
use crate::group::{
    Candidate, Examined, GrantEpoch, GroupSettings, KeyHash, Lease, LeaseRef, MemberId, Members,
    Place, Settlement, Verdict, Wish,
};
use crate::record::Record;
use crate::topic::{Durability, TopicEdit};

const BOUNDS: Bounds = Bounds {
    idempotency: Duration::from_secs(300),
    producer: Duration::from_secs(3_600),
    schedules_max: 3_000,
    idempotency_bytes_max: 16 << 10,
    producer_bytes_max: 16 << 10,
};

/// A state with its log, which only counts.
struct Machine {
    state: State,
    end: u64,
    now: Timestamp,
}

fn name(name: &str) -> TopicName {
    name.parse().unwrap()
}

impl Machine {
    fn with_topic(topic: &str, partitions: u32) -> Self {
        let mut machine = Self { state: State::default(), end: 0, now: Timestamp(1_000) };
        let settings = TopicSettings { partitions, ..TopicSettings::default() };
        let head =
            machine.state.decide_create(&name(topic), &settings, machine.now).unwrap().unwrap();
        machine.apply(&head);
        machine
    }

    fn apply(&mut self, head: &FrameHead) -> Effect {
        let effect = self.state.apply(head, Position(self.end)).unwrap();
        self.state.apply_groups(head).unwrap();
        self.state.apply_schedules(head).unwrap();
        self.end += 8;
        effect
    }

    fn commit(&mut self, commit: &Commit) -> Result<Option<Committed>, CommitError> {
        let mut head = FrameHead::default();
        match self.state.decide((commit, &Endings::default(), 0), self.now, BOUNDS, &mut head)? {
            Decision::Frame(_) => {
                self.apply(&head);
                Ok(None)
            }
            Decision::Repeat(original) => Ok(Some(original)),
        }
    }

    fn next(&self, topic: &str, partition: usize) -> u64 {
        self.state.named(&name(topic)).unwrap().partitions[partition].next.0
    }

    fn later(&mut self, by: Duration) {
        self.now.0 += i64::try_from(by.as_micros()).unwrap();
    }
}

fn records(topic: &str, partition: u32, count: usize) -> Commit {
    let batch = Batch::of(&vec![Record::new("v"); count]);
    Commit::of_batch(&name(topic), PartitionId(partition), batch)
}

fn produced(count: usize, id: u64, epoch: u32, sequence: u64) -> Commit {
    Commit { producer: Some(ProducerStamp { id, epoch, sequence }), ..records("t", 0, count) }
}

fn keyed(key: &str, fingerprint: u64) -> Commit {
    let key = IdempotencyKey { key: key.to_owned(), fingerprint };
    Commit { idempotency_key: Some(key), ..records("t", 0, 1) }
}

#[test]
fn offsets_are_dense_within_a_commit_too() {
    let mut machine = Machine::with_topic("t", 2);
    let mut commit = records("t", 0, 3);
    commit.appends.extend(records("t", 1, 1).appends);
    commit.appends.extend(records("t", 0, 2).appends);
    let mut head = FrameHead::default();
    machine
        .state
        .decide((&commit, &Endings::default(), 0), machine.now, BOUNDS, &mut head)
        .unwrap();
    let bases: Vec<u64> = head.appends.iter().map(|append| append.base_offset).collect();
    assert_eq!(bases, [0, 0, 3]);
    machine.apply(&head);
    assert_eq!((machine.next("t", 0), machine.next("t", 1)), (5, 1));
}

#[test]
fn offsets_are_dense_within_a_commit_of_many_parts() {
    let partitions: u32 = 1_000;
    let mut machine = Machine::with_topic("t", partitions);
    let batches = [1, 2, 3].map(|count| records("t", 0, count).appends.remove(0).batch);
    let mut commit = records("t", 7, 2);
    machine.commit(&commit).unwrap();
    let part = |number: u32| Append {
        topic: name("t"),
        partition: PartitionId(number * 7 % partitions),
        batch: batches[number as usize % batches.len()].clone(),
    };
    commit.appends = (0..10_000).map(part).collect();
    let mut head = FrameHead::default();
    let decided =
        machine.state.decide((&commit, &Endings::default(), 0), machine.now, BOUNDS, &mut head);
    assert!(matches!(decided, Ok(Decision::Frame(_))), "{decided:?}");
    let mut next = vec![0; partitions as usize];
    next[7] = 2;
    for (asked, given) in commit.appends.iter().zip(&head.appends) {
        let next = &mut next[asked.partition.0 as usize];
        assert_eq!((given.partition, given.base_offset), (asked.partition.0, *next));
        *next += u64::from(given.record_count);
    }
    machine.apply(&head);
    assert_eq!(next, (0..next.len()).map(|at| machine.next("t", at)).collect::<Vec<_>>());
}

#[test]
fn a_refused_commit_changes_nothing() {
    let mut machine = Machine::with_topic("t", 1);
    let conflict =
        Precondition::NextOffset { topic: name("t"), partition: PartitionId(0), offset: Offset(7) };
    let commit = Commit { preconditions: vec![conflict], ..records("t", 0, 1) };
    let refusal = machine.commit(&commit).unwrap_err();
    assert_eq!(refusal.to_string(), "next offset of t/0 expected 7, is 0");
    assert!(!refusal.retryable());
    assert_eq!(machine.next("t", 0), 0);
    assert!(matches!(machine.commit(&records("u", 0, 1)), Err(CommitError::TopicNotFound { .. })));
    assert!(matches!(
        machine.commit(&records("t", 1, 1)),
        Err(CommitError::PartitionNotFound { partitions: 1, .. })
    ));
    assert_eq!(machine.commit(&Commit::default()), Err(CommitError::Empty));
    assert_eq!(machine.commit(&records("t", 0, 0)), Err(CommitError::Empty));
}

#[test]
fn a_commit_is_as_durable_as_its_strictest_topic() {
    let mut machine = Machine::with_topic("strict", 1);
    let settings = TopicSettings { durability: Durability::Os, ..TopicSettings::default() };
    let head = machine.state.decide_create(&name("fast"), &settings, machine.now).unwrap().unwrap();
    machine.apply(&head);
    let mut head = FrameHead::default();
    let mut decide = |commit: &Commit| match machine.state.decide(
        (commit, &Endings::default(), 0),
        machine.now,
        BOUNDS,
        &mut head,
    ) {
        Ok(Decision::Frame(decided)) => decided.durability,
        other => panic!("{other:?}"),
    };
    assert_eq!(decide(&records("fast", 0, 1)), Durability::Os);
    assert_eq!(decide(&records("strict", 0, 1)), Durability::Fsync);
    let mut both = records("fast", 0, 1);
    both.appends.extend(records("strict", 0, 1).appends);
    assert_eq!(decide(&both), Durability::Fsync);
    let stronger = Commit { durability: Some(Durability::Fsync), ..records("fast", 0, 1) };
    assert_eq!(decide(&stronger), Durability::Fsync);
    let weaker = Commit { durability: Some(Durability::Os), ..records("strict", 0, 1) };
    assert_eq!(decide(&weaker), Durability::Fsync, "never weaker than the topic");
}

#[test]
fn a_producers_repeat_gets_the_original_offsets() {
    let mut machine = Machine::with_topic("t", 1);
    assert_eq!(machine.commit(&produced(3, 9, 0, 0)), Ok(None));
    assert_eq!(machine.commit(&produced(2, 9, 0, 3)), Ok(None));
    let first = machine.commit(&produced(3, 9, 0, 0)).unwrap().unwrap();
    let second = machine.commit(&produced(2, 9, 0, 3)).unwrap().unwrap();
    let place =
        |committed: &Committed| (committed.appends[0].base_offset.0, committed.appends[0].count);
    assert_eq!((place(&first), place(&second)), ((0, 3), (3, 2)));
    assert!(first.repeated && second.repeated);
    assert_eq!(machine.next("t", 0), 5);
}

#[test]
fn a_gap_in_a_producers_sequence_names_both_numbers() {
    let mut machine = Machine::with_topic("t", 1);
    let gap =
        |expected, received| Err(CommitError::SequenceGap { producer: 9, expected, received });
    assert_eq!(machine.commit(&produced(1, 9, 0, 4)), gap(0, 4));
    machine.commit(&produced(2, 9, 0, 0)).unwrap();
    assert_eq!(machine.commit(&produced(1, 9, 0, 3)), gap(2, 3));
    assert_eq!(machine.commit(&produced(1, 9, 0, 1)), gap(2, 1), "not the start of a commit");
    assert_eq!(
        machine.commit(&produced(3, 9, 0, 0)),
        gap(2, 0),
        "other records than the first time"
    );
}

#[test]
fn a_new_epoch_fences_the_old_one_and_starts_again() {
    let mut machine = Machine::with_topic("t", 1);
    machine.commit(&produced(2, 9, 1, 0)).unwrap();
    machine.commit(&produced(1, 9, 2, 0)).unwrap();
    let fenced = CommitError::Fenced { producer: 9, epoch: 1, current: 2 };
    assert_eq!(machine.commit(&produced(2, 9, 1, 2)), Err(fenced));
    assert_eq!(machine.commit(&produced(1, 9, 2, 1)), Ok(None));
    assert_eq!(machine.next("t", 0), 4);
}

#[test]
fn only_the_last_commits_of_a_producer_can_be_repeated() {
    let mut machine = Machine::with_topic("t", 1);
    for sequence in 0..20 {
        machine.commit(&produced(1, 9, 0, sequence)).unwrap();
    }
    let oldest = 20 - producers::REPEATABLE_COMMITS as u64;
    assert!(machine.commit(&produced(1, 9, 0, oldest)).unwrap().is_some());
    assert!(matches!(
        machine.commit(&produced(1, 9, 0, oldest - 1)),
        Err(CommitError::SequenceGap { .. })
    ));
}

#[test]
fn a_silent_producer_is_forgotten_and_an_active_one_is_not() {
    let mut machine = Machine::with_topic("t", 1);
    machine.commit(&produced(1, 1, 0, 0)).unwrap();
    machine.commit(&produced(1, 2, 0, 0)).unwrap();
    for sequence in 1..4 {
        machine.later(Duration::from_secs(1_800));
        machine.commit(&produced(1, 2, 0, sequence)).unwrap();
    }
    let known: Vec<u64> =
        machine.state.named(&name("t")).unwrap().producers.iter().map(|(id, _)| id).collect();
    assert_eq!(known, [2]);
    assert!(machine.commit(&produced(1, 2, 0, 3)).unwrap().is_some());
}

#[test]
fn an_idempotency_key_answers_a_repeat_and_refuses_another_payload() {
    let mut machine = Machine::with_topic("t", 1);
    assert_eq!(machine.commit(&keyed("k", 5)), Ok(None));
    let original = machine.commit(&keyed("k", 5)).unwrap().unwrap();
    assert!(original.repeated);
    assert_eq!(original.appends[0].base_offset, Offset(0));
    assert!(matches!(
        machine.commit(&keyed("k", 6)),
        Err(CommitError::IdempotencyKeyReused { .. })
    ));
    assert_eq!(machine.next("t", 0), 1);
    machine.later(Duration::from_secs(301));
    assert_eq!(machine.commit(&keyed("k", 6)), Ok(None), "its window is over");
    assert_eq!(machine.next("t", 0), 2);
}

#[test]
fn log_time_never_goes_back() {
    let mut machine = Machine::with_topic("t", 1);
    machine.now = Timestamp(5_000);
    machine.commit(&records("t", 0, 1)).unwrap();
    let mut head = FrameHead::default();
    machine
        .state
        .decide((&records("t", 0, 1), &Endings::default(), 0), Timestamp(10), BOUNDS, &mut head)
        .unwrap();
    assert_eq!(head.time_us, 5_000);
}

#[test]
fn a_topic_is_created_once_and_a_difference_is_named() {
    let machine = Machine::with_topic("t", 2);
    let same = TopicSettings { partitions: 2, ..TopicSettings::default() };
    assert_eq!(machine.state.decide_create(&name("t"), &same, machine.now), Ok(None));
    let other = TopicSettings { partitions: 3, ..TopicSettings::default() };
    let refusal = machine.state.decide_create(&name("t"), &other, machine.now).unwrap_err();
    assert_eq!(refusal.to_string(), "topic t exists with other settings: partitions is 2, not 3");
    let none = TopicSettings { partitions: 0, ..TopicSettings::default() };
    assert!(matches!(
        machine.state.decide_create(&name("u"), &none, machine.now),
        Err(CommitError::Invalid { .. })
    ));
}

#[test]
fn partitions_grow_and_never_shrink() {
    let mut machine = Machine::with_topic("t", 2);
    let edit = |partitions| TopicEdit { partitions: Some(partitions), ..TopicEdit::default() };
    let grow = machine.state.decide_edit(&name("t"), &edit(4), machine.now).unwrap().unwrap();
    machine.apply(&grow);
    machine.commit(&records("t", 3, 1)).unwrap();
    assert_eq!(machine.next("t", 3), 1);
    assert!(matches!(
        machine.state.decide_edit(&name("t"), &edit(1), machine.now),
        Err(CommitError::Invalid { .. })
    ));
    assert_eq!(machine.state.decide_edit(&name("t"), &TopicEdit::default(), machine.now), Ok(None));
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_gets_a_new_number() {
    let mut machine = Machine::with_topic("t", 1);
    machine.commit(&records("t", 0, 1)).unwrap();
    let delete = machine.state.decide_delete(&name("t"), machine.now).unwrap();
    let Effect::Deleted(old, None) = machine.apply(&delete) else { panic!("not deleted") };
    assert!(matches!(machine.commit(&records("t", 0, 1)), Err(CommitError::TopicNotFound { .. })));
    let create = machine.state.decide_create(&name("t"), &TopicSettings::default(), machine.now);
    let Effect::Created(new) = machine.apply(&create.unwrap().unwrap()) else {
        panic!("not created")
    };
    assert_ne!(old, new);
    assert_eq!(machine.next("t", 0), 0);
}

#[test]
fn a_state_survives_its_snapshot_whole() {
    let mut machine = Machine::with_topic("t", 3);
    machine.commit(&produced(3, 9, 1, 0)).unwrap();
    machine.commit(&produced(1, 9, 1, 3)).unwrap();
    machine.commit(&keyed("k", 5)).unwrap();
    machine.commit(&records("t", 2, 4)).unwrap();
    let trim = machine.state.decide_trim(TopicId(0), PartitionId(0), Offset(2), machine.now);
    machine.apply(&trim);
    let (first, saved) = (machine.state.clone(), save(&machine.state));
    let loaded = load(&saved);
    assert_eq!(save(&loaded), saved);
    // And it goes on as the original does.
    machine.state = loaded;
    assert!(machine.commit(&produced(1, 9, 1, 3)).unwrap().is_some());
    assert!(machine.commit(&keyed("k", 5)).unwrap().is_some());
    assert_eq!(machine.state.time, first.time);
    assert_eq!(machine.next("t", 2), 4);
}

fn load(saved: &[bytes::Bytes]) -> State {
    let mut loaded = State::default();
    for record in saved {
        loaded.load(record.clone()).unwrap();
    }
    loaded
}

fn save(state: &State) -> Vec<bytes::Bytes> {
    use prost::Message;
    let mut saved = Vec::new();
    let done: Result<(), ()> = state.save(&|_, _| None, &mut |record| {
        saved.push(record.encode_to_vec().into());
        Ok(())
    });
    done.unwrap();
    saved
}

#[test]
fn an_append_of_two_topics_is_remembered_with_the_first() {
    let mut machine = Machine::with_topic("t", 1);
    let create = machine.state.decide_create(&name("u"), &TopicSettings::default(), machine.now);
    machine.apply(&create.unwrap().unwrap());
    let mut commit = produced(1, 9, 0, 0);
    let second = Batch::of(&[Record::new("v")]);
    commit.appends.push(Append { topic: name("u"), partition: PartitionId(0), batch: second });
    assert_eq!(machine.commit(&commit), Ok(None));
    let repeat = machine.commit(&commit).unwrap().unwrap();
    let topics: Vec<&str> = repeat.appends.iter().map(|append| append.topic.as_str()).collect();
    assert_eq!(topics, ["t", "u"]);
    assert_eq!((machine.next("t", 0), machine.next("u", 0)), (1, 1));
}

#[test]
fn letters_are_no_part_of_what_a_producer_sent() {
    let mut machine = Machine::with_topic("t", 1);
    let settings = TopicSettings::default();
    for topic in ["fast", "letters"] {
        let durability = if topic == "fast" { Durability::Os } else { Durability::Fsync };
        let settings = TopicSettings { durability, ..settings.clone() };
        let head =
            machine.state.decide_create(&name(topic), &settings, machine.now).unwrap().unwrap();
        machine.apply(&head);
    }
    machine.commit(&records("t", 0, 1)).unwrap();
    let new = NewGroup {
        topic: name("t"),
        name: "g".parse().unwrap(),
        settings: GroupSettings::default(),
        starts: vec![Offset(0)],
        secret: 1,
    };
    let partition = PartitionId(0);
    let candidates = vec![Candidate { offset: Offset(0), key: Default::default() }];
    let examined = vec![Examined { partition, from: Offset(0), candidates, end: Offset(1) }];
    let wish = Wish { member: Default::default(), records_max: 1, lease_us: None };
    let group = GroupId(0);
    let members = Members::default();
    for request in [
        GroupRequest::Create(Box::new(new)),
        GroupRequest::Grant { group, wish, examined, members },
    ] {
        let mut head = FrameHead::default();
        machine.state.decide_group(&request, 0, machine.now, &mut head).unwrap();
        machine.apply(&head);
    }
    let place = Place { partition, offset: Offset(0) };
    let lease = LeaseRef { place, attempt: 1, epoch: GrantEpoch(1) };
    let verdict = Verdict::Reject;
    let letter = records("letters", 0, 1).appends.remove(0);
    let ending = Ending { group, settlement: Settlement { lease, verdict }, letter: Some(letter) };
    let endings = Endings { items: vec![ending], all_or_nothing: true };
    let stamp = ProducerStamp { id: 9, epoch: 0, sequence: 0 };
    let commit = Commit { producer: Some(stamp), ..records("fast", 0, 2) };
    let mut head = FrameHead::default();
    let decided =
        machine.state.decide((&commit, &endings, 0), machine.now, BOUNDS, &mut head).unwrap();
    let Decision::Frame(decided) = decided else { panic!("{decided:?}") };
    assert_eq!(decided.durability, Durability::Fsync, "as durable as what is acknowledged");
    machine.apply(&head);
    assert_eq!((machine.next("fast", 0), machine.next("letters", 0)), (2, 1));
    assert_eq!(machine.state.group(group).unwrap().letters.count(), 1);
    let next =
        Commit { producer: Some(ProducerStamp { sequence: 2, ..stamp }), ..records("fast", 0, 1) };
    assert_eq!(machine.commit(&next), Ok(None), "the letter was not counted");
    let repeat = machine.commit(&commit).unwrap().unwrap();
    assert_eq!(repeat.appends.len(), 1);
}

#[test]
fn a_commit_that_only_settles_is_recognised_whatever_the_order_of_its_groups() {
    let mut machine = Machine::with_topic("t", 1);
    let settings = TopicSettings::default();
    let head = machine.state.decide_create(&name("u"), &settings, machine.now).unwrap().unwrap();
    machine.apply(&head);
    let ask = |machine: &mut Machine, request: GroupRequest| {
        let mut head = FrameHead::default();
        let made = machine.state.decide_group(&request, 0, machine.now, &mut head).unwrap().0;
        machine.apply(&head);
        made
    };
    let mut items: Vec<Ending> = ["t", "u"]
        .into_iter()
        .map(|topic| {
            let new = NewGroup {
                topic: name(topic),
                name: "g".parse().unwrap(),
                settings: GroupSettings::default(),
                starts: Vec::new(),
                secret: 7,
            };
            machine.commit(&records(topic, 0, 1)).unwrap();
            let Made::Group(group, _) = ask(&mut machine, GroupRequest::Create(Box::new(new)))
            else {
                panic!("a group is made")
            };
            let candidates = vec![Candidate { offset: Offset(0), key: KeyHash::NONE }];
            let (partition, from, end) = (PartitionId(0), Offset(0), Offset(1));
            let examined = vec![Examined { partition, from, candidates, end }];
            let wish = Wish { member: MemberId(1), records_max: 1, lease_us: None };
            let members = Members::default();
            let grant = GroupRequest::Grant { group, wish, examined, members };
            let Made::Leases(leases, _) = ask(&mut machine, grant) else {
                panic!("a lease is granted")
            };
            let Lease { place, attempt, epoch, .. } = leases[0];
            let lease = LeaseRef { place, attempt, epoch };
            let settlement = Settlement { lease, verdict: Verdict::Ack };
            Ending { group, settlement, letter: None }
        })
        .collect();
    items.reverse();
    let endings = Endings { items, all_or_nothing: true };
    let commit = Commit { appends: Vec::new(), ..keyed("once", 1) };
    let mut head = FrameHead::default();
    let first = machine.state.decide((&commit, &endings, 0), machine.now, BOUNDS, &mut head);
    assert!(matches!(first, Ok(Decision::Frame(_))), "{first:?}");
    machine.apply(&head);
    let again = machine.state.decide((&commit, &endings, 0), machine.now, BOUNDS, &mut head);
    assert!(matches!(again, Ok(Decision::Repeat(_))), "{again:?}");
}
