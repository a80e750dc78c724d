//! What the benchmarks share: the machine they ran on, the probe that they are compared with, and their print.
//!
//! A figure alone says little on a shared machine. Each benchmark therefore runs a probe of the same bytes on the same
//! file system right before and after, and prints its own rate as a part of the probe's.

pub mod exchange;
pub mod peer;
pub mod probe;
pub mod redis;
pub mod wire;

/// Whatever ends a benchmark.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one measurement runs, in all its slices; `EMBERMQ_BENCH_MS` changes it.
#[must_use]
pub fn window() -> Duration {
    let ms = std::env::var("EMBERMQ_BENCH_MS").ok().and_then(|ms| ms.parse().ok());
    Duration::from_millis(ms.unwrap_or(4_000))
}

/// A measurement is cut into so many slices, in turn with those of the probe, so that a machine that is faster in one
/// second than in the next is so for both.
pub const SLICES: u32 = 10;

/// The middle one.
#[must_use]
pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// The folder to measure in: `EMBERMQ_BENCH_DIR`, else the build's own target folder's file system.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("EMBERMQ_BENCH_DIR").map_or_else(
        || {
            std::env::current_exe()
                .ok()
                .and_then(|exe| exe.parent().map(Path::to_path_buf))
                .unwrap_or_default()
        },
        PathBuf::from,
    )
}

/// Prints what the figures were measured on.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub fn describe(dir: &Path) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("machine: {cores} cores; {}", mount_of(dir));
}

/// The mount that holds `dir`, as the kernel lists it: device, type and options.
fn mount_of(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let of = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, at, kind, options) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        dir.starts_with(at).then(|| (at.len(), format!("{kind} on {device} ({options})")))
    });
    of.max().map_or_else(|| "unknown file system".to_owned(), |(_, text)| text)
}

/// One line: the rate, the probe's rate, the ratio, and the ratio that the project asks for, if it asks for one.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub fn print_ratio(what: &str, rate: f64, probe: f64, wanted: Option<f64>) {
    let ratio = rate / probe;
    let verdict = wanted.map_or_else(String::new, |wanted| {
        let verdict = if ratio >= wanted { "holds" } else { "falls short" };
        format!("  wanted {:>4.0} %  {verdict}", wanted * 100.0)
    });
    println!("{what:<44} {rate:>12.0}/s  probe {probe:>12.0}/s  {:>5.1} %{verdict}", ratio * 100.0);
}

/// One line: the rate alone.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub fn print_rate(what: &str, rate: f64) {
    println!("{what:<44} {rate:>12.0}/s");
}

/// One line: the rate, that of another broker, how many times it that is, and how many the project asks for, if it asks.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub fn print_times(what: &str, rate: f64, peer: &str, of_peer: f64, wanted: Option<f64>) {
    let times = rate / of_peer;
    let verdict = wanted.map_or_else(String::new, |wanted| {
        let verdict = if times >= wanted { "holds" } else { "falls short" };
        format!("  wanted {wanted:.1}  {verdict}")
    });
    println!("{what:<44} {rate:>12.0}/s  {peer:<24} {of_peer:>9.0}/s  {times:>5.2} times{verdict}");
}
