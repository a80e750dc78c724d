//! How long a model takes: `cargo run --release -p embermq-inference --example speed -- MODEL [INPUT=SIZExSIZE...]...`
//!
//! Floats are random, integers are 1, sizes that the file leaves open are 1 unless given. Prints the least and the median time of a run in one
//! thread. `SECONDS` in the environment says how long to measure, 2 by default; with `PROFILE` set, the least time of each operator is
//! printed, too. With `INSTANCES` set to a number, that many threads run the model at once, and what is printed is the runs per second
//! of all of them together.
#![expect(clippy::print_stdout, reason = "what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use embermq_inference::{
    DType, Dim, Limits, Network, Port, RunError, SystemClock, Tensor, Value, ValueType, elements_of,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("which model?")?;
    let shapes: HashMap<String, Vec<usize>> =
        arguments.map(|text| shape_of(&text)).collect::<Result<_, _>>()?;
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let network = Network::open(Path::new(&model), &Limits::default())?;
    let inputs: Vec<Value> =
        network.inputs().iter().map(|port| value_of(port, &shapes)).collect::<Result<_, _>>()?;
    if let Some(instances) = std::env::var("INSTANCES").ok().and_then(|text| text.parse().ok()) {
        println!("{:.4}", runs_per_second(&network, &inputs, instances, seconds)?);
        return Ok(());
    }
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < 5 || begin.elapsed() < Duration::from_secs_f64(seconds) {
        let start = Instant::now();
        network.run(inputs.clone())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_unstable_by(f64::total_cmp);
    println!("{:.4} {:.4} {}", times[0], times[times.len() / 2], times.len());
    if std::env::var_os("PROFILE").is_some() {
        profile(&network, &inputs, times.len())?;
    }
    Ok(())
}

fn runs_per_second(
    network: &Network,
    inputs: &[Value],
    instances: usize,
    seconds: f64,
) -> Result<f64, Box<dyn Error>> {
    network.run(inputs.to_vec())?;
    // Each by its own time: over a common one, a thread that has finished and waits for the other's last run would lower the rate.
    let work = || -> Result<f64, RunError> {
        let inputs = unshared(inputs);
        let (begin, mut runs) = (Instant::now(), 0_u32);
        while begin.elapsed() < Duration::from_secs_f64(seconds) {
            network.run(inputs.clone())?;
            runs += 1;
        }
        Ok(f64::from(runs) / begin.elapsed().as_secs_f64())
    };
    let rates: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..instances).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut sum = 0.0;
    for rate in rates {
        sum += rate.map_err(|_| "a thread panicked")??;
    }
    Ok(sum)
}

/// Copies that share nothing: requests have each their own, too.
fn unshared(inputs: &[Value]) -> Vec<Value> {
    let copy = |value: &Value| match value {
        Value::Tensor(tensor) => {
            let shape = tensor.shape().to_vec();
            Tensor::from_raw(tensor.dtype(), shape, tensor.raw())
                .map_or_else(|| value.clone(), Value::Tensor)
        }
        other => other.clone(),
    };
    inputs.iter().map(copy).collect()
}

fn profile(network: &Network, inputs: &[Value], runs: usize) -> Result<(), Box<dyn Error>> {
    let clock = SystemClock::default();
    let (_, mut least) = network.run_profiled(inputs.to_vec(), &clock)?;
    for _ in 1..runs {
        let (_, steps) = network.run_profiled(inputs.to_vec(), &clock)?;
        for (least, step) in least.iter_mut().zip(steps) {
            least.took = least.took.min(step.took);
        }
    }
    for step in least {
        let shape = step.shape.unwrap_or_default();
        println!("{:10.1} us  {} {shape:?} {}", step.took.as_secs_f64() * 1e6, step.op, step.node);
    }
    Ok(())
}

fn shape_of(text: &str) -> Result<(String, Vec<usize>), Box<dyn Error>> {
    let (name, sizes) = text.split_once('=').ok_or("a shape is written NAME=1x2x3")?;
    let sizes = sizes.split('x').map(str::parse).collect::<Result<_, _>>()?;
    Ok((name.to_owned(), sizes))
}

fn value_of(port: &Port, shapes: &HashMap<String, Vec<usize>>) -> Result<Value, Box<dyn Error>> {
    let ValueType::Tensor { dtype: Some(dtype), dims } = &port.value_type else {
        return Err(format!("input {:?} is no tensor of a known type", port.name).into());
    };
    let shape = match (shapes.get(&port.name), dims) {
        (Some(shape), _) => shape.clone(),
        (None, Some(dims)) => dims.iter().map(size_of_dim).collect(),
        (None, None) => return Err(format!("no shape is given for {:?}", port.name).into()),
    };
    let elements = elements_of(&shape).ok_or("an input is too large")?;
    let bytes: Vec<u8> = match dtype {
        DType::F32 => (0..elements).flat_map(|at| sample(at).to_le_bytes()).collect(),
        DType::I64 => vec![1_i64; elements].iter().flat_map(|one| one.to_le_bytes()).collect(),
        DType::I32 => vec![1_i32; elements].iter().flat_map(|one| one.to_le_bytes()).collect(),
        other => vec![0; elements * other.bytes()],
    };
    let tensor = Tensor::from_raw(*dtype, shape, &bytes).ok_or("an input has no sample")?;
    Ok(Value::Tensor(tensor))
}

/// Numbers between -1 and 1.
#[expect(clippy::cast_precision_loss, reason = "small")]
fn sample(at: usize) -> f32 {
    ((at * 7919 + 13) % 1001) as f32 / 500.0 - 1.0
}

fn size_of_dim(dim: &Dim) -> usize {
    match dim {
        Dim::Size(size) => *size,
        _ => 1,
    }
}
