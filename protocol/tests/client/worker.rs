//! Does a worker settle what its handlers did, in order where there is one, and leave nothing behind when it stops?

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use embermq_protocol::{
    client::{Failed, From, GroupClient, Leased, Outputs, RetryPolicy, Trouble, WorkReport},
    v1::{GroupSettings, Ordering, Record},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use crate::{
    desk::Standing,
    model::{Fault, Server},
    numbered, topic, topic_with,
};

async fn with_records(partitions: usize, count: usize) -> (Server, GroupClient) {
    let server = Server::start(partitions).await;
    let jobs = topic(&server.url());
    for number in 0..count {
        let partition = u32::try_from(number % partitions).unwrap();
        jobs.produce_to(Some(partition), &[numbered(number)]).await.unwrap();
    }
    let workers = jobs.group("workers").unwrap();
    (server, workers)
}

/// Waits until the model is so.
async fn until(server: &Server, is_so: impl Fn(&crate::model::Model) -> bool) {
    loop {
        let grown = server.grown.notified();
        let mut grown = std::pin::pin!(grown);
        grown.as_mut().enable();
        if is_so(&server.model.lock()) {
            return;
        }
        grown.await;
    }
}

fn text(lease: &Leased) -> String {
    String::from_utf8(lease.record.value.clone().unwrap().to_vec()).unwrap()
}

fn never() -> std::future::Pending<()> {
    std::future::pending()
}

#[tokio::test]
async fn outputs_and_acks_are_exactly_once_through_faults() {
    for seed in 0..4 {
        let (server, workers) = with_records(2, 100).await;
        let mut random = fastrand::Rng::with_seed(seed);
        let faults = [Fault::None, Fault::Overloaded, Fault::Reset, Fault::LostAnswer];
        server.model.lock().faults = (0..150).map(|_| *random.choice(&faults).unwrap()).collect();
        let work = workers.worker().concurrency(8).out("thumbnails").unwrap().until_empty();
        let report = work
            .run(|lease| async move { Ok(Record::new(format!("done: {}", text(&lease)))) }, never())
            .await
            .unwrap();
        assert_eq!(report, WorkReport { acked: 100, ..WorkReport::default() });
        let mut outputs = server.model.lock().outputs["thumbnails"].clone();
        outputs.sort_by(|a, b| a.value.cmp(&b.value));
        let mut expected: Vec<String> = (0..100).map(|n| format!("done: record {n}")).collect();
        expected.sort();
        let expected: Vec<Record> = expected.into_iter().map(Record::new).collect();
        assert_eq!(outputs, expected);
    }
}

#[tokio::test]
async fn failures_and_panics_cost_attempts_and_nobody_else() {
    let (server, workers) = with_records(1, 6).await;
    let work = workers.worker().concurrency(3).until_empty();
    let report = work
        .run(
            |lease| async move {
                match lease.offset {
                    0 => panic!("a bad picture"),
                    1 => Err("x".parse::<u32>().unwrap_err().into()),
                    2 => Err(Failed::reject("no picture at all")),
                    3 if lease.attempt < 3 => {
                        Err(Failed::retry_after(Duration::from_secs(1), "later"))
                    }
                    4 => Ok(Outputs::none().to("nowhere", Record::new("lost"))),
                    _ => Ok(Outputs::none()),
                }
            },
            never(),
        )
        .await
        .unwrap();
    let expected = WorkReport { acked: 2, retried: 4 + 4 + 2 + 4, dead: 4, released: 0, lost: 0 };
    assert_eq!(report, expected, "{report}");
    let model = server.model.lock();
    let mut letters: Vec<_> = model.desk.letters.values().cloned().collect();
    letters.sort();
    let errors: Vec<&str> = letters.iter().map(|(_, error)| error.as_str()).collect();
    assert_eq!(errors[0], "the handler panicked: a bad picture");
    assert_eq!(errors[1], "invalid digit found in string");
    assert_eq!(errors[2], "no picture at all");
    assert!(errors[3].contains("there is no such topic"), "{}", errors[3]);
}

#[tokio::test]
async fn a_partition_stays_in_order_whatever_fails() {
    let (server, workers) = with_records(3, 60).await;
    let mut settings = GroupSettings::default();
    settings.set_ordering(Ordering::Partition);
    workers.create(settings, From::Start).await.unwrap();
    let seen = Arc::new(Mutex::new(vec![Vec::new(); 3]));
    let log = Arc::clone(&seen);
    let work = workers.worker().concurrency(4).batch(40).until_empty();
    let report = work
        .run(
            move |lease| {
                let log = Arc::clone(&log);
                async move {
                    // So that lanes interleave.
                    tokio::task::yield_now().await;
                    if lease.offset % 7 == 3 && lease.attempt < 3 {
                        return Err(Failed::retry("once more"));
                    }
                    if lease.offset == 11 {
                        return Err(Failed::reject("poison"));
                    }
                    log.lock()[lease.partition as usize].push(lease.offset);
                    Ok(())
                }
            },
            never(),
        )
        .await
        .unwrap();
    assert_eq!((report.acked, report.dead, report.lost), (57, 3, 0), "{report}");
    assert!(report.released > 0, "what stood behind a failure was given back");
    let expected: Vec<u64> = (0..20).filter(|offset| *offset != 11).collect();
    assert_eq!(*seen.lock(), vec![expected; 3]);
    drop(server);
}

#[tokio::test]
async fn no_more_run_or_are_held_than_was_asked_for() {
    let (server, workers) = with_records(1, 50).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let work = workers.worker().concurrency(4).until_empty();
    let report = work
        .run(
            move |_| {
                let (running, seen) = (Arc::clone(&running), Arc::clone(&seen));
                async move {
                    seen.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, SeqCst);
                    Ok(())
                }
            },
            never(),
        )
        .await
        .unwrap();
    assert_eq!(report.acked, 50);
    assert_eq!(most.load(SeqCst), 4);
    assert!(server.model.lock().desk.asked.iter().all(|asked| *asked <= 4));
}

#[tokio::test]
async fn leases_are_extended_while_handlers_run_and_while_records_wait() {
    let (server, workers) = with_records(1, 3).await;
    let done = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&done);
    let work = workers.worker().batch(3).lease(Duration::from_millis(20)).until_empty();
    let handler = move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    let work = tokio::spawn(work.run(handler, never()));
    until(&server, |model| {
        model.desk.extended.len() == 3 && model.desk.extended.values().all(|times| *times >= 3)
    })
    .await;
    done.add_permits(3);
    assert_eq!(work.await.unwrap().unwrap().acked, 3);
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_gives_back_the_rest() {
    let (server, workers) = with_records(1, 10).await;
    let (started, done) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (began, gate) = (Arc::clone(&started), Arc::clone(&done));
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let handler = move |_| {
        let (began, gate) = (Arc::clone(&began), Arc::clone(&gate));
        async move {
            began.notify_one();
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    let work = workers.worker().batch(5);
    let work = tokio::spawn(work.run(handler, async move { stopped.notified().await }));
    started.notified().await;
    stop.notify_one();
    until(&server, |model| {
        let leased = |place| model.desk.records[&(0, place)].0 == Standing::Leased;
        leased(0) && !(1..10).any(leased)
    })
    .await;
    assert!(!work.is_finished());
    done.add_permits(1);
    let report = work.await.unwrap().unwrap();
    assert_eq!(report, WorkReport { acked: 1, released: 4, ..WorkReport::default() });
    let model = server.model.lock();
    assert!((1..10).all(|offset| model.desk.records[&(0, offset)] == (Standing::Open, 0)));
}

/// Works with an output topic on a broker that takes no commits: how often the handler ran, and what holds it up.
async fn work_on_a_full_broker(
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> (Server, JoinHandle<WorkReport>, Arc<AtomicUsize>, Arc<Mutex<Vec<Trouble>>>) {
    let (server, _) = with_records(1, 3).await;
    server.model.lock().desk.is_full = true;
    let impatient = topic_with(&server.url(), RetryPolicy::never());
    let (handled, troubles) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, heard) = (Arc::clone(&handled), Arc::clone(&troubles));
    let work = impatient.group("workers").unwrap().worker().batch(2).until_empty();
    let work = work.lease(Duration::from_millis(20)).out("thumbnails").unwrap();
    let work = work.on_trouble(move |trouble| heard.lock().push(trouble));
    let handler = move |_| {
        count.fetch_add(1, SeqCst);
        async { Ok(Record::new("done")) }
    };
    let work = tokio::spawn(async move { work.run(handler, shutdown).await.unwrap() });
    // Extensions are not commits: the lease is kept, and that of the record behind it.
    until(&server, |model| {
        let extended = |token: &str| model.desk.extended.get(token).is_some_and(|times| *times > 2);
        model.desk.refused > 5 && extended("0/0/1") && extended("0/1/1")
    })
    .await;
    (server, work, handled, troubles)
}

#[tokio::test]
async fn what_is_refused_for_the_moment_is_tried_again_while_the_lease_is_kept() {
    let (server, work, handled, troubles) = work_on_a_full_broker(never()).await;
    assert_eq!(handled.load(SeqCst), 1, "nothing runs in its place");
    server.model.lock().desk.is_full = false;
    assert_eq!(work.await.unwrap(), WorkReport { acked: 3, ..WorkReport::default() });
    assert_eq!(handled.load(SeqCst), 3, "nothing was done twice");
    assert_eq!(server.model.lock().outputs["thumbnails"].len(), 3);
    let troubles = troubles.lock();
    assert_eq!(troubles.len(), 1, "it is said once: {troubles:?}");
    let text = troubles[0].to_string();
    assert!(text.starts_with("jobs/0/0 cannot") && text.contains("the disk is full"), "{text}");
}

#[tokio::test]
async fn a_shutdown_gives_back_what_the_broker_does_not_take() {
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let shutdown = async move { stopped.notified().await };
    let (server, work, handled, _) = work_on_a_full_broker(shutdown).await;
    stop.notify_one();
    assert_eq!(work.await.unwrap(), WorkReport { released: 2, ..WorkReport::default() });
    assert_eq!(handled.load(SeqCst), 1);
    let model = server.model.lock();
    assert!((0..2).all(|offset| model.desk.records[&(0, offset)] == (Standing::Open, 0)));
}

#[tokio::test]
async fn a_shutdown_is_heard_when_leasing_has_failed() {
    let (server, workers) = with_records(1, 1).await;
    let (failed, killed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stop, kill) = (Arc::clone(&failed), Arc::clone(&killed));
    let work = workers.worker().concurrency(2).on_trouble(move |trouble| {
        assert!(trouble.to_string().contains("the topic was deleted"), "{trouble}");
        failed.notify_one();
    });
    let handler = move |_| {
        let killed = Arc::clone(&killed);
        async move {
            killed.notified().await;
            Ok(())
        }
    };
    let shutdown = async move {
        stop.notified().await;
        kill.notify_one();
    };
    let work = tokio::spawn(work.run(handler, shutdown));
    until(&server, |model| model.desk.lease_requests == 2).await;
    server.model.lock().desk.is_closed = true;
    server.grown.notify_waiters();
    let error = work.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(embermq_protocol::Code::TopicNotFound));
    assert_eq!(server.model.lock().desk.records[&(0, 0)].0, Standing::Done);
}

#[tokio::test]
async fn an_idle_worker_waits_in_the_broker_and_stops_at_once() {
    let (server, workers) = with_records(1, 0).await;
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let work = workers.worker().run(|_| async { Ok(()) }, async move { stopped.notified().await });
    let work = tokio::spawn(work);
    until(&server, |model| model.desk.lease_requests == 1).await;
    topic(&server.url()).produce(&[numbered(0)]).await.unwrap();
    until(&server, |model| {
        model.desk.lease_requests == 2 && model.desk.records[&(0, 0)].0 == Standing::Done
    })
    .await;
    stop.notify_one();
    assert_eq!(work.await.unwrap().unwrap().acked, 1);
}

#[tokio::test]
async fn a_worker_says_at_once_that_its_out_topic_is_missing() {
    let (server, workers) = with_records(1, 1).await;
    let work = workers.worker().out("nothing").unwrap();
    let error = work.run(|_| async { Ok(Record::new("x")) }, never()).await.unwrap_err();
    assert_eq!(error.code(), Some(embermq_protocol::Code::TopicNotFound));
    assert_eq!(server.model.lock().desk.lease_requests, 0);
}
