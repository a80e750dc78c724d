//! Bytes that may be a model: loaded, planned and run within small limits. A panic anywhere ends the fuzzer, those that the engine
//! would catch as well.
#![no_main]

use std::path::Path;

use embermq_inference::{Fill, Limits, Network, Sizes, Value, made_up};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut limits = Limits::default();
    limits.file_bytes_max = 1 << 20;
    limits.weight_bytes_max = 1 << 20;
    limits.nodes_max = 1000;
    limits.depth_max = 6;
    limits.run_bytes_max = 1 << 18;
    limits.live_bytes_max = 1 << 20;
    limits.folded_bytes_max = 1 << 16;
    limits.iterations_max = 20;
    let Ok(network) = Network::from_bytes(bytes.to_vec().into(), Path::new("nowhere"), &limits) else {
        return;
    };
    let inputs = network.inputs().iter();
    let inputs = inputs.map(|port| made_up(port, &Sizes::default(), Fill::Random(1), &limits));
    if let Ok(inputs) = inputs.collect::<Result<Vec<Value>, _>>() {
        drop(network.run(inputs));
    }
});
