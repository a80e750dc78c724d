//! Models by the inference engine of this program: ONNX files and bundles.

use std::path::Path;
use std::sync::Arc;

use embermq_inference::{
    Answer, Cancel, Device, InferError, Model, ModelOptions, OpenError, Payload,
};

use super::host::Loader;
use super::meter::ModelMeter;
use super::overrides::Overrides;
use super::tensors::TensorModel;
use crate::background::give_way;
use crate::record::Record;
use crate::stage::{Fault, Identity, Output, Processor};

/// Loads bundles, and ONNX files alone.
#[derive(Clone, Debug, Default)]
pub struct OnnxLoader {
    options: ModelOptions,
}

#[derive(Debug)]
struct OnnxProcessor {
    identity: Identity,
    model: Model,
    meter: Arc<ModelMeter>,
    /// What it shares its network with: as long as this is used, that one is loaded.
    _base: Option<Arc<Self>>,
}

impl Loader for OnnxLoader {
    fn load(&self, folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        let model = on_a_thread_of_its_own(|| self.open(folder))?;
        Ok(Arc::new(OnnxProcessor { identity, model, meter: Arc::default(), _base: None }))
    }

    fn try_out(&self, folder: &Path, _identity: Identity) -> Result<(), Vec<String>> {
        on_a_thread_of_its_own(|| {
            let mismatches = self.open(folder)?.check_golden();
            mismatches.map_err(|all| all.iter().map(ToString::to_string).collect())
        })
    }
}

/// A thread that runs models keeps memory for its next run. Whoever loads one warms it up with its largest batch, and may not run it again.
/// What the caller's runs watch, those on that thread do.
fn on_a_thread_of_its_own<T: Send>(
    work: impl FnOnce() -> Result<T, Vec<String>> + Send,
) -> Result<T, Vec<String>> {
    let watched = Cancel::watched().unwrap_or_default();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("model-load".to_owned());
        let started = thread.spawn_scoped(scope, || {
            give_way();
            watched.watch(work)
        });
        let started =
            started.map_err(|error| vec![format!("no thread can be started: {error}")])?;
        started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl OnnxLoader {
    /// A loader of models that run on a device.
    #[must_use]
    pub fn on(device: Device) -> Self {
        let mut options = ModelOptions::default();
        options.device = device;
        Self { options }
    }

    fn open(&self, folder: &Path) -> Result<Model, Vec<String>> {
        let manifest = folder.join("model.toml").is_file();
        let path = if manifest { folder.to_owned() } else { folder.join("model.onnx") };
        // Where it lies is nobody's business but ours.
        let prefix = format!("{}/", folder.display());
        let model = Model::open(&path, &self.options).map_err(|error| problems(&error, &prefix))?;
        model.warm_up().map_err(first_run)?;
        model.try_answer().map_err(|error| match error {
            InferError::Manifest { .. } => vec![format!("model.toml: {error}")],
            error => first_run(error),
        })?;
        Ok(model)
    }
}

fn first_run(error: InferError) -> Vec<String> {
    vec![format!("the first run failed: {error}")]
}

fn problems(error: &OpenError, prefix: &str) -> Vec<String> {
    let all: Vec<String> = match error {
        OpenError::Problems(problems) => problems.iter().map(ToString::to_string).collect(),
        OpenError::Load(embermq_inference::LoadError::Problems(problems)) => {
            problems.iter().map(ToString::to_string).collect()
        }
        other => vec![other.to_string()],
    };
    all.into_iter().map(|text| text.replace(prefix, "")).collect()
}

/// What is wrong with overrides, which are in no file.
fn keys(error: &OpenError) -> Vec<String> {
    match error {
        OpenError::Problems(problems) => {
            problems.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect()
        }
        other => vec![other.to_string()],
    }
}

impl OnnxProcessor {
    fn count(&self, answer: &Answer) {
        let (meter, times) = (&self.meter, &answer.times);
        meter.pre_seconds.observe_duration(times.pre);
        meter.compute_seconds.observe_duration(times.compute);
        meter.post_seconds.observe_duration(times.post);
        meter.batch_size.observe_count(u32::try_from(answer.batch).unwrap_or(u32::MAX));
    }
}

impl Processor for OnnxProcessor {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn length(&self) -> Option<fn(&Record) -> usize> {
        // Texts of so many bytes have about so many tokens.
        let bytes = |record: &Record| record.value.as_ref().map_or(0, bytes::Bytes::len);
        self.model.pads().then_some(bytes as fn(&Record) -> usize)
    }

    fn meter(&self) -> Option<Arc<ModelMeter>> {
        Some(Arc::clone(&self.meter))
    }

    fn tensors(&self) -> Option<&dyn TensorModel> {
        Some(&self.model)
    }

    fn overridden(
        self: Arc<Self>,
        overrides: &Overrides,
        identity: Identity,
    ) -> Result<Arc<dyn Processor>, Vec<String>> {
        let Overrides { pre, post } = overrides.clone();
        let own = embermq_inference::Overrides::new(pre, post);
        let model = on_a_thread_of_its_own(|| {
            let model = self.model.overridden(&own).map_err(|error| keys(&error))?;
            // What is prepared otherwise may have other sizes.
            if !own.pre.is_empty() {
                model.warm_up().map_err(first_run)?;
            }
            model.try_answer().map_err(|error| match error {
                InferError::Manifest { .. } => vec![error.to_string()],
                error => first_run(error),
            })?;
            Ok(model)
        })?;
        let meter = Arc::clone(&self.meter);
        Ok(Arc::new(Self { identity, model, meter, _base: Some(self) }))
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let payload = |record: &Record| Payload::from(record.value.clone().unwrap_or_default());
        let payloads: Vec<Payload> = batch.iter().map(payload).collect();
        let answers = self.model.infer(&payloads).into_iter();
        let outcome = |answer: Result<Answer, InferError>| match answer {
            Ok(answer) => {
                self.count(&answer);
                Ok(Output {
                    value: answer.content.to_bytes().into(),
                    content_type: answer.content.media_type().to_owned(),
                    nonfinite: answer.nonfinite,
                    took: answer.times.pre + answer.times.compute + answer.times.post,
                    batch_size: Some(answer.batch),
                })
            }
            Err(error) => Err(Fault {
                retryable: error.is_retryable(),
                code: error.class().to_owned(),
                message: error.to_string(),
            }),
        };
        answers.map(outcome).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_load_gives_way() {
        let priority = || Ok(rustix::process::getpriority_process(None).unwrap());
        let before: i32 = priority().unwrap();
        assert!(on_a_thread_of_its_own(priority).unwrap() > before);
        assert_eq!(priority().unwrap(), before);
    }
}
