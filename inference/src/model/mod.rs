//! A model as a whole: payloads in, answers out.
//!
//! [`Model::open`] loads a bundle; [`Model::infer`] answers a batch of payloads on the thread that calls it. [`Instances`] are threads that
//! do so for others. Payloads are answered one by one as far as anyone can tell: a bad one fails alone, and what runs together is an
//! optimisation that `[batch]` bounds.

mod answer;
mod batching;
mod error;
mod golden;
mod infer;
mod instances;
mod rows;
mod warm_up;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use answer::{Answer, Payload, Times};
use batching::Batching;
pub use error::{InferError, Stage};
pub use golden::GoldenMismatch;
use golden::Known;
pub use instances::{InstanceOptions, Instances, Refused, Results, StartError};
use warm_up::WarmUpPlan;
pub use warm_up::{WarmUp, Warmed};

use crate::bundle::{Bundle, OpenError, Overrides, Section, Surroundings};
use crate::clock::{Clock, SystemClock};
use crate::device::Device;
use crate::limits::Limits;
use crate::network::Network;
use crate::post::Post;
use crate::pre::Pre;

/// How a model is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelOptions {
    /// What the model may cost.
    pub limits: Limits,
    /// Where the graph runs; payloads and answers are always made on the CPU.
    pub device: Device,
    /// Measures the times of an answer.
    pub clock: Arc<dyn Clock>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        let (limits, device) = (Limits::default(), Device::cpu());
        Self { limits, device, clock: Arc::new(SystemClock::default()) }
    }
}

/// A model that answers. Cloning shares everything.
#[derive(Clone, Debug)]
pub struct Model {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    description: Option<String>,
    network: Network,
    clock: Arc<dyn Clock>,
    recipe: Recipe,
    /// What it was read from, to be read again with overrides.
    bundle: Arc<Bundle>,
}

/// What the manifest says.
#[derive(Debug)]
struct Recipe {
    name: Option<String>,
    description: Option<String>,
    batching: Batching,
    pre: Pre,
    post: Post,
    warm_up: WarmUpPlan,
    golden: Vec<Known>,
}

impl Model {
    /// Opens a folder with `model.onnx` and `model.toml`, or a bare `.onnx` file.
    ///
    /// # Errors
    /// [`OpenError`]: a file cannot be read, or everything that is wrong with the graph, or everything that is wrong with the manifest.
    pub fn open(path: &Path, options: &ModelOptions) -> Result<Self, OpenError> {
        let bundle = Bundle::open(path, &options.limits, &options.device)?;
        let recipe = bundle.read(Recipe::read)?;
        let name = recipe.name.clone().unwrap_or_else(|| bundle.name.clone());
        let description = recipe.description.clone();
        let (network, clock) = (bundle.network.clone(), options.clock.clone());
        let bundle = Arc::new(bundle);
        let inner = Inner { name, description, network, clock, recipe, bundle };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same model with some of its manifest's `[pre]` and `[post]` otherwise: it shares the network, so its weights are in memory once.
    /// Answers that its bundle knows are not those of this one.
    ///
    /// # Errors
    /// [`OpenError::Problems`]: everything that is wrong with the overrides, by key, without lines.
    pub fn overridden(&self, overrides: &Overrides) -> Result<Self, OpenError> {
        let bundle = Arc::clone(&self.inner.bundle);
        let mut recipe = bundle.read_with(overrides, Recipe::read)?;
        recipe.golden = Vec::new();
        let (name, description) = (self.inner.name.clone(), self.inner.description.clone());
        let (network, clock) = (self.inner.network.clone(), self.inner.clock.clone());
        let inner = Inner { name, description, network, clock, recipe, bundle };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name: what the manifest says, else that of its folder or file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What the manifest says of it.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.inner.description.as_deref()
    }

    /// Its graph.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// The most payloads that run together.
    #[must_use]
    pub fn batch_max(&self) -> usize {
        self.inner.recipe.batching.max()
    }

    /// Whether payloads are padded to run together, so that those of like length are better given together.
    #[must_use]
    pub fn pads(&self) -> bool {
        let pre = &self.inner.recipe.pre;
        self.batch_max() > 1 && (pre.lengths().len() > 1 || pre.is_ragged())
    }

    /// Whether any text can be a payload. A picture, raw elements and JSON are something more.
    #[must_use]
    pub fn takes_any_text(&self) -> bool {
        self.inner.recipe.pre.takes_any_text()
    }

    /// The lengths that texts are padded to; none for other payloads.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        self.inner.recipe.pre.lengths()
    }
}

impl Recipe {
    fn read(root: &Section<'_>, around: &Surroundings<'_>) -> Option<Self> {
        let (name, description) = (root.text("name"), root.text("description"));
        // Where a model comes from is for people; nothing here reads it.
        for key in ["license", "source", "file"] {
            let _ = root.text(key);
        }
        let batching = Batching::read(root.section("batch"), around);
        // What is wrong with the batch is no reason to say that the rest does not go with a model without one.
        let axis = batching.as_ref().map_or(Some(0), |batching| batching.axis);
        let alone = batching.as_ref().is_some_and(|batching| batching.max() == 1);
        let pre = Pre::read(root.section("pre"), around, axis, alone);
        let post = Post::read(root.section("post"), around);
        let batches = batching.as_ref().map_or(batching::BATCH_LIMIT, Batching::max);
        let warm_up = WarmUpPlan::read(root.section("warm_up"), batches);
        let golden = Known::read_all(root, around);
        root.finish();
        Some(Self {
            name,
            description,
            batching: batching?,
            pre: pre?,
            post: post?,
            warm_up,
            golden,
        })
    }
}
