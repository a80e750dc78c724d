//! What readers that go through a partition in order will ask for next, read before they ask.
//!
//! A read that goes on where another one ended, and that was ended by its own bound, will go on again. So while its
//! answer is on the way, the next one is read on a blocking thread: its pages are brought in and its checksums
//! checked beside the sending instead of after it. For one reader on a link as fast as the disk this is the
//! difference between taking turns and working at the same time.
//!
//! A few such places are kept per partition. What was read and is not asked for within [`KEPT`] is let go, so that no
//! slice holds on to a segment that retention has removed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use embermq_storage::Offset;
use embermq_storage::reader::ReadSlice;
use embermq_storage::segment::ReadError;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::topic::Partition;

/// Readers of one partition that are followed at the same time.
const PLACES_MAX: usize = 8;

/// How long something read ahead waits to be asked for.
const KEPT: Duration = Duration::from_secs(2);

/// A bound below this is reached in no time: reading ahead would cost more than it saves.
const BYTES_MIN: u64 = 1 << 20;

/// The places of one partition.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    places: Mutex<VecDeque<Place>>,
}

/// Where somebody is expected to go on.
#[derive(Debug)]
struct Place {
    from: Offset,
    bytes_max: u64,
    /// What is being read there; none while nobody has gone on from there yet.
    read: Option<oneshot::Receiver<Result<ReadSlice, ReadError>>>,
}

/// What is known of a place.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Nobody was expected there.
    No,
    /// Somebody goes on.
    Yes,
    /// Somebody goes on, and it has been read, or is being read.
    Read(oneshot::Receiver<Result<ReadSlice, ReadError>>),
}

impl ReadAhead {
    /// Looks a read up, and forgets the place.
    pub(crate) fn take(&self, from: Offset, bytes_max: u64) -> Expected {
        if bytes_max < BYTES_MIN {
            return Expected::No;
        }
        let mut places = self.places.lock();
        let Some(at) = places.iter().position(|p| (p.from, p.bytes_max) == (from, bytes_max))
        else {
            return Expected::No;
        };
        match places.remove(at).and_then(|place| place.read) {
            Some(read) => Expected::Read(read),
            None => Expected::Yes,
        }
    }

    /// Notes that a read of `bytes_max` was ended by its bound at `next`; reads on there when it is one of several.
    pub(crate) fn expect(partition: &Arc<Partition>, next: Offset, bytes_max: u64, several: bool) {
        let runtime = Handle::try_current().ok().filter(|_| several);
        let read = runtime.map(|runtime| read_on(&runtime, Arc::clone(partition), next, bytes_max));
        let mut places = partition.ahead.places.lock();
        if places.len() == PLACES_MAX {
            places.pop_front();
        }
        places.push_back(Place { from: next, bytes_max, read });
    }

    fn forget(&self, from: Offset, bytes_max: u64) {
        self.places.lock().retain(|place| (place.from, place.bytes_max) != (from, bytes_max));
    }
}

fn read_on(
    runtime: &Handle,
    partition: Arc<Partition>,
    from: Offset,
    bytes_max: u64,
) -> oneshot::Receiver<Result<ReadSlice, ReadError>> {
    let (tell, told) = oneshot::channel();
    runtime.spawn_blocking({
        let partition = Arc::clone(&partition);
        // Whoever asks in vain, because this was let go, reads for himself.
        move || tell.send(partition.reader.read(from, bytes_max)).ok()
    });
    runtime.spawn(async move {
        tokio::time::sleep(KEPT).await;
        partition.ahead.forget(from, bytes_max);
    });
    told
}
