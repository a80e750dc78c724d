//! The rules of what is appended later.

use super::*;
use crate::commit::{Arranged, ScheduleRef, Scheduled};
use crate::schedule::ScheduleId;

fn with_store() -> Machine {
    let mut machine = Machine::with_topic("t", 2);
    let settings = store_settings(&machine.state.named(&name("t")).unwrap().settings);
    create(&mut machine, "t.scheduled", &settings);
    machine
}

fn create(machine: &mut Machine, topic: &str, settings: &TopicSettings) {
    let head = machine.state.decide_create(&name(topic), settings, machine.now).unwrap().unwrap();
    machine.apply(&head);
}

/// `count` records for partition 1 of `t`, at `due`.
fn later(due: i64, count: usize) -> Commit {
    let append = records("t", 1, count).appends.remove(0);
    let scheduled = vec![Scheduled { append, deliver_at: Timestamp(due) }];
    Commit { scheduled, ..Commit::default() }
}

fn cancel(ids: &[ScheduleId]) -> Commit {
    let cancels = ids.iter().map(|id| ScheduleRef { topic: name("t"), id: *id });
    Commit { cancels: cancels.collect(), ..Commit::default() }
}

fn id(due: i64, seq: u64) -> ScheduleId {
    ScheduleId { due: Timestamp(due), seq }
}

fn pending(machine: &Machine) -> Vec<ScheduleId> {
    let topic = machine.state.named(&name("t")).unwrap();
    topic.schedules.behind(None).map(|(id, _)| id).collect()
}

fn deliver(machine: &mut Machine, ids: &[ScheduleId], purpose: Purpose) -> u64 {
    let topic = machine.state.named(&name("t")).unwrap().id;
    let append = || records("t", 1, 1).appends.remove(0);
    let items = ids.iter().map(|id| (*id, Some(append()))).collect();
    let request = GroupRequest::Deliver(Delivery { topic, purpose, items });
    let mut head = FrameHead::default();
    let (made, ended) = machine.state.decide_group(&request, 0, machine.now, &mut head).unwrap();
    let sources = machine.state.group_sources(&request, &ended).len();
    assert_eq!(sources, head.appends.len(), "a body for each append");
    if !head.is_empty() {
        machine.apply(&head);
    }
    match made {
        Made::Delivered(records) => records,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_put_off_goes_into_the_store_and_appears_once() {
    let mut machine = with_store();
    machine.commit(&later(9_000, 1)).unwrap();
    machine.commit(&later(8_000, 1)).unwrap();
    assert_eq!((machine.next("t", 1), machine.next("t.scheduled", 1)), (0, 2));
    assert_eq!(pending(&machine), [id(8_000, 1), id(9_000, 0)]);
    let both = pending(&machine);
    assert_eq!(deliver(&mut machine, &both, Purpose::Deliver), 2);
    assert_eq!(deliver(&mut machine, &both, Purpose::Deliver), 0, "it was delivered");
    assert_eq!((machine.next("t", 1), pending(&machine).len()), (2, 0));
}

#[test]
fn what_is_due_already_is_appended_at_once() {
    let mut machine = with_store();
    let mut commit = later(1_000, 1);
    commit.scheduled.extend(later(1_001, 2).scheduled);
    commit.appends.extend(records("t", 0, 1).appends);
    let mut head = FrameHead::default();
    machine
        .state
        .decide((&commit, &Endings::default(), 0), machine.now, BOUNDS, &mut head)
        .unwrap();
    machine.apply(&head);
    let arranged = arranged(&commit.scheduled, 1, &head);
    assert!(matches!(&arranged[0], Arranged::Appended(at) if at.base_offset == Offset(0)));
    assert!(
        matches!(&arranged[1], Arranged::Scheduled(one) if one.id == id(1_001, 0) && one.count == 2)
    );
    assert_eq!((machine.next("t", 0), machine.next("t", 1)), (1, 1));
}

#[test]
fn a_repeat_gets_the_same_schedule_also_when_its_time_has_come() {
    let mut machine = with_store();
    let stamp = ProducerStamp { id: 9, epoch: 0, sequence: 0 };
    let produced = Commit { producer: Some(stamp), ..later(2_000, 3) };
    let key = IdempotencyKey { key: "k".to_owned(), fingerprint: 1 };
    let keyed = Commit { idempotency_key: Some(key), ..later(3_000, 1) };
    assert_eq!(machine.commit(&produced), Ok(None));
    assert_eq!(machine.commit(&keyed), Ok(None));
    machine.later(Duration::from_secs(1));
    for saved in [false, true] {
        if saved {
            machine.state = load(&save(&machine.state));
        }
        for (commit, expected) in [(&produced, id(2_000, 0)), (&keyed, id(3_000, 1))] {
            let repeat = machine.commit(commit).unwrap().unwrap();
            let [Arranged::Scheduled(schedule)] = &*repeat.scheduled else { panic!("{repeat:?}") };
            assert!(repeat.appends.is_empty());
            assert_eq!((schedule.id, schedule.topic.as_str()), (expected, "t"));
        }
    }
    assert_eq!((machine.next("t", 1), machine.next("t.scheduled", 1)), (0, 4));
    let next = ProducerStamp { sequence: 3, ..stamp };
    let next = Commit { producer: Some(next), ..records("t", 0, 1) };
    assert_eq!(machine.commit(&next), Ok(None), "scheduled records were counted");
}

#[test]
fn cancelling_is_all_or_nothing() {
    let mut machine = with_store();
    machine.commit(&later(8_000, 1)).unwrap();
    machine.commit(&later(9_000, 1)).unwrap();
    let gone = id(8_000, 7);
    let refusal = machine.commit(&cancel(&[id(8_000, 0), gone])).unwrap_err();
    let expected = CommitError::ScheduleNotFound { topic: name("t"), schedule: gone.to_string() };
    assert_eq!(refusal, expected);
    assert!(machine.commit(&cancel(&[id(8_000, 0), id(8_000, 0)])).is_err(), "twice the same");
    assert_eq!(pending(&machine).len(), 2);
    // Another time instead.
    let moved = Commit { cancels: cancel(&[id(8_000, 0)]).cancels, ..later(9_500, 1) };
    machine.commit(&moved).unwrap();
    assert_eq!(pending(&machine), [id(9_000, 1), id(9_500, 2)]);
    assert!(machine.commit(&cancel(&[id(8_000, 0)])).is_err(), "it was cancelled");
    assert_eq!(deliver(&mut machine, &[id(8_000, 0)], Purpose::Deliver), 0);
    assert_eq!(machine.next("t", 1), 0);
}

#[test]
fn a_straggler_moves_and_keeps_its_id() {
    let mut machine = with_store();
    machine.commit(&later(8_000, 1)).unwrap();
    let held = |machine: &Machine| {
        machine.state.named(&name("t")).unwrap().schedules.get(id(8_000, 0)).unwrap().offset
    };
    assert_eq!(held(&machine), 0);
    assert_eq!(deliver(&mut machine, &[id(8_000, 0)], Purpose::Move), 1);
    assert_eq!((held(&machine), pending(&machine)), (1, vec![id(8_000, 0)]));
    assert_eq!(machine.state.named(&name("t")).unwrap().schedules.records(), 1);
    assert_eq!((machine.next("t", 1), machine.next("t.scheduled", 1)), (0, 2));
}

#[test]
fn a_topic_in_the_way_of_a_store_is_named() {
    let mut machine = Machine::with_topic("t", 2);
    assert!(matches!(machine.commit(&later(9_000, 1)), Err(CommitError::TopicNotFound { .. })));
    create(
        &mut machine,
        "t.scheduled",
        &TopicSettings { partitions: 2, ..TopicSettings::default() },
    );
    let refusal = machine.commit(&later(9_000, 1)).unwrap_err();
    let expected = "topic t.scheduled exists with other settings: its retention has a bound, but what is scheduled is kept in it \
                    until it is delivered; set compact to false and retention to unbounded";
    assert_eq!(refusal.to_string(), expected);
    let long = "a".repeat(240);
    assert!(store_name(&name(&long)).unwrap_err().to_string().contains("too long"));
}

#[test]
fn a_store_in_use_keeps_what_it_holds_and_goes_with_its_topic() {
    let mut machine = with_store();
    machine.commit(&later(9_000, 2)).unwrap();
    let store = name("t.scheduled");
    let refusal = machine.state.decide_delete(&store, machine.now).unwrap_err();
    let expected = "topic t.scheduled keeps 2 scheduled records of topic t, so it cannot be deleted alone; cancel them, or delete \
                    t with all it has";
    assert_eq!(refusal.to_string(), expected);
    let age = Some(Some(Duration::from_secs(1)));
    let edit = TopicEdit { retention_age: age, ..TopicEdit::default() };
    assert!(machine.state.decide_edit(&store, &edit, machine.now).is_err());
    let edit = TopicEdit { partitions: Some(3), ..TopicEdit::default() };
    assert!(machine.state.decide_edit(&store, &edit, machine.now).is_ok());
    let (target, store_id) = (TopicId(0), machine.state.named(&store).unwrap().id);
    let delete = machine.state.decide_delete(&name("t"), machine.now).unwrap();
    assert_eq!(machine.apply(&delete), Effect::Deleted(target, Some(store_id)));
    assert!(machine.state.named(&store).is_none());
    // One that holds nothing may go alone.
    let mut machine = with_store();
    machine.commit(&later(9_000, 2)).unwrap();
    machine.commit(&cancel(&[id(9_000, 0)])).unwrap();
    assert!(machine.state.decide_delete(&store, machine.now).is_ok());
}

#[test]
fn schedules_survive_a_snapshot() {
    let mut machine = with_store();
    for due in 0..2_500 {
        machine.commit(&later(5_000 + due % 7, 1)).unwrap();
    }
    let first = pending(&machine)[0];
    machine.commit(&cancel(&[first])).unwrap();
    let saved = save(&machine.state);
    let kept = |kind: fn(&snapshot::Kept) -> bool| {
        use prost::Message;
        let records = saved
            .iter()
            .map(|record| snapshot::SnapshotRecord::decode(record.clone()).unwrap().kept.unwrap());
        records.filter(kind).count()
    };
    assert_eq!(kept(|kept| matches!(kept, snapshot::Kept::Schedules(_))), 3);
    let loaded = load(&saved);
    assert_eq!(save(&loaded), saved);
    let schedules = |state: &State| state.named(&name("t")).unwrap().schedules.clone();
    let all = |state: &State| schedules(state).behind(None).collect::<Vec<_>>();
    assert_eq!(all(&loaded), all(&machine.state));
    assert_eq!(schedules(&loaded).seq_next(), 2_500);
    assert_eq!(schedules(&loaded).records(), 2_499);
    assert_eq!(schedules(&loaded).store(), schedules(&machine.state).store());
    // Numbers are not given twice, also when nothing is pending.
    let mut machine = with_store();
    machine.commit(&later(9_000, 1)).unwrap();
    deliver(&mut machine, &[id(9_000, 0)], Purpose::Deliver);
    machine.state = load(&save(&machine.state));
    machine.commit(&later(9_000, 1)).unwrap();
    assert_eq!(pending(&machine), [id(9_000, 1)]);
}

#[test]
fn a_topic_that_has_something_of_its_own_becomes_no_store() {
    let mut machine = with_store();
    machine.commit(&records("t.scheduled", 0, 1)).unwrap();
    let refused = machine.commit(&later(9_000, 1));
    assert!(matches!(refused, Err(CommitError::TopicExists { .. })), "{refused:?}");
    assert!(pending(&machine).is_empty());
}

#[test]
fn nothing_but_what_is_scheduled_goes_into_a_store() {
    let mut machine = with_store();
    machine.commit(&later(9_000, 1)).unwrap();
    let refused = machine.commit(&records("t.scheduled", 0, 1));
    let Err(CommitError::Invalid { detail }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("produce to t"), "{detail}");
    assert_eq!(machine.next("t.scheduled", 0), 0);
}

#[test]
fn no_more_may_be_pending_than_the_limit_says() {
    let mut machine = with_store();
    let limit = BOUNDS.schedules_max;
    for _ in 0..limit {
        machine.commit(&later(9_000, 2)).unwrap();
    }
    let expected = CommitError::TooManySchedules { pending: limit.into(), limit };
    for saved in [false, true] {
        if saved {
            machine.state = load(&save(&machine.state));
        }
        assert_eq!(machine.commit(&later(9_000, 1)), Err(expected.clone()));
        assert_eq!(machine.commit(&later(1, 1)), Ok(None), "that is an append");
    }
    // One for another is no more.
    let other = Commit { scheduled: later(8_000, 1).scheduled, ..cancel(&[id(9_000, 0)]) };
    machine.commit(&other).unwrap();
    deliver(&mut machine, &[id(9_000, 1)], Purpose::Deliver);
    deliver(&mut machine, &[id(9_000, 2)], Purpose::Move);
    machine.commit(&later(9_000, 1)).unwrap();
    assert_eq!(machine.commit(&later(9_000, 1)), Err(expected));
    let head = machine.state.decide_delete(&name("t"), machine.now).unwrap();
    machine.apply(&head);
    let settings = TopicSettings { partitions: 2, ..TopicSettings::default() };
    create(&mut machine, "t", &settings);
    create(&mut machine, "t.scheduled", &store_settings(&settings));
    machine.commit(&later(9_000, 1)).unwrap();
}
