//! Running a model before anyone waits for it: the first run of a shape pays for memory and plans that later ones find ready.

use std::time::Duration;

use super::Model;
use super::batching::Size;
use super::error::InferError;
use crate::bundle::Section;

/// Which sizes are run.
#[derive(Debug)]
pub(crate) struct WarmUpPlan {
    enabled: bool,
    batches: Vec<usize>,
}

/// What was run to warm a model up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmUp {
    /// Each size, in order.
    pub runs: Vec<Warmed>,
    /// Why nothing was run, if so.
    pub skipped: Option<&'static str>,
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// The length of the texts, for a model that takes texts.
    pub length: Option<usize>,
    /// Rows that ran together.
    pub batch: usize,
    /// What it took.
    pub compute: Duration,
}

impl WarmUpPlan {
    /// Reads `[warm_up]`. `batch_max`: the most rows of a run.
    pub(super) fn read(section: Section<'_>, batch_max: usize) -> Self {
        let enabled = section.flag("enabled").unwrap_or(true);
        let asked = section.counts("batches", 1..=batch_max);
        section.finish();
        let batches = asked.unwrap_or_else(|| {
            let doubled = std::iter::successors(Some(1_usize), |size| size.checked_mul(2));
            let mut sizes: Vec<usize> = doubled.take_while(|size| *size < batch_max).collect();
            sizes.push(batch_max);
            sizes
        });
        Self { enabled, batches }
    }
}

impl Model {
    /// Makes an answer from made-up inputs, if their shapes are known and `[warm_up]` lets it: what `[post]` takes the outputs for shows
    /// only then.
    ///
    /// # Errors
    /// [`InferError`]: the model does not run, or [`InferError::Manifest`]: nothing that is sent to it would be answered.
    pub fn try_answer(&self) -> Result<(), InferError> {
        let (inner, pre) = (&*self.inner, &self.inner.recipe.pre);
        if !inner.recipe.warm_up.enabled {
            return Ok(());
        }
        let sample = pre.sample(pre.lengths().first().copied(), inner.network.inputs());
        sample.map_or(Ok(()), |row| inner.try_answer(&row))
    }

    /// Runs every length with every batch size that the manifest lists: by default the powers of two and the largest.
    ///
    /// # Errors
    /// [`InferError`]: the model does not run, so nothing that is sent to it would be answered.
    pub fn warm_up(&self) -> Result<WarmUp, InferError> {
        let (inner, recipe) = (&*self.inner, &self.inner.recipe);
        let skipped = |why| Ok(WarmUp { runs: Vec::new(), skipped: Some(why) });
        if !recipe.warm_up.enabled {
            return skipped("warm_up.enabled is false");
        }
        let lengths: Vec<Option<usize>> = match recipe.pre.lengths() {
            [] => vec![None],
            lengths => lengths.iter().copied().map(Some).collect(),
        };
        let mut runs = Vec::new();
        for length in lengths {
            let Some(row) = recipe.pre.sample(length, inner.network.inputs()) else {
                return skipped("the model's inputs have no fixed shapes");
            };
            for batch in recipe.warm_up.batches.iter().copied() {
                // A model of fixed size is filled up with copies.
                let rows = if matches!(recipe.batching.size, Size::Exactly(_)) { 1 } else { batch };
                let compute = inner.run_copies(&row, rows)?;
                runs.push(Warmed { length, batch, compute });
            }
        }
        Ok(WarmUp { runs, skipped: None })
    }
}
