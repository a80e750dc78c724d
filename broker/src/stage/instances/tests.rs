//! Threads that answer, hang, panic and come back.

use super::*;
use crate::stage::Identity;

#[derive(Debug)]
struct Fussy(Identity);

impl Processor for Fussy {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let text = |record: &Record| record.value.clone().unwrap_or_default();
        assert!(!batch.iter().any(|record| &text(record)[..] == b"bad"), "a bad one");
        if batch.iter().any(|record| &text(record)[..] == b"hang") {
            std::thread::park();
        }
        let output = |record| Output {
            value: text(record),
            content_type: format!("one of {}", batch.len()),
            nonfinite: false,
            took: Duration::ZERO,
            batch_size: None,
        };
        batch.iter().map(|record| Ok(output(record))).collect()
    }
}

/// Answers with the shortest and the longest of a call.
#[derive(Debug)]
struct Measuring(Identity);

impl Processor for Measuring {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn length(&self) -> Option<fn(&Record) -> usize> {
        Some(|record| record.value.as_ref().map_or(0, bytes::Bytes::len))
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let text = |record: &Record| record.value.clone().unwrap_or_default();
        let lengths = batch.iter().map(|record| text(record).len());
        let (shortest, longest) = (lengths.clone().min(), lengths.max());
        let output = |record: &Record| Output {
            value: format!("{:?} {shortest:?} {longest:?}", text(record)).into(),
            content_type: "x".into(),
            nonfinite: false,
            took: Duration::ZERO,
            batch_size: None,
        };
        batch.iter().map(|record| Ok(output(record))).collect()
    }
}

#[tokio::test]
async fn records_of_like_length_are_processed_together_and_answered_in_their_order() {
    let instances = Instances::start("t", 2, Duration::from_secs(60)).unwrap();
    let text = String::new;
    let measuring =
        Measuring(Identity { name: text(), version: text(), digest: text(), overrides: None });
    let measuring: Arc<dyn Processor> = Arc::new(measuring);
    let batch = records(&["a", "bbbb", "c", "dddd"]);
    let outcomes = instances.process(&measuring, &batch, (2, 1 << 20), &None).await.unwrap();
    let answers: Vec<String> = outcomes
        .iter()
        .map(|o| String::from_utf8(o.as_ref().unwrap().value.to_vec()).unwrap())
        .collect();
    let expected = [
        "b\"a\" Some(1) Some(1)",
        "b\"bbbb\" Some(4) Some(4)",
        "b\"c\" Some(1) Some(1)",
        "b\"dddd\" Some(4) Some(4)",
    ];
    assert_eq!(answers, expected);
}

fn fussy() -> Arc<dyn Processor> {
    let text = String::new;
    Arc::new(Fussy(Identity { name: text(), version: text(), digest: text(), overrides: None }))
}

fn code(outcome: &Outcome) -> Option<&str> {
    match outcome.as_ref().err()? {
        Failure::Fault(fault) => Some(&fault.code),
        Failure::NotTried => Some("not tried"),
    }
}

fn records(values: &[&str]) -> Arc<[Record]> {
    values.iter().map(|value| Record::new(value.to_string())).collect()
}

#[test]
fn parts_keep_both_bounds() {
    let batch = records(&["aa", "bb", "cccccc", "d", "e"]);
    assert_eq!(parts(&batch, (2, 4)), [0..2, 2..3, 3..5]);
    assert_eq!(parts(&batch, (5, 100)).as_slice(), std::slice::from_ref(&(0..5)));
    assert!(parts(&[], (5, 100)).is_empty());
}

#[test]
fn a_turn_of_many_parts_is_handed_over_in_few_calls() {
    let batch = records(&["a"; 65]);
    assert_eq!(shares(&batch[..32], (8, 100), 1), [0..8, 8..16, 16..24, 24..32]);
    assert_eq!(shares(&batch, (8, 100), 1), [0..24, 24..48, 48..65]);
    assert_eq!(shares(&batch[..64], (8, 100), 2), parts(&batch[..64], (8, 100)));
}

#[tokio::test]
async fn the_model_gets_no_more_at_a_time_where_a_call_has_several_parts() {
    let instances = Instances::start("t", 1, Duration::from_secs(60)).unwrap();
    let outcomes =
        instances.process(&fussy(), &records(&["a"; 40]), (2, 1 << 20), &None).await.unwrap();
    assert!(outcomes.iter().all(|one| one.as_ref().unwrap().content_type == "one of 2"));
    let mut values = ["a"; 40];
    values[17] = "bad";
    let outcomes =
        instances.process(&fussy(), &records(&values), (2, 1 << 20), &None).await.unwrap();
    let failed: Vec<usize> = (0..40).filter(|at| outcomes[*at].is_err()).collect();
    assert_eq!((failed, code(&outcomes[17])), (vec![17], Some("panic")));
}

#[tokio::test]
async fn an_answer_that_its_topic_does_not_take_is_dropped_at_once() {
    let instances = Instances::start("t", 1, Duration::from_secs(60)).unwrap();
    let room = Room { topic: "out".parse().unwrap(), record_bytes_max: 3 };
    let (batch, room) = (records(&["abc", "abcd", "a"]), Some(Arc::new(room)));
    let outcomes = instances.process(&fussy(), &batch, (8, 1 << 20), &room).await.unwrap();
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    assert_eq!(codes, [None, Some("too_large"), None]);
    let Err(Failure::Fault(fault)) = &outcomes[1] else { panic!("{outcomes:?}") };
    let what = "the output has 4 bytes without its headers, topic out takes 3 a record";
    assert!(!fault.retryable && fault.message.starts_with(what), "{fault}");
}

#[tokio::test]
async fn only_the_culprit_of_a_batch_fails() {
    let instances = Instances::start("t", 2, Duration::from_secs(60)).unwrap();
    let batch = records(&["a", "b", "bad", "c", "d", "bad", "e"]);
    let outcomes = instances.process(&fussy(), &batch, (8, 1 << 20), &None).await.unwrap();
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    let panic = Some("panic");
    assert_eq!(codes, [None, None, panic, None, None, panic, None]);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_its_thread_replaced() {
    let instances = Instances::start("t", 1, Duration::from_millis(20)).unwrap();
    let outcomes = instances.process(&fussy(), &records(&["a", "hang"]), (1, 1 << 20), &None).await;
    let outcomes = outcomes.unwrap();
    assert!(outcomes[0].is_ok());
    assert_eq!(code(&outcomes[1]), Some("timeout"));
    assert_eq!(instances.lost(), 1);
    let outcomes =
        instances.process(&fussy(), &records(&["b"]), (1, 1 << 20), &None).await.unwrap();
    assert!(outcomes[0].is_ok());
}

/// Computes until nobody waits.
#[cfg(feature = "inference")]
#[derive(Debug)]
struct Endless(Identity);

#[cfg(feature = "inference")]
impl Processor for Endless {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn process(&self, _batch: &[Record]) -> Vec<Result<Output, Fault>> {
        while Cancel::watched().is_some_and(|watched| !watched.is_cancelled()) {
            std::thread::yield_now();
        }
        Vec::new()
    }
}

#[cfg(feature = "inference")]
fn endless() -> Arc<dyn Processor> {
    Arc::new(Endless(fussy().identity().clone()))
}

#[cfg(feature = "inference")]
#[tokio::test]
async fn a_thread_that_was_given_up_comes_back_from_what_it_computes() {
    let instances = Instances::start("t", 1, Duration::from_millis(5)).unwrap();
    let batch = records(&["a"; 3]);
    let outcomes = instances.process(&endless(), &batch, (3, 1 << 20), &None).await.unwrap();
    assert!(outcomes.iter().all(|outcome| code(outcome) == Some("timeout")));
    while instances.lost() > 0 {
        tokio::task::yield_now().await;
    }
    // The batch, and each of its records.
    assert_eq!(instances.abandoned(), 4);
}

#[cfg(feature = "inference")]
#[tokio::test]
async fn who_stops_waiting_has_a_thread_back() {
    let instances = Instances::start("t", 1, Duration::from_secs(600)).unwrap();
    let (endless, batch) = (endless(), records(&["a"]));
    {
        let mut call = Box::pin(instances.process(&endless, &batch, (1, 1 << 20), &None));
        assert!(futures::poll!(call.as_mut()).is_pending());
        while !instances.shared.work.lock().queue.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    let outcomes = instances.process(&fussy(), &batch, (1, 1 << 20), &None).await.unwrap();
    assert!(outcomes[0].is_ok());
}

#[tokio::test]
async fn when_all_threads_are_lost_nothing_more_is_tried_and_one_that_comes_back_goes_on() {
    let instances = Instances::start("t", 1, Duration::from_millis(5)).unwrap();
    let hang = records(&["hang"]);
    let mut outcomes = Vec::new();
    while !instances.is_stuck() {
        assert!(outcomes.len() <= LOST_MAX, "it gives up some time");
        outcomes.extend(instances.process(&fussy(), &hang, (1, 1 << 20), &None).await.unwrap());
    }
    assert_eq!(instances.lost(), LOST_MAX + 1);
    assert!(outcomes.iter().all(|outcome| code(outcome) == Some("timeout")));
    let outcomes =
        instances.process(&fussy(), &records(&["a"]), (1, 1 << 20), &None).await.unwrap();
    assert_eq!(outcomes, [Err(Failure::NotTried)]);
}

#[tokio::test]
async fn a_call_that_comes_back_late_serves_again_where_nobody_took_its_place() {
    let shared = Shared { work: Mutex::default(), changed: Condvar::new(), count: 1 };
    shared.work.lock().lost = 1;
    let shared = Arc::new(shared);
    let (began, _begins) = oneshot::channel();
    let (answer, _answered) = oneshot::channel();
    let batch = records(&["late"]);
    let (processor, part) = (fussy(), 0..1);
    let fate = Arc::new(Mutex::new(Fate::GivenUp));
    shared.work.lock().queue.push_back(Call {
        processor,
        batch,
        part,
        bounds: (1, 1),
        room: None,
        began,
        answer,
        fate,
        cancel: Cancel::default(),
        done: Arc::default(),
    });
    let serving = Arc::clone(&shared);
    let thread = std::thread::spawn(move || serve(&serving));
    while shared.work.lock().threads == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shared.work.lock().lost, 0);
    shared.work.lock().closed = true;
    shared.changed.notify_all();
    thread.join().unwrap();
    assert_eq!(shared.work.lock().threads, 0);
}
