//! How many files the process may open, and how many of them connections may take.
//!
//! A broker without files for its log and its segments refuses to write. One without files for connections lets clients wait.

/// Open files below which a server with many segments, partitions and connections runs short.
const WANTED: u64 = 16_384;

/// What macOS allows where it says that there is no limit (OPEN_MAX of setrlimit(2)).
const MACOS_MAX: u64 = 10_240;

/// Every segment that is read and every connection holds a file open, so the process takes as many as it is allowed to:
/// that many. `None`: there is no limit.
pub(super) fn raise() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let mut raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() && before.is_some_and(|before| before < MACOS_MAX) {
        limit.current = Some(MACOS_MAX);
        raised = setrlimit(Resource::Nofile, limit);
    }
    let allowed = if raised.is_ok() { limit.current } else { getrlimit(Resource::Nofile).current };
    if let Some(allowed) = allowed.filter(|allowed| *allowed < WANTED) {
        tracing::warn!(
            "only {allowed} files may be open at once: each partition, each segment in use and each connection needs \
             one; raise it with `ulimit -n` or LimitNOFILE"
        );
    }
    allowed
}

/// Connections to serve at a time where `wanted` are configured: half of what may be open stays for all else.
pub(super) fn connections_max(wanted: usize, allowed: Option<u64>) -> usize {
    let most =
        allowed.map_or(usize::MAX, |allowed| usize::try_from(allowed / 2).unwrap_or(usize::MAX));
    if most >= wanted {
        return wanted;
    }
    let most = most.max(1);
    tracing::warn!(
        "server.connections_max is {wanted}, but {most} connections are served at a time: the other half of the files \
         that may be open stays for the commit log, segments and models; raise it with `ulimit -n` or LimitNOFILE"
    );
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_files() {
        assert_eq!(connections_max(1_024, None), 1_024);
        assert_eq!(connections_max(1_024, Some(16_384)), 1_024);
        assert_eq!(connections_max(1_024, Some(2_048)), 1_024);
        assert_eq!(connections_max(1_024, Some(1_024)), 512);
        assert_eq!(connections_max(1_024, Some(1)), 1);
    }
}
