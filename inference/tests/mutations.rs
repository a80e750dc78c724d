//! The fuzzer's corpus, changed at random and loaded, planned and run: what the fuzz target does, on a stable compiler and with a
//! seed. `EMBERMQ_FUZZ_RUNS` sets how often, `EMBERMQ_SEED` where it begins.
#![expect(clippy::unwrap_used, reason = "a test ends where what it expects is not there")]

use std::fs;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use embermq_inference::{Fill, Limits, Network, Sizes, Value, made_up};

/// Panics on any thread, also those that are caught.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }
}

/// Good models to begin with.
fn corpus() -> Vec<Vec<u8>> {
    files("model")
}

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(folder);
    let entries = fs::read_dir(&folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "onnx"));
    files.sort();
    assert!(files.len() > 10, "the corpus is gone");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// One to four changes: a byte, a number of many bytes, a part that is cut out, doubled or taken from another file.
fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let len = random.below(24).min(bytes.len() - at);
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            // The next field's number becomes huge: a varint of ten bytes.
            2 => drop(bytes.splice(at..at, [0xff; 9].into_iter().chain([1]))),
            3 => drop(bytes.drain(at..at + len)),
            4 => {
                let part = bytes[at..at + len].to_vec();
                bytes.splice(at..at, part);
            }
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                let part = &other[from..(from + len).min(other.len())];
                bytes.splice(at..at + len, part.iter().copied());
            }
            // Small numbers: axes, ranks, types, indices.
            6 if !bytes.is_empty() => bytes[at] = u8::try_from(random.below(24)).unwrap(),
            _ => bytes.truncate(at.max(8)),
        }
    }
    bytes
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.file_bytes_max = 1 << 20;
    limits.weight_bytes_max = 1 << 20;
    limits.nodes_max = 1000;
    limits.depth_max = 6;
    limits.run_bytes_max = 1 << 18;
    limits.live_bytes_max = 1 << 20;
    limits.folded_bytes_max = 1 << 16;
    limits.iterations_max = 20;
    limits
}

/// Whether it loaded, and ran.
fn exercise(bytes: Vec<u8>, limits: &Limits) -> (bool, bool) {
    let loaded = Network::from_bytes(bytes.into(), Path::new("nowhere"), limits);
    let Ok(network) = loaded else { return (false, false) };
    let inputs = network.inputs().iter();
    let inputs = inputs.map(|port| made_up(port, &Sizes::default(), Fill::Random(1), limits));
    match inputs.collect::<Result<Vec<Value>, _>>() {
        Ok(inputs) => (true, network.run(inputs).is_ok()),
        Err(_) => (true, false),
    }
}

fn count_panics() {
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(panic);
        }));
    });
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_change_to_a_model_makes_the_engine_panic() {
    let (runs, seed) = (number("EMBERMQ_FUZZ_RUNS", 3000), number("EMBERMQ_SEED", 1));
    let (corpus, limits) = (corpus(), limits());
    count_panics();
    let (mut loaded, mut ran) = (0, 0);
    for run in 0..runs {
        let mut random = Random(seed.wrapping_add(run));
        let bytes = mutate(&corpus, &mut random);
        let outcome = std::panic::catch_unwind(|| exercise(bytes, &limits));
        let seed = seed.wrapping_add(run);
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "EMBERMQ_SEED={seed} EMBERMQ_FUZZ_RUNS=1");
        let (loads, runs) = outcome.unwrap();
        loaded += u64::from(loads);
        ran += u64::from(runs);
    }
    println!("{runs} changed models: {loaded} loaded, {ran} ran");
    assert!(runs < 1000 || loaded > runs / 100, "hardly any load: the changes are too wild");
}

#[test]
fn the_corpus_loads() {
    let limits = limits();
    let loaded = corpus().into_iter().filter(|bytes| exercise(bytes.clone(), &limits).0).count();
    assert!(loaded > 10, "only {loaded} of the corpus load");
}

#[test]
fn nothing_that_the_fuzzer_found_makes_the_engine_panic() {
    let limits = limits();
    count_panics();
    let found = files("found");
    let loaded = found.into_iter().filter(|bytes| exercise(bytes.clone(), &limits).0).count();
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    assert!(loaded > 0);
}
