//! The rules of groups, one question a test, named after what they protect; most stand for a complaint about another
//! broker.

use embermq_storage::{Offset, Timestamp};
use prost::Message;

use super::event::{GrantedAgain, GrantedFresh, SettledPartition};
use super::figures::Figures;
use super::keys::HELD_MAX;
use super::settings::SettingInvalid;
use super::settle::Stale;
use super::*;

const SECOND: u64 = 1_000_000;
const GROUP: u32 = 1;

/// A group with the shell around it: a topic that is nothing but keys, a clock that is set, members that ask.
struct Desk {
    group: Group,
    members: Members,
    now: Timestamp,
    topic: Vec<Vec<u64>>,
}

impl Desk {
    fn new(settings: GroupSettings, topic: &[&[u64]]) -> Self {
        settings.check().unwrap();
        Self {
            group: Group::new(settings, vec![Offset(0); topic.len()]),
            members: Members::default(),
            now: Timestamp(1_000),
            topic: topic.iter().map(|keys| keys.to_vec()).collect(),
        }
    }

    /// A work queue with this many records.
    fn queue(records: usize) -> Self {
        Self::new(GroupSettings::default(), &[&vec![0; records]])
    }

    fn ordered(ordering: Ordering, topic: &[&[u64]]) -> Self {
        Self::new(GroupSettings { ordering, ..steady() }, topic)
    }

    fn lease_as(&mut self, member: u64, records_max: usize) -> Vec<Lease> {
        let wish = Wish { member: MemberId(member), records_max, lease_us: None };
        let lease_us = self.group.settings().lease_us;
        self.members.asked(wish.member, lease_us, self.now);
        let examined: Vec<Examined> = (0..)
            .map(PartitionId)
            .zip(&self.topic)
            .map(|(partition, keys)| {
                let from = self.group.next(partition).unwrap();
                let candidates = (0..).map(Offset).zip(keys).filter(|(offset, _)| *offset >= from);
                Examined {
                    partition,
                    from,
                    candidates: candidates
                        .map(|(offset, key)| Candidate { offset, key: KeyHash(*key) })
                        .collect(),
                    end: Offset(keys.len() as u64),
                }
            })
            .collect();
        let grant = self.group.decide_grant(GROUP, &wish, &examined, &self.members, self.now);
        self.group.apply_granted(&grant.event, self.now).unwrap();
        grant.leases
    }

    fn lease(&mut self, records_max: usize) -> Vec<Lease> {
        self.lease_as(0, records_max)
    }

    fn settle(&mut self, lease: &Lease, verdict: Verdict) -> Outcome {
        let items = [Settlement { lease: token(lease), verdict }];
        let settled = self.group.decide_settle(GROUP, &items, 7, self.now);
        self.group.apply_settled(&settled.event, self.now).unwrap();
        settled.outcomes[0]
    }

    fn ack(&mut self, lease: &Lease) -> Outcome {
        self.settle(lease, Verdict::Ack)
    }

    fn nack(&mut self, lease: &Lease) -> Outcome {
        self.settle(lease, Verdict::Nack { delay_us: None })
    }

    fn bury(&mut self) -> Vec<Dead> {
        let exhausted: Vec<Dead> = self.group.exhausted(self.now).collect();
        let places: Vec<Place> = exhausted.iter().map(|dead| dead.place).collect();
        let settled = self.group.decide_bury(GROUP, &places, self.now);
        self.group.apply_settled(&settled.event, self.now).unwrap();
        exhausted
    }

    fn pass(&mut self, us: u64) {
        self.now = open::later(self.now, us);
    }
}

fn steady() -> GroupSettings {
    let backoff = Backoff { jitter: false, ..Backoff::default() };
    GroupSettings { backoff, ..GroupSettings::default() }
}

fn token(lease: &Lease) -> LeaseRef {
    LeaseRef { place: lease.place, attempt: lease.attempt, epoch: lease.epoch }
}

fn place(partition: u32, offset: u64) -> Place {
    Place { partition: PartitionId(partition), offset: Offset(offset) }
}

fn places(leases: &[Lease]) -> Vec<(u32, u64)> {
    leases.iter().map(|lease| (lease.place.partition.0, lease.place.offset.0)).collect()
}

fn stale(stale: Stale) -> Outcome {
    Outcome::Stale(stale)
}

#[test]
fn waiting_records_do_not_eat_the_window() {
    let mut desk = Desk::new(GroupSettings { in_flight_max: 10, ..steady() }, &[&[0; 30]]);
    let first = desk.lease(100);
    assert_eq!(first.len(), 10, "the window is full");
    assert_eq!(desk.lease(100), []);
    for lease in &first {
        desk.settle(lease, Verdict::Nack { delay_us: Some(3_600 * SECOND) });
    }
    assert_eq!(desk.lease(100).len(), 10, "ten that wait for an hour take no room");
    let figures = desk.group.figures(desk.now);
    assert_eq!((figures.in_flight, figures.waiting, figures.open), (10, 10, 20));
}

#[test]
fn backoff_does_not_shorten_the_lease() {
    let mut desk = Desk::queue(1);
    let lease = desk.lease(1)[0];
    assert_eq!(lease.deadline, open::later(desk.now, 30 * SECOND));
    desk.nack(&lease);
    desk.pass(SECOND);
    let again = desk.lease(1)[0];
    assert_eq!((again.attempt, again.deadline), (2, open::later(desk.now, 30 * SECOND)));
    desk.pass(29 * SECOND);
    assert_eq!(desk.lease(1), [], "nobody else gets it while the lease lives");
    assert_eq!(desk.ack(&again), Outcome::Acked);
}

#[test]
fn bare_nacks_follow_the_curve() {
    let mut desk = Desk::new(steady(), &[&[0]]);
    for seconds in [1, 2, 4, 8] {
        let lease = desk.lease(1)[0];
        let due = open::later(desk.now, seconds * SECOND);
        assert_eq!(desk.nack(&lease), Outcome::Waiting { until: due });
        assert_eq!(desk.group.next_due(desk.now), Some(due));
        desk.pass(seconds * SECOND - 1);
        assert_eq!(desk.lease(1), [], "a microsecond early");
        desk.pass(1);
    }
    let last = desk.lease(1)[0];
    assert_eq!(last.attempt, 5);
    assert!(matches!(desk.nack(&last), Outcome::Dead(Dead { attempts: 5, .. })));
}

#[test]
fn bare_nacks_do_not_burn_all_attempts_in_milliseconds() {
    let mut desk = Desk::queue(100);
    let mut dead = 0;
    for _ in 0..100 {
        for lease in desk.lease(100) {
            dead += u32::from(matches!(desk.nack(&lease), Outcome::Dead(_)));
        }
        desk.pass(1_000);
    }
    assert_eq!(dead, 0, "nothing is dead after 100 ms of failing at once, even with jitter");
}

#[test]
fn an_absurd_delay_is_brought_within_bounds() {
    let mut desk = Desk::queue(1);
    let lease = desk.lease(1)[0];
    let outcome = desk.settle(&lease, Verdict::Nack { delay_us: Some(u64::MAX) });
    let until = open::later(desk.now, DELAY_US_MAX);
    assert_eq!(outcome, Outcome::Waiting { until });
    assert_eq!(desk.ack(&lease), stale(Stale::Returned));
}

#[test]
fn a_key_goes_on_after_its_poison_record_was_dead_lettered() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7, 7, 8]]);
    for _ in 1..5 {
        let leases = desk.lease(10);
        desk.nack(&leases[0]);
        for other in leases.iter().skip(1) {
            assert_eq!(other.place, place(0, 2), "only the other key goes on meanwhile");
            desk.ack(other);
        }
        desk.pass(60 * SECOND);
    }
    let last = desk.lease(10);
    assert_eq!(places(&last), [(0, 0)]);
    assert!(matches!(desk.nack(&last[0]), Outcome::Dead(_)));
    assert_eq!(places(&desk.lease(10)), [(0, 1)]);
}

#[test]
fn a_key_goes_on_after_its_holder_vanished_on_the_last_attempt() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7, 7]]);
    for attempt in 1..=5 {
        assert_eq!(desk.lease(10)[0].attempt, attempt);
        desk.pass(31 * SECOND);
    }
    assert_eq!(desk.lease(10), [], "a sixth attempt is not given");
    let dead = desk.bury();
    assert_eq!((dead.len(), dead[0].place, dead[0].attempts), (1, place(0, 0), 5));
    assert_eq!(dead[0].first_granted, Timestamp(1_000));
    assert_eq!(desk.bury(), []);
    assert_eq!(places(&desk.lease(10)), [(0, 1)]);
}

#[test]
fn a_key_has_one_record_in_flight_in_all_partitions() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7, 7], &[7, 9], &[0, 0]]);
    let leases = desk.lease(10);
    assert_eq!(places(&leases), [(0, 0), (1, 1), (2, 0), (2, 1)], "those without a key are free");
    assert_eq!(desk.group.figures(desk.now).held, 2);
    desk.ack(&leases[0]);
    let second = desk.lease(10);
    assert_eq!(places(&second), [(1, 0)], "partitions take turns");
    desk.ack(&second[0]);
    assert_eq!(places(&desk.lease(10)), [(0, 1)]);
}

#[test]
fn a_hot_key_stops_the_cursor_before_it_fills_the_memory() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7; 20], &[8, 8]]);
    assert_eq!(places(&desk.lease(10)), [(0, 0), (1, 0)]);
    assert_eq!(desk.group.next(PartitionId(0)), Some(Offset(1 + HELD_MAX as u64)));
    assert_eq!(desk.group.next(PartitionId(1)), Some(Offset(1)), "its head found room, no more");
    for expected in 1..20 {
        let head = desk.group.open_in(PartitionId(0)).next().unwrap().0;
        let open = *desk.group.open(head).unwrap();
        let OpenState::Leased { epoch, deadline, .. } = open.state else { panic!("{open:?}") };
        let first_granted = open.first_granted;
        desk.ack(&Lease { place: head, attempt: 1, epoch, deadline, first_granted });
        let next = desk.lease(1);
        assert_eq!(places(&next), [(0, expected)], "none is skipped");
    }
}

#[test]
fn a_stale_token_changes_nothing() {
    let mut desk = Desk::queue(3);
    let old = desk.lease(1)[0];
    desk.pass(31 * SECOND);
    let new = desk.lease(1)[0];
    assert_eq!((new.place, new.attempt), (old.place, 2));
    let before = desk.group.clone();
    let verdicts = [
        Verdict::Ack,
        Verdict::Nack { delay_us: None },
        Verdict::Reject,
        Verdict::Extend { by_us: SECOND },
        Verdict::Release,
    ];
    for verdict in verdicts {
        assert_eq!(desk.settle(&old, verdict), stale(Stale::Regranted { attempt: 2 }));
        let forged = [
            Lease { attempt: 3, ..new },
            Lease { epoch: GrantEpoch(99), ..new },
            Lease { epoch: GrantEpoch(0), place: place(0, 2), ..new },
            Lease { place: place(4, 0), ..new },
        ];
        for forged in forged {
            assert_eq!(desk.settle(&forged, verdict), stale(Stale::Unknown), "{forged:?}");
        }
    }
    assert_eq!(desk.group, before);
    assert_eq!(desk.ack(&new), Outcome::Acked);
}

#[test]
fn ack_twice_says_settled() {
    let mut desk = Desk::queue(2);
    let leases = desk.lease(2);
    assert_eq!(desk.ack(&leases[0]), Outcome::Acked);
    assert_eq!(desk.ack(&leases[0]), stale(Stale::Settled));
    let twice = [Settlement { lease: token(&leases[1]), verdict: Verdict::Ack }; 2];
    let settled = desk.group.decide_settle(GROUP, &twice, 0, desk.now);
    assert_eq!(settled.outcomes, [Outcome::Acked, stale(Stale::Repeated)]);
    desk.group.apply_settled(&settled.event, desk.now).unwrap();
    assert_eq!(desk.group.figures(desk.now), Figures::default());
}

#[test]
fn a_slow_holder_keeps_its_record_while_nobody_else_asks() {
    let mut desk = Desk::queue(1);
    let lease = desk.lease(1)[0];
    desk.pass(45 * SECOND);
    let deadline = open::later(desk.now, 10 * SECOND);
    assert_eq!(
        desk.settle(&lease, Verdict::Extend { by_us: 10 * SECOND }),
        Outcome::Extended { deadline }
    );
    assert_eq!(desk.lease(1), []);
    assert_eq!(desk.ack(&lease), Outcome::Acked);
}

#[test]
fn extending_never_shortens_and_has_a_limit() {
    let mut desk = Desk::queue(1);
    let lease = desk.lease(1)[0];
    let by = |by_us| Verdict::Extend { by_us };
    assert_eq!(desk.settle(&lease, by(1)), Outcome::Extended { deadline: lease.deadline });
    let most = open::later(desk.now, settings::LEASE_US_MAX);
    assert_eq!(desk.settle(&lease, by(u64::MAX)), Outcome::Extended { deadline: most });
    desk.pass(3_600 * SECOND);
    assert_eq!(desk.lease(1), [], "many extensions are one long lease, and no new attempt");
}

#[test]
fn a_record_that_is_given_back_was_not_tried() {
    let mut desk = Desk::queue(1);
    for _ in 0..10 {
        let lease = desk.lease(1)[0];
        assert_eq!(lease.attempt, 1, "a drain on shutdown costs no attempt");
        assert_eq!(desk.settle(&lease, Verdict::Release), Outcome::Waiting { until: desk.now });
    }
}

#[test]
fn a_lapsed_lease_counts_as_an_attempt_and_comes_first() {
    let mut desk = Desk::queue(3);
    assert_eq!(places(&desk.lease(1)), [(0, 0)]);
    desk.pass(30 * SECOND - 1);
    assert_eq!(places(&desk.lease(1)), [(0, 1)]);
    desk.pass(1);
    let again = desk.lease(2);
    assert_eq!((places(&again), again[0].attempt), (vec![(0, 0), (0, 2)], 2));
    assert_eq!(again[0].first_granted, Timestamp(1_000));
}

#[test]
fn a_partition_has_one_batch_in_flight_and_stays_in_order() {
    let mut desk = Desk::ordered(Ordering::Partition, &[&[0; 6]]);
    let batch = desk.lease_as(1, 3);
    assert_eq!(places(&batch), [(0, 0), (0, 1), (0, 2)]);
    desk.ack(&batch[0]);
    desk.ack(&batch[2]);
    assert_eq!(desk.lease_as(1, 3), [], "one of the batch is still out");
    desk.nack(&batch[1]);
    assert_eq!(desk.lease_as(1, 3), [], "what failed holds up what is behind it");
    desk.pass(SECOND);
    assert_eq!(places(&desk.lease_as(1, 3)), [(0, 1), (0, 3), (0, 4)]);
}

#[test]
fn a_partition_stays_with_its_member_while_it_asks() {
    let mut desk = Desk::ordered(Ordering::Partition, &[&[0; 4], &[0; 4]]);
    let (ann, bob, eve) = (1, 2, 3);
    let first = desk.lease_as(ann, 1)[0];
    let second = desk.lease_as(bob, 1)[0];
    assert_eq!(places(&[first, second]), [(0, 0), (1, 0)]);
    desk.ack(&first);
    desk.ack(&second);
    assert_eq!(desk.lease_as(eve, 4), [], "both are taken, and theirs keep asking");
    assert!(!desk.group.takes_fresh(PartitionId(0), MemberId(eve), &desk.members, desk.now));
    assert_eq!(places(&desk.lease_as(bob, 1)), [(1, 1)], "its own");
    desk.pass(20 * SECOND);
    assert_eq!(places(&desk.lease_as(ann, 1)), [(0, 1)]);
    desk.pass(10 * SECOND);
    assert_eq!(places(&desk.lease_as(eve, 1)), [(1, 1)], "a lapsed batch goes to anyone");
    assert_eq!(desk.lease_as(bob, 4), []);
}

#[test]
fn a_partition_of_a_member_that_fell_silent_goes_to_another() {
    let mut desk = Desk::ordered(Ordering::Partition, &[&[0; 4]]);
    let lease = desk.lease_as(1, 1)[0];
    desk.ack(&lease);
    assert_eq!(desk.lease_as(2, 1), []);
    let absent = desk.members.next_absence(30 * SECOND, desk.now);
    assert_eq!(absent, Some(open::later(desk.now, 30 * SECOND)));
    desk.pass(30 * SECOND);
    assert_eq!(places(&desk.lease_as(2, 1)), [(0, 1)]);
}

#[test]
fn who_comes_back_late_cannot_work_beside_the_new_holder() {
    let mut desk = Desk::ordered(Ordering::Partition, &[&[0; 4]]);
    let old = desk.lease_as(1, 3);
    desk.pass(31 * SECOND);
    assert_eq!(places(&desk.lease_as(2, 1)), [(0, 0)]);
    let late = desk.settle(&old[2], Verdict::Extend { by_us: 60 * SECOND });
    assert_eq!(late, stale(Stale::Regranted { attempt: 1 }), "it was not granted, its batch was");
}

#[test]
fn a_seek_voids_leases_and_starts_attempts_anew() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7, 7, 8, 9]]);
    let leases = desk.lease(4);
    desk.nack(&leases[0]);
    let preview = desk.group.preview_seek(PartitionId(0), Offset(2), Offset(4)).unwrap();
    assert_eq!((preview.from, preview.to), (Offset(4), Offset(2)));
    assert_eq!((preview.read_again, preview.skipped, preview.leases_lost), (0, 2, 2));
    let event = desk.group.decide_seek(GROUP, [(PartitionId(0), Offset(0))]);
    desk.group.apply_sought(&event, desk.now).unwrap();
    assert_eq!(desk.ack(&leases[1]), stale(Stale::Unknown));
    let again = desk.lease(4);
    assert_eq!(places(&again), [(0, 0), (0, 2), (0, 3)]);
    assert!(again.iter().all(|lease| lease.attempt == 1));
    assert_eq!(desk.ack(&leases[1]), stale(Stale::Regranted { attempt: 1 }));
}

#[test]
fn a_redriven_record_has_all_attempts_before_it_and_only_in_its_group() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7, 7, 7]]);
    let first = desk.lease(1)[0];
    assert!(matches!(desk.settle(&first, Verdict::Reject), Outcome::Dead(_)));
    let second = desk.lease(1)[0];
    let offer = |offset| Offer { place: place(0, offset), key: KeyHash(7) };
    let offers = [offer(0), offer(0), offer(1), offer(9)];
    let (event, answers) = desk.group.decide_offer(GROUP, &offers);
    let not = Offered::NotDone;
    assert_eq!(answers, [Offered::Again, not, not, not]);
    desk.group.apply_offered(&event, desk.now).unwrap();
    assert_eq!(desk.ack(&first), stale(Stale::Unknown), "its old lease is not one again");
    assert_eq!(desk.lease(9), [], "its key is in flight");
    desk.ack(&second);
    let again = desk.lease(9);
    assert_eq!((places(&again), again[0].attempt), (vec![(0, 0)], 1));
}

#[test]
fn lag_is_not_zero_while_records_are_stuck() {
    let mut desk = Desk::queue(5);
    let leases = desk.lease(5);
    for lease in &leases[1..] {
        desk.ack(lease);
    }
    let figures = desk.group.partition_figures().next().unwrap();
    assert_eq!((figures.next, figures.first_not_done), (Offset(5), Offset(0)));
    assert_eq!(figures.behind(Offset(7)), 3);
}

#[test]
fn lag_below_the_start_of_the_log_is_no_lag() {
    let mut desk = Desk::queue(5);
    desk.lease(2);
    assert_eq!(desk.group.trim(PartitionId(0), Offset(4), desk.now).unwrap(), 2);
    let figures = desk.group.partition_figures().next().unwrap();
    assert_eq!((figures.next, figures.behind(Offset(5))), (Offset(4), 1));
    assert_eq!(desk.group.trim(PartitionId(0), Offset(1), desk.now).unwrap(), 0);
    assert_eq!(desk.group.next(PartitionId(0)), Some(Offset(4)), "a cursor never goes back");
}

#[test]
fn what_the_filter_keeps_out_is_passed_without_a_lease() {
    let mut desk = Desk::queue(0);
    let wish = Wish { member: MemberId::NONE, records_max: 5, lease_us: None };
    let examined = |from, candidates: &[u64], end| {
        let candidate = |offset: &u64| Candidate { offset: Offset(*offset), key: KeyHash::NONE };
        let candidates = candidates.iter().map(candidate).collect();
        [Examined { partition: PartitionId(0), from: Offset(from), candidates, end: Offset(end) }]
    };
    let mut decide = |examined: &[Examined]| {
        let grant = desk.group.decide_grant(GROUP, &wish, examined, &desk.members, desk.now);
        desk.group.apply_granted(&grant.event, desk.now).unwrap();
        let next = desk.group.next(PartitionId(0)).unwrap().0;
        (grant.leases.len(), next)
    };
    assert_eq!(decide(&examined(0, &[], 1_000)), (0, 1_000));
    assert_eq!(decide(&examined(1_001, &[1_001], 1_005)), (0, 1_000), "a gap is not jumped");
    assert_eq!(decide(&examined(990, &[995, 1_003], 1_005)), (1, 1_005));
    assert_eq!(decide(&examined(1_005, &[1_007, 1_006], 1_009)), (1, 1_008), "out of order");
}

#[test]
fn a_lower_limit_of_attempts_ends_no_record_that_waits() {
    let mut desk = Desk::queue(2);
    for _ in 0..2 {
        let lease = desk.lease(1)[0];
        assert_eq!(lease.place, place(0, 0));
        desk.settle(&lease, Verdict::Nack { delay_us: Some(0) });
    }
    desk.group.edit(GroupSettings { attempts_max: 1, ..steady() });
    let leases = desk.lease(2);
    assert_eq!((places(&leases), leases[0].attempt), (vec![(0, 0), (0, 1)], 3));
    desk.pass(31 * SECOND);
    assert_eq!(desk.lease(2), []);
    assert_eq!(desk.bury().len(), 2);
}

#[test]
fn settings_out_of_bounds_are_named_with_the_bounds() {
    let refusal = |settings: GroupSettings| settings.check().unwrap_err().to_string();
    let usual = GroupSettings::default;
    assert_eq!(
        refusal(GroupSettings { lease_us: 5, ..usual() }),
        "lease is 5µs: it can be 1s to 43200s"
    );
    assert_eq!(
        refusal(GroupSettings { attempts_max: 0, ..usual() }),
        "max_attempts is 0: it can be 1 to 1000000"
    );
    assert_eq!(
        refusal(GroupSettings { in_flight_max: 0, ..usual() }),
        "max_in_flight is 0: it can be 1 to 1000000"
    );
    let backoff = Backoff { max_us: 10, ..Backoff::default() };
    assert_eq!(
        refusal(GroupSettings { backoff, ..usual() }),
        "backoff.max is 10µs: it can be 1s to 2592000s"
    );
    let backoff = Backoff { multiplier_permille: 999, ..Backoff::default() };
    assert_eq!(
        refusal(GroupSettings { backoff, ..usual() }),
        "backoff.multiplier is 0.999: it can be 1 to 100"
    );
    assert_eq!(
        refusal(GroupSettings { filter: "f".repeat(4_097), ..usual() }),
        "the filter has 4097 bytes: it can have 4096"
    );
    let other = GroupSettings { ordering: Ordering::Key, ..usual() };
    assert!(matches!(usual().check_edit(&other), Err(SettingInvalid::OrderingFixed { .. })));
    assert_eq!(usual().check_edit(&GroupSettings { attempts_max: 9, ..usual() }), Ok(()));
}

/// What the group's records cost: entries by size, twice, because a node of the maps is at least half full.
fn record_bytes(group: &Group) -> usize {
    let open = size_of::<(Place, Open)>();
    // Each record stands in one shelf of `due`, and in at most one other index.
    let due = size_of::<(Timestamp, Place)>();
    let other = size_of::<(KeyHash, Place)>().max(size_of::<(PartitionId, Timestamp, Offset)>());
    2 * group.open.len() * (open + due + other)
}

#[test]
fn memory_goes_with_the_gaps_and_not_with_the_records() {
    let mut desk = Desk::queue(1_000);
    for lease in desk.lease(1_000) {
        desk.ack(&lease);
    }
    let Group { cursors, epoch_next, .. } = desk.group.clone();
    let starts = Group::new(GroupSettings::default(), [Offset(0)]);
    let (cursor, epoch_next) = (Cursor { next: Offset(1_000), ..cursors[0] }, epoch_next);
    let nothing = Group { cursors: [cursor].into_iter().collect(), epoch_next, ..starts };
    assert_eq!(desk.group, nothing, "an acknowledged record leaves nothing behind");

    // Ten million records, one in ten thousand of which is still out; the others are done, however they came to be.
    for ordering in [Ordering::None, Ordering::Key, Ordering::Partition] {
        let mut group = Group::new(GroupSettings { ordering, ..steady() }, [Offset(0)]);
        for gap in 0..1_000 {
            let keys = if ordering == Ordering::Key { vec![1 + gap] } else { Vec::new() };
            let fresh = GrantedFresh {
                moved: 10_000,
                leased: vec![5_000, 0],
                leased_keys: keys,
                ..GrantedFresh::default()
            };
            let lease_us = 30 * SECOND;
            let event =
                GroupGranted { epoch: 1 + gap, lease_us, fresh: vec![fresh], ..Default::default() };
            group.apply_granted(&event, Timestamp(1_000)).unwrap();
        }
        assert_eq!(group.next(PartitionId(0)), Some(Offset(10_000_000)));
        assert_eq!(group.open.len(), 1_000);
        assert!(record_bytes(&group) < 1 << 20, "{} bytes", record_bytes(&group));
    }
}

#[test]
fn a_snapshot_of_many_records_comes_in_small_pieces() {
    let offsets = 0..5_000;
    let mut desk = Desk::new(
        GroupSettings { in_flight_max: 5_000, filter: "f".repeat(4_096), ..steady() },
        &vec![&[0; 5_000][..]; 1_500],
    );
    desk.now = Timestamp(1_800_000_000_000_000);
    let member = u64::MAX;
    assert_eq!(desk.lease_as(member, offsets.len()).len(), 5_000);
    let mut read = None;
    let mut pieces = 0;
    for record in desk.group.kept(u32::MAX) {
        assert!(record.encoded_len() <= 64 << 10, "{} bytes", record.encoded_len());
        Group::load(&mut read, &record).unwrap();
        pieces += 1;
    }
    assert_eq!(read.unwrap(), desk.group);
    assert_eq!(pieces, 1 + 2 + 10);
}

#[test]
fn a_snapshot_that_does_not_hold_together_is_refused() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7, 7]]);
    desk.lease(2);
    let kept: Vec<KeptGroupRecord> = desk.group.kept(GROUP).collect();
    let load = |records: &[&KeptGroupRecord]| {
        let mut group = None;
        records.iter().try_for_each(|record| Group::load(&mut group, record)).map(|()| group)
    };
    assert_eq!(load(&[&kept[0], &kept[1], &kept[2]]).unwrap(), Some(desk.group.clone()));
    assert!(load(&[&kept[1]]).is_err(), "cursors of no group");
    assert!(load(&[&kept[0], &kept[2]]).is_err(), "records of no partition");
    assert!(load(&[&kept[0], &kept[1], &kept[2], &kept[2]]).is_err(), "a second head of a key");
    assert!(load(&[&KeptGroupRecord::default()]).is_err());
}

#[test]
fn an_event_that_contradicts_the_group_is_refused() {
    let mut desk = Desk::ordered(Ordering::Key, &[&[7, 7, 8]]);
    desk.lease(1);
    let granted = |again: Vec<GrantedAgain>, fresh: Vec<GrantedFresh>| {
        let event = GroupGranted { epoch: 9, lease_us: SECOND, again, fresh, ..Default::default() };
        desk.group.clone().apply_granted(&event, desk.now)
    };
    let again = |partition, offsets: &[u64]| {
        granted(vec![GrantedAgain { partition, offsets: offsets.to_vec() }], vec![])
    };
    assert!(again(0, &[0, 0]).is_ok());
    assert!(again(0, &[5, 0]).is_err(), "not open");
    assert!(again(3, &[0, 0]).is_err(), "no such partition");
    let fresh = |moved, leased: &[u64], leased_keys: &[u64]| {
        let (leased, leased_keys) = (leased.to_vec(), leased_keys.to_vec());
        granted(vec![], vec![GrantedFresh { moved, leased, leased_keys, ..Default::default() }])
    };
    assert!(fresh(2, &[1, 0], &[8]).is_ok());
    assert!(fresh(2, &[1, 0], &[7]).is_err(), "its key has a head");
    assert!(fresh(2, &[1, 0], &[]).is_err(), "its key is missing");
    assert!(fresh(1, &[1, 0], &[8]).is_err(), "beyond the cursor");
    assert!(fresh(u64::MAX, &[], &[]).is_err(), "the cursor overflows");
    let settled = |settled: SettledPartition| {
        let event = GroupSettled { group: GROUP, partitions: vec![settled] };
        desk.group.clone().apply_settled(&event, desk.now)
    };
    let of = |acked: &[u64]| SettledPartition { acked: acked.to_vec(), ..Default::default() };
    assert!(settled(of(&[0, 0])).is_ok());
    assert!(settled(of(&[0, 1])).is_err(), "the second is not leased");
    let nacked = SettledPartition { nacked: vec![0, 0], ..Default::default() };
    assert!(settled(nacked).is_err(), "until when?");
    let old = GroupGranted { epoch: 1, ..Default::default() };
    assert!(desk.group.clone().apply_granted(&old, desk.now).is_err(), "an epoch comes once");
}

#[test]
fn the_bytes_of_events_stay_the_same_and_few() {
    let hex = |event: &[u8]| event.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut desk = Desk::queue(100);
    desk.lease(1);
    let wish = Wish { member: MemberId::NONE, records_max: 50, lease_us: None };
    let candidate = |offset| Candidate { offset: Offset(offset), key: KeyHash::NONE };
    let examined = Examined {
        partition: PartitionId(0),
        from: Offset(1),
        candidates: (1..100).map(candidate).collect(),
        end: Offset(100),
    };
    let grant = desk.group.decide_grant(GROUP, &wish, &[examined], &desk.members, desk.now);
    desk.group.apply_granted(&grant.event, desk.now).unwrap();
    assert_eq!(hex(&grant.event.encode_to_vec()), "08011002208087a70e320610321a020031");
    let verdicts = [
        Verdict::Ack,
        Verdict::Ack,
        Verdict::Nack { delay_us: Some(5) },
        Verdict::Reject,
        Verdict::Release,
        Verdict::Extend { by_us: 60 * SECOND },
    ];
    let items: Vec<Settlement> = grant
        .leases
        .iter()
        .zip(verdicts)
        .map(|(lease, verdict)| Settlement { lease: token(lease), verdict })
        .collect();
    let settled = desk.group.decide_settle(GROUP, &items, 0, desk.now);
    let one = desk.group.decide_settle(GROUP, &items[..1], 0, desk.now);
    assert_eq!(hex(&one.event.encode_to_vec()), "08011204 12020100".replace(' ', ""));
    assert_eq!(
        hex(&settled.event.encode_to_vec()),
        "0801121d 12020101 1a020400 22020300 2a0105 32020600 3a04808e ce1c 42020500"
            .replace(' ', "")
    );
}

#[test]
fn what_differs_is_said_as_people_write_it() {
    let there = GroupSettings::default();
    assert_eq!(there.difference(&there), "");
    let backoff = Backoff { multiplier_permille: 1_500, ..Backoff::default() };
    let asked = GroupSettings {
        ordering: Ordering::Key,
        lease_us: 1_500_000,
        backoff,
        filter: "has a".to_owned(),
        ..GroupSettings::default()
    };
    let expected = "ordering is none, not key; lease is 30s, not 1.5s; backoff.multiplier is 2, not 1.5; \
                    filter is null, not \"has a\"";
    assert_eq!(there.difference(&asked), expected);
}
