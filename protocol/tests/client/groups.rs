//! Does the client settle each lease once and say honestly what became of it, whatever happens to its requests?

use std::time::Duration;

use embermq_protocol::{
    Code,
    client::{
        Client, ClientError, DeadLetterOptions, From, GroupClient, LeaseOptions, Redrive,
        RetryPolicy, Seek, SettleError, Settled,
    },
    v1::{
        GroupSettings, Ordering, Record,
        settlement::{Ack, Decision, Nack},
    },
};

use crate::{
    desk::Standing,
    model::{Fault, Server},
    numbered, quick, topic, topic_with,
};

async fn with_records(count: usize) -> (Server, GroupClient) {
    let server = Server::start(1).await;
    let jobs = topic(&server.url());
    let records: Vec<Record> = (0..count).map(numbered).collect();
    jobs.produce(&records).await.unwrap();
    let workers = jobs.group("workers").unwrap();
    (server, workers)
}

fn many(max_records: u32) -> LeaseOptions {
    LeaseOptions { max_records, ..LeaseOptions::default() }
}

#[tokio::test]
async fn a_group_is_made_looked_at_and_listed() {
    let (_server, workers) = with_records(2).await;
    let error = workers.get().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::GroupNotFound));
    let mut settings = GroupSettings { max_attempts: Some(3), ..GroupSettings::default() };
    settings.set_ordering(Ordering::Key);
    let made = workers.create(settings.clone(), From::Start).await.unwrap();
    assert!(made.created);
    assert!(!workers.create(settings, From::End).await.unwrap().created);
    let other = workers.create(GroupSettings::default(), From::Start).await.unwrap_err();
    assert_eq!(other.code(), Some(Code::GroupExists));
    assert_eq!(workers.get().await.unwrap().lag_records, 2);
    let jobs = workers.topic().as_str();
    assert_eq!(jobs, "jobs");
    assert!(matches!(
        topic("http://127.0.0.1:1").group("a:b"),
        Err(ClientError::Name(error)) if error.to_string().contains("group name")
    ));
}

#[tokio::test]
async fn each_way_to_settle_says_what_became_of_the_record() {
    let (server, workers) = with_records(5).await;
    let mut leases = workers.lease(many(10)).await.unwrap();
    assert_eq!(leases.len(), 5);
    assert_eq!(leases[4].record, numbered(4));
    assert_eq!((leases[4].offset, leases[4].attempt), (4, 1));

    assert_eq!(leases[0].ack().await.unwrap(), Settled::Acked);
    let later = leases[1].nack(Some(Duration::from_secs(9)), "not now").await.unwrap();
    assert!(matches!(later, Settled::Waiting { next_attempt_at } if next_attempt_at.seconds == 9));
    let dead = leases[2].reject("never").await.unwrap();
    assert!(matches!(dead, Settled::Dead { letter } if letter.topic == "jobs.workers.dlq"));
    let before = leases[3].expires_at;
    leases[3].extend(Duration::from_secs(60)).await.unwrap();
    assert!(leases[3].expires_at.seconds > before.seconds);
    assert!(matches!(leases[4].release().await.unwrap(), Settled::Waiting { .. }));
    {
        let model = server.model.lock();
        let standings: Vec<Standing> = model.desk.records.values().map(|(is, _)| *is).collect();
        use Standing::{Dead, Done, Leased, Open};
        assert_eq!(standings, [Done, Open, Dead, Leased, Open]);
        assert_eq!(model.desk.letters[&0].1, "never");
    }
    let again = workers.lease(many(10)).await.unwrap();
    let attempts: Vec<_> = again.iter().map(|lease| (lease.offset, lease.attempt)).collect();
    assert_eq!(attempts, [(1, 2), (4, 1)], "a release was no attempt");

    let redriven = workers.redrive(Redrive { dry_run: true, ..Redrive::default() }).await.unwrap();
    assert_eq!((redriven.matched, redriven.done), (1, 0));
    let none = Redrive { max_records: Some(0), ..Redrive::default() };
    assert_eq!(workers.redrive(none).await.unwrap().done, 0, "none does not mean all");
    server.model.lock().faults = vec![Fault::Reset, Fault::None, Fault::LostAnswer];
    let one = Redrive { max_records: Some(1), ..Redrive::default() };
    let error = workers.redrive(one).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { .. }), "a repeat could take further ones");
    let redriven = workers.redrive(Redrive::default()).await.unwrap();
    assert_eq!(redriven.done, 1);
    assert_eq!(workers.lease(many(10)).await.unwrap()[0].attempt, 1);
}

#[tokio::test]
async fn open_dead_letters_come_page_by_page() {
    let (server, workers) = with_records(3).await;
    for lease in workers.lease(many(10)).await.unwrap() {
        lease.reject(&format!("never {}", lease.offset)).await.unwrap();
    }
    server.model.lock().faults = vec![Fault::Reset];
    let page = async |contains: &str, after| {
        let contains = contains.to_owned();
        let options = DeadLetterOptions { contains, after, ..DeadLetterOptions::default() };
        let page = workers.dead_letters(options).await.unwrap();
        assert_eq!(page.topic, "jobs.workers.dlq");
        let offsets = page.letters.iter().map(|letter| (letter.partition, letter.offset));
        (offsets.collect::<Vec<_>>(), page.next_after)
    };
    assert_eq!(page("", None).await, (vec![(0, 0), (0, 1)], Some(1)));
    assert_eq!(page("", Some(1)).await, (vec![(0, 2)], None));
    assert_eq!(page("never 2", None).await, (vec![], Some(1)), "none so far");
}

#[tokio::test]
async fn many_are_settled_each_on_its_own() {
    let (server, workers) = with_records(2_500).await;
    let mut acks = Vec::new();
    while let leases = workers.lease(many(1_000)).await.unwrap()
        && !leases.is_empty()
    {
        acks.extend(leases.iter().map(|lease| lease.settlement(Decision::Ack(Ack {}))));
    }
    assert_eq!(acks.len(), 2_500);
    acks[1_700].lease = "forged".to_owned();
    server.model.lock().faults = vec![Fault::Overloaded, Fault::None, Fault::Reset];
    let results = workers.settle(acks).await;
    for (number, result) in results.iter().enumerate() {
        match result {
            Ok(settled) => assert_eq!((settled, number == 1_700), (&Settled::Acked, false)),
            Err(error) => {
                assert_eq!((error.code(), number), (Some(Code::InvalidLeaseToken), 1_700));
            }
        }
    }
    assert_eq!(results.len(), 2_500);
}

#[tokio::test]
async fn many_long_errors_do_not_make_a_request_too_large() {
    let (server, workers) = with_records(1_000).await;
    let leases = workers.lease(many(1_000)).await.unwrap();
    let nack = Decision::Nack(Nack { delay: None, error: "no such picture. ".repeat(500) });
    let nacks = leases.iter().map(|lease| lease.settlement(nack.clone())).collect();
    let results = workers.settle(nacks).await;
    assert_eq!(results.len(), 1_000);
    for result in results {
        assert!(matches!(result, Ok(Settled::Waiting { .. })), "{result:?}");
    }
    let model = server.model.lock();
    assert!(model.desk.records.values().all(|record| *record == (Standing::Open, 1)));
}

#[tokio::test]
async fn a_repeat_of_what_went_through_is_not_hidden() {
    let (server, workers) = with_records(2).await;
    let leases = workers.lease(many(2)).await.unwrap();
    server.model.lock().faults = vec![Fault::LostAnswer];
    let error = leases[0].ack().await.unwrap_err();
    assert!(matches!(error, SettleError::AlreadySettled { answer_lost: true, .. }), "{error}");
    let error = leases[0].ack().await.unwrap_err();
    assert!(matches!(error, SettleError::AlreadySettled { answer_lost: false, .. }), "{error}");

    server.model.lock().expire();
    let regranted = workers.lease(many(2)).await.unwrap();
    assert_eq!((regranted[0].offset, regranted[0].attempt), (1, 2));
    let error = leases[1].nack(None, "too late").await.unwrap_err();
    assert!(matches!(error, SettleError::Lost { answer_lost: false, .. }), "{error}");
    regranted[0].ack().await.unwrap();
}

#[tokio::test]
async fn what_a_repeat_would_do_anew_is_not_repeated() {
    let (server, workers) = with_records(2).await;
    let settings = GroupSettings::default();
    workers.create(settings.clone(), From::Start).await.unwrap();
    let faults = |faults: &[Fault]| server.model.lock().faults = faults.to_vec();
    let lost = |error: &ClientError| matches!(error, ClientError::Transport { .. });

    let to_end = Seek { to: From::End, ..Seek::default() };
    faults(&[Fault::Overloaded, Fault::LostAnswer]);
    assert!(lost(&workers.seek(to_end).await.unwrap_err()));
    assert_eq!(server.model.lock().desk.sought, 1, "records that came since would be passed over");
    faults(&[Fault::LostAnswer]);
    workers.seek(Seek { dry_run: true, ..to_end }).await.unwrap();

    faults(&[Fault::Overloaded, Fault::LostAnswer]);
    assert!(lost(&workers.delete().await.unwrap_err()));
    workers.create(settings, From::Start).await.unwrap();
    assert!(server.model.lock().faults.is_empty());
    let jobs = topic(&server.url());
    let client = Client::builder(&server.url()).retry(quick()).build().unwrap();
    faults(&[Fault::Overloaded, Fault::LostAnswer]);
    assert!(lost(&client.delete_topic("jobs").await.unwrap_err()));
    jobs.produce(&[numbered(2)]).await.unwrap();
    assert_eq!(server.model.lock().partitions[0], [numbered(2)]);
    assert!(server.model.lock().desk.settings.is_some(), "the new group is still there");
}

#[tokio::test]
async fn a_commit_of_a_lease_happens_once_through_faults() {
    for seed in 0..4 {
        let (server, workers) = with_records(50).await;
        let mut random = fastrand::Rng::with_seed(seed);
        let faults =
            [Fault::None, Fault::Overloaded, Fault::Unavailable, Fault::Reset, Fault::LostAnswer];
        server.model.lock().faults = (0..60).map(|_| *random.choice(&faults).unwrap()).collect();
        let mut replayed = 0;
        for (number, lease) in workers.lease(many(50)).await.unwrap().iter().enumerate() {
            let committed = lease
                .commit()
                .append("thumbnails", numbered(number))
                .append("audit", Record::new("began"))
                .append("thumbnails", numbered(number + 1_000))
                .ack()
                .await
                .unwrap();
            assert_eq!(committed.settled, Some(Settled::Acked));
            let offsets: Vec<_> = committed.deliveries.iter().map(|to| to.offset).collect();
            let number = number as u64;
            assert_eq!(offsets, [2 * number, number, 2 * number + 1]);
            replayed += u32::from(committed.replayed);
        }
        assert!(replayed > 0, "an answer was lost");
        let model = server.model.lock();
        let expected: Vec<Record> =
            (0..50).flat_map(|number| [numbered(number), numbered(number + 1_000)]).collect();
        assert_eq!(model.outputs["thumbnails"], expected);
        assert_eq!(model.outputs["audit"].len(), 50);
    }
}

#[tokio::test]
async fn a_commit_of_a_lost_lease_appends_nothing() {
    let (server, workers) = with_records(2).await;
    let leases = workers.lease(many(2)).await.unwrap();
    server.model.lock().expire();
    let error = leases[0].commit().append("thumbnails", numbered(0)).ack().await.unwrap_err();
    assert!(matches!(error, SettleError::Lost { .. }), "{error}");
    let error = leases[0].commit().append("../x", numbered(0)).ack().await.unwrap_err();
    assert!(matches!(error, SettleError::Call(ClientError::Name(_))), "{error}");
    assert!(server.model.lock().outputs.is_empty());

    // Whoever gave up on a commit that went through learns of it when trying something else.
    let impatient = topic_with(&server.url(), RetryPolicy::never()).group("workers").unwrap();
    let lease = &impatient.lease(many(1)).await.unwrap()[0];
    server.model.lock().faults = vec![Fault::LostAnswer];
    let commit = || lease.commit().append("thumbnails", numbered(1));
    let error = commit().ack().await.unwrap_err();
    assert!(matches!(error, SettleError::Call(ClientError::Transport { .. })), "{error}");
    let error = commit().reject("another decision").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::IdempotencyKeyReused));
    assert!(commit().ack().await.unwrap().replayed);
    assert_eq!(server.model.lock().outputs["thumbnails"], [numbered(1)]);
}
