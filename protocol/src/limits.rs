//! Sizes and times that hold on both sides, each with its reason.

use std::time::Duration;

/// The longest topic name, in bytes. With a suffix of a few bytes it still fits in a file name of 255 bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The longest group name, in bytes: with a topic's name before it a dead-letter topic's name should fit.
pub const GROUP_NAME_BYTES_MAX: usize = 128;
/// Records that one lease request may take, and settlements of one request.
pub const LEASE_RECORDS_MAX: u32 = 1_000;
/// The shortest lease: below it the network's jitter would end leases.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest lease, also from now on by an extension: a worker that is gone blocks its record no longer than that.
pub const LEASE_MAX: Duration = Duration::from_secs(12 * 3600);
/// The longest that a record waits for its next attempt.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How much of what a holder says of a failure is kept with a dead letter, in bytes.
pub const DEAD_ERROR_BYTES_MAX: usize = 4 << 10;
/// The longest that a lease request waits for records, for the same reason as [`FETCH_WAIT_MAX`].
pub const LEASE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Records in one request. A record of two bytes on the wire becomes a struct of about a hundred in memory: the
/// count, not the size of the request, bounds that.
pub const REQUEST_RECORDS_MAX: u32 = 10_000;
/// The body of a produce or commit request, and what a compressed one may inflate to. Large enough for a batch of
/// images, small enough that the bytes of all requests in flight can be bounded by whole requests.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;
/// The largest record as encoded (key, value, headers), when its topic says nothing else: a photo fits.
pub const RECORD_BYTES_MAX: u32 = 8 << 20;
/// What the broker's own topics allow for a record: a request, less what surrounds the record in it.
pub const RECORD_BYTES_CEILING: u32 = (64 << 20) - (64 << 10);
/// The body of any other request: settings, not data.
pub const OTHER_REQUEST_BYTES_MAX: usize = 1 << 20;

/// The name of one header of a record, in bytes; it also has at least one.
pub const HEADER_NAME_BYTES_MAX: usize = 255;
/// Headers of one record. Traces, CloudEvents and dead letters together need fewer than 50.
pub const RECORD_HEADERS_MAX: u32 = 256;
/// Headers of all records of a request, for the same reason as [`REQUEST_RECORDS_MAX`].
pub const REQUEST_HEADERS_MAX: u32 = 200_000;

/// How much larger than what was sent a batch may inflate to. Real records stay far below 100:1.
pub const INFLATE_RATIO_MAX: usize = 100;
/// Up to this size the ratio does not matter: a small batch of equal records is no attack.
pub const INFLATE_FREE_BYTES: usize = 4 << 20;
/// The largest zstd window, as a power of two: 8 MiB, which every zstd decoder must support.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Partitions of a topic. Each costs a file and its maps.
pub const TOPIC_PARTITIONS_MAX: u32 = 1_024;
/// Appends and preconditions of one commit, each.
pub const COMMIT_PARTS_MAX: usize = 1_024;
/// The longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How far ahead a record may be scheduled: what lies beyond is a mistake of units.
pub const SCHEDULE_AHEAD_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Schedules on one page of a list.
pub const SCHEDULES_PAGE_MAX: u32 = 1_000;
/// Records of a page of a key's history or of a table, when it says nothing.
pub const KEY_PAGE_DEFAULT: u32 = 100;
/// Records of such a page at most.
pub const KEY_PAGE_MAX: u32 = 1_000;
/// Dead letters on one page of a list, when it says nothing.
pub const DEAD_LETTERS_PAGE_DEFAULT: u32 = 100;
/// Dead letters on one page of a list at most.
pub const DEAD_LETTERS_PAGE_MAX: u32 = 1_000;
/// Topics on one page of a list.
pub const LIST_PAGE_MAX: u32 = 1_000;

/// The longest that a fetch waits for records: below the idle limit of usual proxies (60 s).
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of a fetch answer that asks for no number: a good piece of work for a consumer, little to lose on a cut line.
pub const FETCH_BYTES_DEFAULT: u32 = 1 << 20;
/// Bytes of a fetch answer, at most; one batch that is larger still comes whole.
pub const FETCH_BYTES_MAX: u32 = 8 << 20;

/// How long records are kept when a topic says nothing: a long weekend and the days to notice.
pub const RETENTION_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a tombstone stays readable: a consumer that was down for a day still learns of the deletion.
pub const TOMBSTONE_RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// How long an `Idempotency-Key` is remembered: longer than clients keep retrying. Ours does not retry for longer, whatever
/// its policy says.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(5 * 60);
/// Requests of a producer to a topic whose repeats get the first answer. A producer keeps one in flight; the others
/// are for clients that send ahead.
pub const PRODUCER_REQUESTS_KEPT: usize = 16;
/// How long an idle producer is remembered.
pub const PRODUCER_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

const _: () =
    assert!((RECORD_BYTES_MAX <= RECORD_BYTES_CEILING) && (INFLATE_FREE_BYTES < REQUEST_BYTES_MAX));
