//! When a thread that does what falls due has to look: at the earliest moment at which anything may be.

use std::time::Duration;

use embermq_storage::Timestamp;
use parking_lot::{Condvar, Mutex};

/// The longest sleep: clocks may be set.
const NAP: Duration = Duration::from_secs(1);

/// One sleeper, woken by time or by an earlier moment.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    set: Mutex<Set>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Set {
    at: Option<Timestamp>,
    /// Something failed: it is not tried again before this.
    not_before: Timestamp,
    closed: bool,
}

impl Alarm {
    /// Rings at `moment` at the latest.
    pub(crate) fn at(&self, moment: Timestamp) {
        let mut set = self.set.lock();
        if set.at.is_none_or(|at| moment < at) {
            set.at = Some(moment);
            self.rung.notify_one();
        }
    }

    /// Rings at `moment`, and not before: something failed that is to be tried again then.
    pub(crate) fn again_at(&self, moment: Timestamp) {
        self.set.lock().not_before = moment;
        self.at(moment);
    }

    /// Ends all sleep.
    pub(crate) fn close(&self) {
        self.set.lock().closed = true;
        self.rung.notify_one();
    }

    /// Sleeps until the moment has come, which is forgotten then. False when it was closed.
    pub(crate) fn sleep(&self, now: impl Fn() -> Timestamp) -> bool {
        let mut set = self.set.lock();
        loop {
            if set.closed {
                return false;
            }
            let now = now();
            let patience = match set.at {
                Some(at) if at.max(set.not_before) <= now => {
                    set.at = None;
                    return true;
                }
                Some(at) => {
                    let at = at.max(set.not_before);
                    Duration::from_micros(at.0.abs_diff(now.0)).min(NAP)
                }
                None => NAP,
            };
            self.rung.wait_for(&mut set, patience);
        }
    }
}
