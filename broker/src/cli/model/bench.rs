//! `embermq model bench`: percentiles of latency and items per second, for each batch size and number of instances.
//!
//! Instances are threads over one network; each runs one batch after the other.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use embermq_inference::{Fill, Limits, Network, Value, made_up};
use serde_json::json;

use super::run::span;
use super::{Console, Dims, Exit, Failure, Global, On, at_least_one, one_line, open, profile};
use crate::cli::Output;
use crate::clock::{Clock as _, SystemClock};
use crate::config::parse_duration;

/// Runs before the measuring begins.
const WARM_UP_RUNS: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// A model file, or a folder with a `model.onnx`
    model: PathBuf,
    /// Sizes of first axes that the model leaves open [default: 1]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = at_least_one)]
    batch: Vec<usize>,
    /// Threads that run the model at the same time
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = at_least_one)]
    instances: Vec<usize>,
    /// How long each combination is measured
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = parse_duration)]
    time: Duration,
    /// Zeros instead of random inputs
    #[arg(long)]
    zeros: bool,
    /// Say what each operator takes, too
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    dims: Dims,
    #[command(flatten)]
    on: On,
}

/// What one combination gave.
struct Measure {
    batch: usize,
    instances: usize,
    /// Sorted.
    latencies: Vec<Duration>,
    items_per_second: f64,
}

impl Bench {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let network = open(&self.model, &self.on.device)?;
        self.dims.check(&network)?;
        let asked: Vec<Option<usize>> = if self.batch.is_empty() {
            vec![None]
        } else {
            self.batch.iter().copied().map(Some).collect()
        };
        let batches = asked.into_iter().map(|asked| self.dims.rows(&network, asked));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let as_json = global.output == Output::Json;
        if !as_json {
            let columns = ("batch", "instances", "p50", "p90", "p99", "max", "items/s");
            let (batch, instances, p50, p90, p99, max, items) = columns;
            console.line(format!(
                "{batch:>6} {instances:>10} {p50:>10} {p90:>10} {p99:>10} {max:>10} {items:>12}"
            ))?;
        }
        for batch in &batches {
            for instances in &self.instances {
                let measure = self.measure(&network, *batch, *instances)?;
                if as_json {
                    console.json(&measure.as_json())?;
                } else {
                    console.line(measure.line())?;
                }
                console.flush()?;
            }
            if self.profile {
                let inputs = self.inputs(&network, *batch)?;
                profile::print(&network, &inputs, self.time, as_json, console)?;
            }
        }
        Ok(())
    }

    fn inputs(&self, network: &Network, batch: usize) -> Result<Vec<Value>, Failure> {
        let sizes = self.dims.sizes(Some(batch));
        let fill = if self.zeros { Fill::Zeros } else { Fill::Random(1) };
        let limits = Limits::default();
        let inputs = network.inputs().iter().map(|port| made_up(port, &sizes, fill, &limits));
        inputs.collect::<Result<_, _>>().map_err(failed)
    }

    fn measure(
        &self,
        network: &Network,
        batch: usize,
        instances: usize,
    ) -> Result<Measure, Failure> {
        let inputs = self.inputs(network, batch)?;
        let clock = SystemClock::default();
        for _ in 0..WARM_UP_RUNS {
            network.run(inputs.clone()).map_err(failed)?;
        }
        let began = clock.elapsed();
        let until = began + self.time;
        let work = || {
            let mut latencies = Vec::new();
            loop {
                let before = clock.elapsed();
                network.run(inputs.clone()).map_err(failed)?;
                let after = clock.elapsed();
                latencies.push(after.saturating_sub(before));
                if after >= until {
                    return Ok(latencies);
                }
            }
        };
        let results: Vec<Result<Vec<Duration>, Failure>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..instances).map(|_| scope.spawn(work)).collect();
            let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(failed("a thread panicked")))
            };
            threads.into_iter().map(ended).collect()
        });
        let took = clock.elapsed().saturating_sub(began);
        let mut latencies = Vec::new();
        for result in results {
            latencies.extend(result?);
        }
        latencies.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let items_per_second = (latencies.len() * batch) as f64 / took.as_secs_f64();
        Ok(Measure { batch, instances, latencies, items_per_second })
    }
}

pub(super) fn failed(error: impl ToString) -> Failure {
    Failure::new(Exit::Damage, one_line(&error.to_string()))
}

impl Measure {
    /// The latency that `percent` of the runs did not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
        self.latencies.get(at).copied().unwrap_or_default()
    }

    fn line(&self) -> String {
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| span(self.percentile(percent)));
        let (batch, instances, items) = (self.batch, self.instances, self.items_per_second);
        format!("{batch:>6} {instances:>10} {p50:>10} {p90:>10} {p99:>10} {max:>10} {items:>12.1}")
    }

    fn as_json(&self) -> serde_json::Value {
        let seconds = |percent| self.percentile(percent).as_secs_f64();
        json!({
            "batch": self.batch,
            "instances": self.instances,
            "runs": self.latencies.len(),
            "p50_seconds": seconds(50),
            "p90_seconds": seconds(90),
            "p99_seconds": seconds(99),
            "max_seconds": seconds(100),
            "items_per_second": self.items_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_were_seen() {
        let latencies = (1..=10).map(Duration::from_millis).collect();
        let measure = Measure { batch: 1, instances: 1, latencies, items_per_second: 1.0 };
        let [p50, p99, max] = [50, 99, 100].map(|percent| measure.percentile(percent).as_millis());
        assert_eq!((p50, p99, max), (5, 10, 10));
    }
}
