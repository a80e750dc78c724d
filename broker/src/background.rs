//! Threads that compute for long: they give way to those that take requests and commit.

/// How much they give way, as `nice` counts. Beside a busy thread of others they get about a tenth of a core; alone, all of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Makes the calling thread give way. Where a priority is a whole process's (outside Linux), nothing happens.
pub(crate) fn give_way() {
    // A limit on priorities never forbids a lower one; if something else does, the thread works as any other.
    #[cfg(target_os = "linux")]
    rustix::process::nice(NICE).ok();
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_gives_way() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let given = std::thread::spawn(move || {
            give_way();
            priority()
        });
        assert_eq!(given.join().unwrap(), (before + NICE).min(19));
        assert_eq!(priority(), before);
    }
}
