//! `embermq model bench`: percentiles of latency and items per second, for each batch size and number of instances.
//!
//! Instances are threads over one network; each runs one batch after the other. A bundle is measured with inputs of the sizes that its
//! manifest says, a text model with each of its lengths; with payloads it is measured whole, preparation and answer included.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use embermq_inference::{Fill, Limits, Model, ModelOptions, Network, Payload, made_up};
use serde_json::json;

use super::job::{Job, Parts};
use super::run::span;
use super::{
    Console, Dims, Exit, Failure, Global, On, not_opened, one_line, open, payload, profile, up_to,
};
use crate::cli::Output;
use crate::clock::{Clock as _, SystemClock};
use crate::config::parse_duration;

/// Runs before the measuring begins.
const WARM_UP_RUNS: usize = 3;
/// Rows of one run.
const BATCH_MAX: usize = 1 << 16;
/// As many threads as a stage may have.
const INSTANCES_MAX: usize = 256;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// A model file, or a folder with a `model.onnx`
    model: PathBuf,
    /// Payloads for a bundle, in turns: files, text, or - for standard input. Then preparing them and making the answers counts, too
    #[arg(value_name = "INPUT", allow_negative_numbers = true)]
    inputs: Vec<String>,
    /// Sizes of first axes that the model leaves open, at most 65536 [default: 1]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = up_to(BATCH_MAX))]
    batch: Vec<usize>,
    /// Threads that run the model at the same time, at most 256
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = up_to(INSTANCES_MAX))]
    instances: Vec<usize>,
    /// How long each combination is measured
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = parse_duration)]
    time: Duration,
    /// Zeros instead of random inputs. A bundle without payloads is measured on made-up ones: black pictures, padding, zeros
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

/// What is measured.
enum Subject {
    Network(Network),
    Bundle(Model),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
struct Combination {
    batch: usize,
    instances: usize,
    /// Of the texts, for a model that takes texts and is given none.
    length: Option<usize>,
}

/// What one combination gave.
struct Measure {
    combination: Combination,
    /// Sorted.
    latencies: Vec<Duration>,
    items_per_second: f64,
    /// For payloads.
    parts: Parts,
}

impl Subject {
    fn network(&self) -> &Network {
        match self {
            Self::Network(network) => network,
            Self::Bundle(model) => model.network(),
        }
    }

    /// The lengths that are measured.
    fn lengths(&self, with_payloads: bool) -> Vec<Option<usize>> {
        match self {
            Self::Bundle(model) if !with_payloads && !model.lengths().is_empty() => {
                model.lengths().iter().copied().map(Some).collect()
            }
            _ => vec![None],
        }
    }
}

impl Bench {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let subject = self.subject()?;
        let payloads = self.payloads(&subject)?;
        let batches = self.batches(&subject)?;
        let as_json = global.output == Output::Json;
        if !as_json {
            console.line(head(&subject, &payloads))?;
        }
        for length in subject.lengths(!payloads.is_empty()) {
            for batch in batches.iter().copied() {
                let job = self.job(&subject, &payloads, batch, length)?;
                for instances in self.instances.iter().copied() {
                    let measure = self.measure(&job, Combination { batch, instances, length })?;
                    if as_json {
                        console.json(&measure.as_json())?;
                    } else {
                        console.line(measure.line())?;
                    }
                    console.flush()?;
                }
                if let (true, Job::Tensors { network, inputs }) = (self.profile, &job) {
                    profile::print(network, inputs, self.time, as_json, console)?;
                }
            }
        }
        Ok(())
    }

    fn subject(&self) -> Result<Subject, Failure> {
        if payload::is_bundle(&self.model) && self.dims.is_empty() {
            let mut options = ModelOptions::default();
            options.device = self.on.device();
            let model = Model::open(&self.model, &options).map_err(|error| not_opened(&error))?;
            return Ok(Subject::Bundle(model));
        }
        let network = open(&self.model, &self.on.device())?;
        self.dims.check(&network)?;
        Ok(Subject::Network(network))
    }

    fn payloads(&self, subject: &Subject) -> Result<Vec<Payload>, Failure> {
        match subject {
            _ if self.inputs.is_empty() => Ok(Vec::new()),
            Subject::Bundle(_) if self.profile => {
                let what = "--profile is for the network alone, without payloads";
                Err(Failure::usage(what))
            }
            Subject::Bundle(model) => payload::payloads(&self.inputs, model),
            Subject::Network(_) => {
                let what = "payloads are for a bundle, a folder with a model.toml, without --dim; anything else is measured with made-up inputs";
                Err(Failure::usage(what))
            }
        }
    }

    fn batches(&self, subject: &Subject) -> Result<Vec<usize>, Failure> {
        let asked: Vec<Option<usize>> = if self.batch.is_empty() {
            vec![None]
        } else {
            self.batch.iter().copied().map(Some).collect()
        };
        let rows = |asked: Option<usize>| match (subject, asked) {
            (Subject::Bundle(model), Some(asked)) if !self.inputs.is_empty() => {
                let most = model.batch_max();
                if asked > most {
                    let what = "payloads run together at most: batch.max of its model.toml, 8 or 1 unless it says otherwise";
                    return Err(Failure::usage(format!("--batch {asked}: {most} {what}")));
                }
                Ok(asked)
            }
            (Subject::Bundle(_), None) => Ok(1),
            (subject, asked) => self.dims.rows(subject.network(), asked),
        };
        asked.into_iter().map(rows).collect()
    }

    fn job<'a>(
        &self,
        subject: &'a Subject,
        payloads: &'a [Payload],
        batch: usize,
        length: Option<usize>,
    ) -> Result<Job<'a>, Failure> {
        let network = subject.network();
        if let Subject::Bundle(model) = subject {
            if !payloads.is_empty() {
                return Ok(Job::Payloads { model, payloads, batch });
            }
            if let Some(inputs) = model.sample_inputs(length, batch) {
                return Ok(Job::Tensors { network, inputs });
            }
        }
        let sizes = self.dims.sizes(Some(batch));
        let fill = if self.zeros { Fill::Zeros } else { Fill::Random(1) };
        let limits = Limits::default();
        let inputs = network.inputs().iter().map(|port| made_up(port, &sizes, fill, &limits));
        let inputs = inputs.collect::<Result<_, _>>().map_err(failed)?;
        Ok(Job::Tensors { network, inputs })
    }

    fn measure(&self, job: &Job<'_>, combination: Combination) -> Result<Measure, Failure> {
        let clock = SystemClock::default();
        for turn in 0..WARM_UP_RUNS {
            job.run(turn)?;
        }
        let began = clock.elapsed();
        let until = began + self.time;
        let work = || {
            let (mut latencies, mut parts) = (Vec::new(), Parts::default());
            loop {
                let before = clock.elapsed();
                parts.add(job.run(latencies.len())?);
                let after = clock.elapsed();
                latencies.push(after.saturating_sub(before));
                if after >= until {
                    return Ok((latencies, parts));
                }
            }
        };
        let results: Vec<Result<(Vec<Duration>, Parts), Failure>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..combination.instances).map(|_| scope.spawn(work)).collect();
            let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(failed("a thread panicked")))
            };
            threads.into_iter().map(ended).collect()
        });
        let took = clock.elapsed().saturating_sub(began);
        let (mut latencies, mut parts) = (Vec::new(), Parts::default());
        for result in results {
            let (own, of_own) = result?;
            latencies.extend(own);
            parts.add(of_own);
        }
        latencies.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let items_per_second = (latencies.len() * combination.batch) as f64 / took.as_secs_f64();
        Ok(Measure { combination, latencies, items_per_second, parts })
    }
}

fn head(subject: &Subject, payloads: &[Payload]) -> String {
    let (batch, instances, p50, p90, p99, max, items) =
        ("batch", "instances", "p50", "p90", "p99", "max", "items/s");
    let mut head =
        format!("{batch:>6} {instances:>10} {p50:>10} {p90:>10} {p99:>10} {max:>10} {items:>12}");
    if !payloads.is_empty() {
        let (pre, compute, post) = ("pre", "compute", "post");
        let _ = write!(head, " {pre:>10} {compute:>10} {post:>10}");
    } else if subject.lengths(false) != [None] {
        let _ = write!(head, " {:>7}", "length");
    }
    head
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
        let Combination { batch, instances, length } = self.combination;
        let items = self.items_per_second;
        let mut line = format!(
            "{batch:>6} {instances:>10} {p50:>10} {p90:>10} {p99:>10} {max:>10} {items:>12.1}"
        );
        if let Some(length) = length {
            let _ = write!(line, " {length:>7}");
        }
        if self.parts.payloads > 0 {
            let mean = self.parts.mean();
            let [pre, compute, post] = [mean.pre, mean.compute, mean.post].map(span);
            let _ = write!(line, " {pre:>10} {compute:>10} {post:>10}");
        }
        line
    }

    fn as_json(&self) -> serde_json::Value {
        let seconds = |percent| self.percentile(percent).as_secs_f64();
        let mut json = json!({
            "batch": self.combination.batch,
            "instances": self.combination.instances,
            "runs": self.latencies.len(),
            "p50_seconds": seconds(50),
            "p90_seconds": seconds(90),
            "p99_seconds": seconds(99),
            "max_seconds": seconds(100),
            "items_per_second": self.items_per_second,
        });
        if let Some(length) = self.combination.length {
            json["length"] = length.into();
        }
        if self.parts.payloads > 0 {
            let mean = self.parts.mean();
            json["pre_seconds"] = mean.pre.as_secs_f64().into();
            json["compute_seconds"] = mean.compute.as_secs_f64().into();
            json["post_seconds"] = mean.post.as_secs_f64().into();
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_were_seen() {
        let latencies = (1..=10).map(Duration::from_millis).collect();
        let combination = Combination { batch: 1, instances: 1, length: None };
        let parts = Parts::default();
        let measure = Measure { combination, latencies, items_per_second: 1.0, parts };
        let [p50, p99, max] = [50, 99, 100].map(|percent| measure.percentile(percent).as_millis());
        assert_eq!((p50, p99, max), (5, 10, 10));
    }
}
