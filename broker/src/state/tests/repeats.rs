//! What is remembered for repeats, and how it is bounded.

use embermq_storage::Entropy as _;
use embermq_storage::disk::sim::SeededEntropy;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn create(machine: &mut Machine, topic: &str) {
    let settings = TopicSettings { partitions: 64, ..TopicSettings::default() };
    let head = machine.state.decide_create(&name(topic), &settings, machine.now).unwrap().unwrap();
    machine.apply(&head);
}

fn delete(machine: &mut Machine, topic: &str) {
    let head = machine.state.decide_delete(&name(topic), machine.now).unwrap();
    machine.apply(&head);
}

/// The same commit for another topic, with so many appends.
fn spread(mut commit: Commit, topic: &str, appends: u32) -> Commit {
    let part = |partition| records(topic, partition, 1).appends.remove(0);
    commit.appends = (0..appends).map(part).collect();
    commit
}

/// Uses new keys until one is refused; gives how many were taken.
fn fill_with_keys(machine: &mut Machine) -> u64 {
    for number in 0.. {
        match machine.commit(&keyed(&format!("key-{number}"), number)) {
            Ok(committed) => assert_eq!(committed, None),
            Err(CommitError::TooManyIdempotencyKeys { kept_bytes, limit_bytes, .. }) => {
                assert!(kept_bytes <= limit_bytes && limit_bytes == BOUNDS.idempotency_bytes_max);
                return number;
            }
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!()
}

/// Lets new producers commit until one is refused; gives the id of that.
fn fill_with_producers(machine: &mut Machine) -> u64 {
    for id in 1.. {
        match machine.commit(&produced(1, id, 0, 0)) {
            Ok(committed) => assert_eq!(committed, None),
            Err(CommitError::TooManyProducers { kept_bytes, limit_bytes, .. }) => {
                assert!(kept_bytes <= limit_bytes && limit_bytes == BOUNDS.producer_bytes_max);
                return id;
            }
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!()
}

#[test]
fn new_keys_are_refused_at_the_bound_and_known_ones_answered() {
    let mut machine = Machine::with_topic("t", 64);
    let taken = fill_with_keys(&mut machine);
    assert!(taken > 50, "{taken}");
    for saved in [false, true] {
        if saved {
            machine.state = load(&save(&machine.state));
        }
        let refused = machine.commit(&keyed("new", 1)).unwrap_err();
        assert!(refused.retryable());
        let text = refused.to_string();
        assert!(text.contains("limits.idempotency_bytes_max") && text.contains("300 s"), "{text}");
        for number in 0..taken {
            let repeat = machine.commit(&keyed(&format!("key-{number}"), number)).unwrap().unwrap();
            assert_eq!(repeat.appends[0].base_offset, Offset(number));
        }
    }
    // Others are not concerned.
    assert_eq!(machine.commit(&records("t", 0, 1)), Ok(None));
    assert_eq!(machine.commit(&produced(1, 9, 0, 0)), Ok(None));
    assert!(machine.commit(&keyed("new", 1)).is_err());
}

#[test]
fn keys_of_a_topic_that_is_silent_make_room_when_their_time_is_over() {
    let mut machine = Machine::with_topic("t", 64);
    create(&mut machine, "other");
    let taken = fill_with_keys(&mut machine);
    let one = |number: u64| spread(keyed(&format!("new-{number}"), number), "other", 1);
    machine.later(Duration::from_secs(299));
    let refused = machine.commit(&one(0)).unwrap_err();
    assert!(
        matches!(refused, CommitError::TooManyIdempotencyKeys { retry_after, .. } if retry_after == Duration::from_secs(1)),
        "{refused:?}"
    );
    machine.later(Duration::from_secs(1));
    for number in 0..taken {
        assert_eq!(machine.commit(&one(number)), Ok(None), "{number}");
    }
    let forgotten = machine.state.named(&name("t")).unwrap();
    assert_eq!(forgotten.keys.iter().count(), 0);
}

#[test]
fn what_is_over_makes_room_for_a_commit_of_any_width() {
    let mut machine = Machine::with_topic("t", 64);
    fill_with_keys(&mut machine);
    fill_with_producers(&mut machine);
    machine.later(Duration::from_secs(3_600));
    for number in 0..20 {
        let wide = spread(keyed(&format!("wide-{number}"), 1), "t", 40);
        match machine.commit(&wide) {
            Ok(committed) => assert_eq!(committed, None),
            // Full of such.
            Err(refused) => assert!(number > 6, "{number}: {refused}"),
        }
    }
    let mut wide = spread(produced(1, 999, 0, 0), "t", 64);
    wide.appends.extend(wide.appends.clone());
    assert_eq!(machine.commit(&wide), Ok(None));
}

#[test]
fn a_lower_bound_than_before_refuses_none_when_all_is_over() {
    let mut machine = Machine::with_topic("t", 64);
    fill_with_keys(&mut machine);
    fill_with_producers(&mut machine);
    let bounds = Bounds { idempotency_bytes_max: 4 << 10, producer_bytes_max: 4 << 10, ..BOUNDS };
    let endings = Endings::default();
    let commit = |machine: &mut Machine, commit: &Commit| {
        let mut head = FrameHead::default();
        let decided = machine.state.decide((commit, &endings, 0), machine.now, bounds, &mut head);
        decided.map(|_| machine.apply(&head))
    };
    assert!(commit(&mut machine, &keyed("new", 1)).is_err());
    assert!(commit(&mut machine, &produced(1, 900, 0, 0)).is_err());
    machine.later(Duration::from_secs(3_600));
    for number in 0..100 {
        commit(&mut machine, &keyed(&format!("new-{number}"), 1)).unwrap();
        commit(&mut machine, &produced(1, 900, 0, number)).unwrap();
        machine.later(Duration::from_secs(60));
    }
    let (of_keys, of_producers) = machine.state.remembered_bytes();
    assert!(of_keys <= bounds.idempotency_bytes_max);
    assert!(of_producers <= bounds.producer_bytes_max);
}

#[test]
fn producers_that_go_on_hide_none_that_are_over() {
    let mut machine = Machine::with_topic("t", 64);
    for id in 1..=4 {
        assert_eq!(machine.commit(&produced(1, id, 0, 0)), Ok(None));
    }
    machine.later(Duration::from_secs(60));
    let new = (5..).find(|id| machine.commit(&produced(1, *id, 0, 0)).is_err()).unwrap();
    machine.later(Duration::from_secs(3_500));
    for id in 1..=4 {
        assert_eq!(machine.commit(&produced(1, id, 0, 1)), Ok(None));
    }
    machine.later(Duration::from_secs(140));
    assert_eq!(machine.commit(&produced(1, new, 0, 0)), Ok(None));
}

#[test]
fn a_shorter_window_holds_for_keys_behind_one_with_a_longer() {
    let mut machine = Machine::with_topic("t", 64);
    let (bounds, mut head) = (Bounds { idempotency: DAY, ..BOUNDS }, FrameHead::default());
    let (long, endings) = (keyed("long", 1), Endings::default());
    machine.state.decide((&long, &endings, 0), machine.now, bounds, &mut head).unwrap();
    machine.apply(&head);
    for number in 0..500 {
        machine.later(Duration::from_secs(10));
        assert_eq!(machine.commit(&keyed(&format!("short-{number}"), 1)), Ok(None));
    }
    assert!(machine.commit(&long).unwrap().is_some());
}

#[test]
fn a_topic_that_is_deleted_makes_room() {
    let mut machine = Machine::with_topic("t", 64);
    fill_with_keys(&mut machine);
    fill_with_producers(&mut machine);
    create(&mut machine, "other");
    let key = spread(keyed("new", 1), "other", 1);
    let producer = spread(produced(1, 9, 0, 0), "other", 1);
    assert!(machine.commit(&key).is_err() && machine.commit(&producer).is_err());
    delete(&mut machine, "t");
    assert_eq!((machine.commit(&key), machine.commit(&producer)), (Ok(None), Ok(None)));
}

#[test]
fn new_producers_are_refused_at_the_bound_and_known_ones_go_on() {
    let mut machine = Machine::with_topic("t", 64);
    let new = fill_with_producers(&mut machine);
    let refused = machine.commit(&produced(1, new, 0, 0)).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("limits.producer_bytes_max") && text.contains("3600 s"), "{text}");
    assert!(refused.retryable());
    for saved in [false, true] {
        for round in 0..40 {
            for id in 1..new {
                let sequence = if saved { 41 } else { 1 } + round;
                assert_eq!(machine.commit(&produced(1, id, 0, sequence)), Ok(None));
                let repeat = machine.commit(&produced(1, id, 0, sequence));
                assert!(repeat.unwrap().is_some(), "the last one is known always");
            }
        }
        assert!(machine.commit(&produced(1, new, 0, 0)).is_err());
        machine.state = load(&save(&machine.state));
    }
    let (_, bytes) = machine.state.remembered_bytes();
    assert!(bytes <= BOUNDS.producer_bytes_max, "{bytes}");
    let early = machine.commit(&produced(1, 1, 0, 60)).unwrap_err();
    assert!(matches!(early, CommitError::SequenceGap { expected: 81, .. }), "{early:?}");
    // A new epoch of a known one is nobody new.
    assert_eq!(machine.commit(&produced(1, 1, 1, 0)), Ok(None));
    // Where nobody is silent for as long, the first to be forgotten are those who were.
    machine.later(Duration::from_secs(1_800));
    assert_eq!(machine.commit(&produced(1, 1, 1, 1)), Ok(None));
    machine.later(Duration::from_secs(1_801));
    assert_eq!(machine.commit(&produced(1, new, 0, 0)), Ok(None));
    assert_eq!(machine.commit(&produced(1, 1, 1, 2)), Ok(None));
}

#[test]
fn a_producer_that_wants_much_more_than_before_is_refused_at_the_bound() {
    let mut machine = Machine::with_topic("t", 64);
    fill_with_producers(&mut machine);
    let more = |sequence, appends| spread(produced(1, 1, 0, sequence), "t", appends);
    assert_eq!(machine.commit(&more(1, 16)), Ok(None), "there was room for that from the start");
    let refused = machine.commit(&more(17, 60)).unwrap_err();
    assert!(matches!(refused, CommitError::TooManyProducers { .. }), "{refused:?}");
    assert_eq!(machine.commit(&more(17, 1)), Ok(None));
    machine.later(Duration::from_secs(3_600));
    assert_eq!(machine.commit(&spread(produced(1, 1, 1, 0), "t", 60)), Ok(None));
    // It does not grow by it.
    for commit in 1..100 {
        assert_eq!(machine.commit(&spread(produced(1, 1, 1, commit * 60), "t", 60)), Ok(None));
    }
    let (_, bytes) = machine.state.remembered_bytes();
    assert!(bytes <= BOUNDS.producer_bytes_max, "{bytes}");
}

/// What a topic remembers of producers and of keys, as long as it has to.
type OfTopic = (Vec<(u64, producers::Producer)>, Vec<(String, keys::Used)>);

fn remembered(state: &State) -> Vec<OfTopic> {
    let of_topic = |topic: &TopicState| {
        let producers = topic.producers.iter().filter(|(_, known)| known.expires > state.time);
        let keys = topic.keys.iter().filter(|(_, used)| used.expires > state.time);
        (
            producers.map(|(id, known)| (id, known.clone())).collect(),
            keys.map(|(key, used)| (key.to_owned(), used.clone())).collect(),
        )
    };
    state.topics().map(of_topic).collect()
}

#[test]
fn what_is_remembered_is_counted_right_whatever_happens() {
    let (mut refused, mut forgot) = (0, 0);
    for seed in 0..30 {
        let mut random = SeededEntropy::new(seed);
        let mut pick = |below: u64| random.next_u64() % below;
        let mut machine = Machine::with_topic("t", 64);
        let mut replayed = machine.state.clone();
        let mut sequences = std::collections::HashMap::new();
        for step in 0..400 {
            machine.later(Duration::from_secs(pick(3) * pick(40)));
            let topic = ["t", "u", "v"][usize::try_from(pick(3)).unwrap()];
            let there = machine.state.named(&name(topic)).is_some();
            let mut head = FrameHead::default();
            if !there || (pick(60) == 0 && topic != "t") {
                let settings = TopicSettings { partitions: 64, ..TopicSettings::default() };
                head = if there {
                    machine.state.decide_delete(&name(topic), machine.now).unwrap()
                } else {
                    machine
                        .state
                        .decide_create(&name(topic), &settings, machine.now)
                        .unwrap()
                        .unwrap()
                };
                sequences.retain(|(other, _), _| *other != topic);
            } else {
                let appends = [1, 1, 8, 16, 40][usize::try_from(pick(5)).unwrap()];
                let id = 1 + pick(12);
                let next = sequences.get(&(topic, id)).copied().unwrap_or((0, 0));
                let commit = match pick(3) {
                    0 => records(topic, 0, 1),
                    1 => spread(keyed(&format!("key-{}", pick(300)), 1), topic, appends),
                    _ => spread(produced(1, id, next.0, next.1), topic, appends),
                };
                let endings = Endings::default();
                let decided =
                    machine.state.decide((&commit, &endings, 0), machine.now, BOUNDS, &mut head);
                match decided {
                    Ok(Decision::Frame(_)) => {}
                    Ok(Decision::Repeat(_)) => continue,
                    Err(CommitError::SequenceGap { .. }) => {
                        sequences.insert((topic, id), (next.0 + 1, 0));
                        continue;
                    }
                    Err(error) => {
                        assert!(error.retryable(), "{error}");
                        refused += 1;
                        continue;
                    }
                }
                if let Some(producer) = &head.producer {
                    forgot += producer.forget;
                    sequences.insert((topic, id), (next.0, next.1 + u64::from(appends)));
                }
            }
            replayed.apply(&head, Position(machine.end)).unwrap();
            machine.apply(&head);
            if step % 50 == 0 {
                machine.state = load(&save(&machine.state));
            }
            let kept @ (of_keys, of_producers) = machine.state.remembered_bytes();
            let counted = load(&save(&machine.state)).remembered_bytes();
            assert_eq!(kept, counted, "seed {seed}, step {step}");
            assert!(of_keys <= BOUNDS.idempotency_bytes_max, "seed {seed}, step {step}: {of_keys}");
            let within = of_producers <= BOUNDS.producer_bytes_max;
            assert!(within, "seed {seed}, step {step}: {of_producers}");
        }
        // Whoever replays all of it remembers the same of everybody who is not to be forgotten.
        assert_eq!(remembered(&machine.state), remembered(&replayed), "seed {seed}");
    }
    assert!(refused > 100 && forgot > 100, "{refused} refused, {forgot} forgotten");
}
