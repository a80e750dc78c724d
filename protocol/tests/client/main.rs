//! Does the client deliver each record exactly once and in order, whatever happens to its requests?

#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails there fails the test")]

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use embermq_protocol::{
    Code,
    client::{
        Client, ClientError, Delivery, FetchOptions, From, KeyVersion, LeaseOptions, Producer,
        RetryPolicy, Seek, SettleError, TopicClient,
    },
    limits::IDEMPOTENCY_WINDOW,
    v1::{CommitRequest, Compression, Record},
};
use futures::{StreamExt as _, poll, stream};
use tokio::{sync::Notify, time::timeout};

mod desk;
mod groups;
mod model;
mod proxy;
mod worker;

use model::{Fault, Server};

fn quick() -> RetryPolicy {
    RetryPolicy {
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(4),
        give_up_after: Duration::from_secs(60),
    }
}

fn topic(url: &str) -> TopicClient {
    topic_with(url, quick())
}

fn topic_with(url: &str, retry: RetryPolicy) -> TopicClient {
    Client::builder(url).retry(retry).build().unwrap().topic("jobs").unwrap()
}

fn numbered(number: usize) -> Record {
    Record::new(format!("record {number}")).with_key(format!("key {}", number % 7))
}

async fn enqueue_all(producer: &Producer, count: usize) -> Vec<Result<Delivery, ClientError>> {
    let mut pending = Vec::new();
    for number in 0..count {
        pending.push(producer.enqueue(numbered(number)).await.unwrap().into_future());
    }
    stream::iter(pending).then(|delivery| delivery).collect().await
}

/// Every record is where its delivery says, none is there twice, and each partition is in order.
fn assert_exactly_once(server: &Server, deliveries: &[Result<Delivery, ClientError>]) {
    let model = server.model.lock();
    for (number, delivery) in deliveries.iter().enumerate() {
        let Delivery { partition, offset, .. } = delivery.clone().unwrap();
        let found = &model.partitions[partition as usize][usize::try_from(offset).unwrap()];
        assert_eq!(found, &numbered(number));
    }
    assert_eq!(model.partitions.iter().map(Vec::len).sum::<usize>(), deliveries.len());
    for log in &model.partitions {
        let number = |record: &Record| {
            let text = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap();
            text.trim_start_matches("record ").parse::<usize>().unwrap()
        };
        assert!(log.is_sorted_by_key(number));
    }
}

#[tokio::test]
async fn each_record_arrives_once_and_in_order_through_faults() {
    for seed in 0..6 {
        let server = Server::start(3).await;
        let mut random = fastrand::Rng::with_seed(seed);
        let faults =
            [Fault::None, Fault::Overloaded, Fault::Unavailable, Fault::Reset, Fault::LostAnswer];
        server.model.lock().faults = (0..200).map(|_| *random.choice(&faults).unwrap()).collect();
        let compression = if seed % 2 == 0 { Compression::Lz4 } else { Compression::Unspecified };
        let producer =
            topic(&server.url()).producer().batch_records(20).compression(compression).build();
        let deliveries = enqueue_all(&producer, 1_000).await;
        producer.close().await;
        assert_exactly_once(&server, &deliveries);
        assert!(server.model.lock().requests > 80, "the faults were met");
    }
}

#[tokio::test]
async fn each_record_arrives_once_and_in_order_over_a_line_that_breaks() {
    for seed in 0..4 {
        let server = Server::start(2).await;
        let url = proxy::cutting_proxy(server.address, seed).await;
        let producer = topic(&url).producer().batch_records(25).build();
        let deliveries = enqueue_all(&producer, 1_000).await;
        producer.close().await;
        assert_exactly_once(&server, &deliveries);

        let mut read = [0; 2];
        let consumed = topic(&server.url()).consume(From::Start).await.unwrap();
        let mut broken = Box::pin(stream::select_all(
            (0..2).map(|partition| topic(&url).consume_partition(partition, From::Start).boxed()),
        ));
        let mut whole = Box::pin(consumed);
        for _ in 0..1_000 {
            let record = broken.next().await.unwrap().unwrap();
            assert_eq!(record.offset, read[record.partition as usize], "no gap, none twice");
            read[record.partition as usize] += 1;
            let offset = usize::try_from(record.offset).unwrap();
            let model = server.model.lock();
            assert_eq!(record.record, model.partitions[record.partition as usize][offset]);
        }
        for _ in 0..1_000 {
            whole.next().await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_consumer_at_the_end_gets_what_comes() {
    let server = Server::start(1).await;
    let jobs = topic(&server.url());
    jobs.produce(&[numbered(0), numbered(1)]).await.unwrap();
    let mut records = Box::pin(jobs.consume_partition(0, From::Offset(2)));
    let mut next = records.next();
    assert!(poll!(&mut next).is_pending());
    jobs.produce(&[numbered(2)]).await.unwrap();
    assert_eq!(next.await.unwrap().unwrap().record, numbered(2));

    let options = FetchOptions { from: From::Offset(9), ..FetchOptions::default() };
    let error = jobs.fetch(options).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::OffsetOutOfRange));
    let mut records = Box::pin(jobs.consume_partition(0, From::Offset(9)));
    assert!(records.next().await.unwrap().is_err());
    assert!(records.next().await.is_none(), "the stream ends behind an error");
}

#[tokio::test]
async fn a_consumer_at_the_end_misses_nothing_while_it_reconnects() {
    const SOON: Duration = Duration::from_secs(30);
    let server = Server::start(1).await;
    let jobs = topic(&server.url());
    jobs.produce(&[numbered(0), numbered(1)]).await.unwrap();
    let mut whole = Box::pin(jobs.consume(From::End).await.unwrap());
    let mut records = Box::pin(jobs.consume_partition(0, From::End));
    let mut next = records.next();
    while server.model.lock().waiting_fetches == 0 {
        assert!(poll!(&mut next).is_pending());
        tokio::task::yield_now().await;
    }
    server.model.lock().lost_fetches = 1;
    jobs.produce(&[numbered(2)]).await.unwrap();
    let found = timeout(SOON, next).await.unwrap().unwrap().unwrap();
    assert_eq!((found.offset, found.record), (2, numbered(2)));
    let found = timeout(SOON, whole.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(found.offset, 2, "the end was looked up before");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_of_all_partitions_reads_those_that_come_later_from_their_start() {
    let server = Server::start(1).await;
    let jobs = topic(&server.url());
    jobs.produce(&[numbered(0)]).await.unwrap();
    let mut records = Box::pin(jobs.consume(From::End).await.unwrap());
    assert!(poll!(records.next()).is_pending());
    for partition in [1, 2] {
        let number = partition as usize;
        server.model.lock().add_partition(vec![numbered(number), numbered(number + 10)]);
        for (offset, record) in [(0, numbered(number)), (1, numbered(number + 10))] {
            let found = records.next().await.unwrap().unwrap();
            assert_eq!((found.partition, found.offset, found.record), (partition, offset, record));
        }
    }
    jobs.produce(&[numbered(3)]).await.unwrap();
    let found = records.next().await.unwrap().unwrap();
    assert_eq!(found.record, numbered(3), "and all of them go on");
}

#[tokio::test]
async fn a_consumer_of_a_time_to_come_gets_nothing_from_before_it() {
    let server = Server::start(1).await;
    let jobs = topic(&server.url());
    let say = async |now_us: i64, number: usize| {
        server.model.lock().now_us = now_us;
        jobs.produce(&[numbered(number)]).await.unwrap();
    };
    say(10, 0).await;
    let mut records = Box::pin(jobs.consume_partition(0, From::TimeUs(40)));
    let mut next = records.next();
    let waits = || {
        let model = server.model.lock();
        model.waiting_fetches > 0 && model.lost_fetches == 0
    };
    for (now_us, number) in [(20, 1), (30, 2)] {
        while !waits() {
            assert!(poll!(&mut next).is_pending());
            tokio::task::yield_now().await;
        }
        // The first of these fetches, and with it where the time was looked for, is lost.
        server.model.lock().lost_fetches = u32::from(number == 1);
        say(now_us, number).await;
    }
    say(40, 3).await;
    say(41, 4).await;
    for (at, offset) in [(40, 3), (41, 4)] {
        let found = next.await.unwrap().unwrap();
        assert_eq!((found.append_time_us, found.offset), (at, offset));
        next = records.next();
    }

    let mut since = Box::pin(jobs.consume(From::TimeUs(30)).await.unwrap());
    let found = since.next().await.unwrap().unwrap();
    assert_eq!((found.append_time_us, found.offset), (30, 2));
}

#[tokio::test]
async fn producing_at_once_does_not_duplicate_either() {
    let server = Server::start(1).await;
    server.model.lock().faults = vec![Fault::LostAnswer, Fault::Reset, Fault::LostAnswer];
    let jobs = topic(&server.url());
    let deliveries = jobs.produce(&[numbered(0), numbered(1)]).await.unwrap();
    assert_eq!(deliveries[1], Delivery { partition: 0, offset: 1, scheduled: None });
    assert_eq!(server.model.lock().partitions[0].len(), 2);
}

#[tokio::test]
async fn what_the_broker_may_forget_meanwhile_is_not_repeated() {
    let server = Server::start(1).await;
    // A try may take as long as the broker remembers one.
    let slow = Client::builder(&server.url()).retry(quick()).timeout(IDEMPOTENCY_WINDOW);
    let slow = slow.build().unwrap();
    let jobs = slow.topic("jobs").unwrap();
    let faults = || server.model.lock().faults = vec![Fault::Overloaded, Fault::LostAnswer];
    let lost = |error: &ClientError| matches!(error, ClientError::Transport { .. });
    faults();
    assert!(lost(&jobs.produce(&[numbered(0)]).await.unwrap_err()));
    faults();
    let first = jobs.produce_if(KeyVersion::Absent, None, &[numbered(0)]).await;
    assert!(lost(&first.unwrap_err()));
    faults();
    assert!(lost(&slow.commit(CommitRequest::default()).await.unwrap_err()));
    assert_eq!(server.model.lock().requests, 6);
    faults();
    jobs.producer().build().send(numbered(1)).await.unwrap();
}

#[tokio::test]
async fn one_bad_record_does_not_take_its_neighbours_along() {
    let server = Server::start(1).await;
    server.model.lock().record_bytes = 100;
    let linger = Duration::from_secs(60);
    let producer = topic(&server.url()).producer().linger(linger).build();
    let mut pending = Vec::new();
    for number in 0..10 {
        let record = if number == 6 { Record::new(vec![0; 200]) } else { numbered(number) };
        pending.push(producer.enqueue(record).await.unwrap());
    }
    producer.flush().await;
    for (number, delivery) in pending.into_iter().enumerate() {
        match delivery.await {
            Ok(_) => assert_ne!(number, 6),
            Err(error) => assert_eq!((number, error.code()), (6, Some(Code::RecordTooLarge))),
        }
    }
    let expected: Vec<_> = (0..10).filter(|number| *number != 6).map(numbered).collect();
    assert_eq!(server.model.lock().partitions[0], expected);
}

#[tokio::test]
async fn sending_waits_when_the_buffer_is_full_and_batches_form_meanwhile() {
    let server = Server::start(1).await;
    let gate = Arc::new(Notify::new());
    *server.gate.lock() = Some(gate.clone());
    let producer = topic(&server.url()).producer().buffer_bytes(2_000).build();
    let mut pending = Vec::new();
    let refused = loop {
        let number = pending.len();
        let mut enqueue = Box::pin(producer.enqueue(numbered(number)));
        match poll!(&mut enqueue) {
            std::task::Poll::Ready(delivery) => pending.push(delivery.unwrap()),
            std::task::Poll::Pending => break enqueue,
        }
    };
    assert!((10..40).contains(&pending.len()), "{} records fit", pending.len());
    *server.gate.lock() = None;
    gate.notify_one();
    pending.push(refused.await.unwrap());
    producer.flush().await;
    let count = pending.len();
    for delivery in pending {
        delivery.await.unwrap();
    }
    let model = server.model.lock();
    assert_eq!(model.partitions[0].len(), count);
    assert!(model.batches.len() < count, "{:?}", model.batches);
}

#[tokio::test]
async fn a_batch_that_was_given_up_never_comes_back() {
    let server = Server::start(1).await;
    server.model.lock().faults = vec![Fault::LostAnswer, Fault::None, Fault::None];
    let jobs = topic_with(&server.url(), RetryPolicy::never());
    let producer = jobs.producer().build();
    let error = producer.send(numbered(0)).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { .. }), "{error}");
    // Another record, and not the answer of the one before.
    assert_eq!(producer.send(numbered(1)).await.unwrap().offset, 1);
    server.model.lock().forget_producers();
    assert_eq!(producer.send(numbered(2)).await.unwrap().offset, 2);

    // Whoever chose an epoch must choose the next one, too.
    server.model.lock().faults = vec![Fault::LostAnswer];
    let chosen = jobs.producer().identity(7, 1).build();
    assert!(chosen.send(numbered(3)).await.is_err());
    assert!(chosen.send(numbered(4)).await.is_err());
    let successor = jobs.producer().identity(7, 2).build();
    assert_eq!(successor.send(numbered(4)).await.unwrap().offset, 4);
    let fenced = jobs.producer().identity(7, 1).build();
    for _ in 0..2 {
        let error = fenced.send(numbered(5)).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Fenced));
    }
}

#[tokio::test]
async fn a_refused_repeat_says_nothing_of_the_try_before() {
    let server = Server::start(1).await;
    let jobs = topic(&server.url());
    let lost_and_refused = vec![Fault::LostAnswer, Fault::TooLarge];
    server.model.lock().faults = lost_and_refused.clone();
    let chosen = jobs.producer().identity(7, 1).build();
    let error = chosen.send(numbered(0)).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { .. }), "the broker may have it: {error}");
    // The same sequence numbers would get the answer of the one before.
    assert!(chosen.send(numbered(1)).await.is_err());
    assert_eq!(server.model.lock().partitions[0], [numbered(0)]);

    server.model.lock().faults = lost_and_refused;
    let producer = jobs.producer().linger(Duration::from_secs(60)).build();
    let mut pending = Vec::new();
    for number in 1..3 {
        pending.push(producer.enqueue(numbered(number)).await.unwrap());
    }
    producer.flush().await;
    for delivery in pending {
        let error = delivery.await.unwrap_err();
        assert!(matches!(error, ClientError::Transport { .. }), "{error}");
    }
    let next = producer.enqueue(numbered(3)).await.unwrap();
    producer.flush().await;
    assert_eq!(next.await.unwrap().offset, 3, "no half of a batch that was taken is sent again");
}

#[tokio::test]
async fn a_proxy_in_between_does_not_speak_for_the_broker() {
    let server = Server::start(1).await;
    let faults = |faults: &[Fault]| server.model.lock().faults = faults.to_vec();
    let timed_out = |error: &ClientError| matches!(error, ClientError::Status { status: 504, .. });
    let jobs = topic(&server.url());
    faults(&[Fault::ProxyTimeout]);
    assert_eq!(jobs.produce(&[numbered(0)]).await.unwrap()[0].offset, 0);
    assert_eq!(server.model.lock().partitions[0].len(), 1, "tried again, and once there");

    let workers = jobs.group("workers").unwrap();
    let lease = &workers.lease(LeaseOptions::default()).await.unwrap()[0];
    faults(&[Fault::ProxyTimeout]);
    let error = lease.ack().await.unwrap_err();
    assert!(matches!(error, SettleError::AlreadySettled { answer_lost: true, .. }), "{error}");

    let impatient = topic_with(&server.url(), RetryPolicy::never());
    faults(&[Fault::ProxyTimeout; 2]);
    let error = impatient.produce(&[numbered(1)]).await.unwrap_err();
    assert!(timed_out(&error) && error.retryable(), "{error}");
    let error = workers.seek(Seek::default()).await.unwrap_err();
    assert!(timed_out(&error), "{error}");
}

#[tokio::test]
async fn errors_are_understood_whichever_form_they_have() {
    let server = Server::start(1).await;
    let client = Client::builder(&server.url()).retry(RetryPolicy::never()).build().unwrap();
    let error = client.get_topic("nothing").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TopicNotFound));
    assert!(matches!(client.get_topic("../x").await, Err(ClientError::Name(_))));
    let error = client.list_topics("").await.unwrap_err();
    assert!(matches!(error, ClientError::Status { status: 404, .. }), "{error}");
    assert!(matches!(Client::new("ftp://here"), Err(ClientError::Url { .. })));
    assert!(matches!(Client::new("here"), Err(ClientError::Url { .. })));
}
