//! A batch of payloads to a batch of answers.
//!
//! Every payload is made ready on its own; those of one shape run together, at most as many as may; a run that fails is halved until only
//! the culprits are left (at most 2·log2 of the batch extra runs for each). A panic is an error of the payload that it came of.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::answer::{Answer, Payload, Times};
use super::batching::Size;
use super::error::{InferError, Stage};
use super::{Inner, Model, rows};
use crate::dtype::DType;
use crate::error::OpError;
use crate::post::{Content, OutputError, Outputs, has_nonfinite};
use crate::pre::{Prepared, Row};
use crate::run::message_of;
use crate::tensor::Tensor;
use crate::value::Value;

/// A payload that is to be run.
#[derive(Debug)]
struct Waiting {
    /// Its place among the payloads.
    at: usize,
    row: Row,
    pre: Duration,
}

/// What rows must have in common to run together.
type Form = Vec<(DType, Vec<usize>)>;

/// Answers by the payloads' places.
type Answers = [Option<Result<Answer, InferError>>];

impl Model {
    /// Answers payloads, each on its own: a bad one fails alone. Works on the thread that calls it.
    #[must_use]
    pub fn infer(&self, payloads: &[Payload]) -> Vec<Result<Answer, InferError>> {
        let inner = &*self.inner;
        let mut answers: Vec<_> = payloads.iter().map(|_| None).collect();
        let mut groups: Vec<(Form, Vec<Waiting>)> = Vec::new();
        for (at, payload) in payloads.iter().enumerate() {
            let (prepared, pre) = inner.timed(|| inner.prepare(payload));
            match prepared {
                Err(error) => answers[at] = Some(Err(error)),
                Ok(Prepared::Label(label)) => {
                    let (content, post) = inner
                        .timed(|| guarded(Stage::Post, || inner.recipe.post.answer_for(&label)));
                    let times = Times { pre, post, ..Times::default() };
                    let answer = |content| Answer { content, nonfinite: false, times, batch: 0 };
                    answers[at] = Some(content.map(answer));
                }
                Ok(Prepared::Row(row)) => {
                    let form = inner.form(&row);
                    let waiting = Waiting { at, row, pre };
                    match groups.iter_mut().find(|(known, _)| *known == form) {
                        Some((_, group)) => group.push(waiting),
                        None => groups.push((form, vec![waiting])),
                    }
                }
            }
        }
        for (_, group) in groups {
            inner.run_group(group, &mut answers);
        }
        let none = || Err(InferError::Outputs { what: "the payload was not answered".to_owned() });
        answers.into_iter().map(|answer| answer.unwrap_or_else(none)).collect()
    }

    /// Inputs of the network as `batch` made-up payloads would give them: for texts, of one of [`lengths`](Self::lengths). `None`: the
    /// model's inputs have no fixed shapes, or no batch of that size.
    #[must_use]
    pub fn sample_inputs(&self, length: Option<usize>, batch: usize) -> Option<Vec<Value>> {
        let inner = &*self.inner;
        let row = inner.recipe.pre.sample(length, inner.network.inputs())?;
        let inputs = inner.inputs(&mut copies(&row, batch)).ok()?;
        Some(inputs.into_iter().map(Value::Tensor).collect())
    }
}

impl Inner {
    fn timed<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let start = self.clock.elapsed();
        let done = work();
        (done, self.clock.elapsed().saturating_sub(start))
    }

    fn prepare(&self, payload: &Payload) -> Result<Prepared, InferError> {
        let prepared = guarded(Stage::Pre, || self.recipe.pre.prepare(&payload.bytes))?;
        prepared.map_err(|error| InferError::Payload { what: error.to_string() })
    }

    /// Types and shapes without the batch axis; without the length, where rows are padded later.
    fn form(&self, row: &Row) -> Form {
        let axis = self.recipe.batching.axis;
        let ragged = self.recipe.pre.is_ragged();
        let shape = |input: &Tensor| {
            let sizes = input.shape().iter().enumerate();
            let mut shape: Vec<usize> =
                sizes.filter(|(at, _)| Some(*at) != axis).map(|(_, size)| *size).collect();
            if ragged {
                shape.pop();
            }
            (input.dtype(), shape)
        };
        row.inputs.iter().map(shape).collect()
    }

    /// Runs rows of one form, as many together as may.
    fn run_group(&self, mut group: Vec<Waiting>, answers: &mut Answers) {
        let max = self.recipe.batching.max();
        if self.recipe.pre.is_ragged() && max > 1 {
            // Texts of about one length run together, so that little is padded.
            group.sort_by_key(|waiting| waiting.row.length);
        }
        let mut batch: Vec<Waiting> = Vec::new();
        let mut size = 0_usize;
        for waiting in group {
            if !batch.is_empty() && size.saturating_add(waiting.row.count) > max {
                self.run_batch(std::mem::take(&mut batch), answers);
                size = 0;
            }
            size = size.saturating_add(waiting.row.count);
            batch.push(waiting);
        }
        if !batch.is_empty() {
            self.run_batch(batch, answers);
        }
    }

    /// Runs rows together; where that fails, the halves.
    fn run_batch(&self, mut batch: Vec<Waiting>, answers: &mut Answers) {
        if self.recipe.pre.is_ragged() && batch.len() > 1 {
            let mut rows: Vec<Row> = batch.iter().map(|waiting| waiting.row.clone()).collect();
            self.recipe.pre.pad(&mut rows);
            for (waiting, row) in batch.iter_mut().zip(rows) {
                waiting.row = row;
            }
        }
        let (ran, compute) = self.timed(|| self.run_rows(&mut batch));
        match ran {
            Ok(outputs) => {
                let together = batch.len();
                for (waiting, outputs) in batch.iter().zip(outputs) {
                    let times = Times { pre: waiting.pre, compute, ..Times::default() };
                    answers[waiting.at] = Some(self.answer(waiting, &outputs, times, together));
                }
            }
            Err(error) if batch.len() == 1 => answers[batch[0].at] = Some(Err(error)),
            Err(InferError::Run(error)) if error.is_cancelled() => {
                for waiting in &batch {
                    answers[waiting.at] = Some(Err(InferError::Run(error.clone())));
                }
            }
            Err(_) => {
                let second = batch.split_off(batch.len() / 2);
                self.run_batch(batch, answers);
                self.run_batch(second, answers);
            }
        }
    }

    /// The outputs of each row of a batch.
    fn run_rows(&self, batch: &mut [Waiting]) -> Result<Vec<Vec<Tensor>>, InferError> {
        let inputs = self.inputs(batch)?;
        let values = inputs.into_iter().map(Value::Tensor).collect();
        let outputs = self.network.run(values).map_err(InferError::Run)?;
        let mut tensors = Vec::with_capacity(outputs.len());
        for (value, port) in outputs.into_iter().zip(self.network.outputs()) {
            let named =
                |error: OpError| InferError::Outputs { what: format!("{:?}: {error}", port.name) };
            tensors.push(value.into_tensor().map_err(named)?);
        }
        let Some(axis) = self.recipe.batching.axis else { return Ok(vec![tensors]) };
        // A model that is run one by one need not have the axis in its outputs at all.
        if let ([_], Size::UpTo(_)) = (&*batch, self.recipe.batching.size) {
            return Ok(vec![tensors]);
        }
        let total = match self.recipe.batching.size {
            Size::Exactly(size) => size,
            Size::UpTo(_) => batch.iter().map(|waiting| waiting.row.count).sum(),
        };
        if let Some(wrong) = tensors.iter().find(|tensor| tensor.shape().get(axis) != Some(&total))
        {
            let instead = match self.recipe.batching.size {
                Size::Exactly(_) => "leave batch.axis out if they are one payload",
                Size::UpTo(_) => "set batch.max = 1 if this model cannot batch",
            };
            let what = format!(
                "{total} rows went in along axis {axis}, an output has the shape {:?}; {instead}",
                wrong.shape()
            );
            return Err(InferError::Outputs { what });
        }
        let mut start = 0;
        let mut rows = Vec::with_capacity(batch.len());
        for waiting in &*batch {
            let part = |tensor: &Tensor| rows::part(tensor, axis, start, waiting.row.count);
            let own = tensors.iter().map(part).collect::<Result<_, _>>();
            rows.push(own.map_err(|error| outputs_of(&error))?);
            start += waiting.row.count;
        }
        Ok(rows)
    }

    /// The model's inputs for a batch.
    fn inputs(&self, batch: &mut [Waiting]) -> Result<Vec<Tensor>, InferError> {
        let batching = self.recipe.batching;
        if let ([one], Size::UpTo(_)) = (&mut *batch, batching.size) {
            // The model may write on what nobody else holds; the mask is read again when positions are pooled.
            let mask = self.recipe.pre.mask_input();
            let kept = mask.and_then(|at| one.row.inputs.get(at).cloned());
            let inputs = std::mem::take(&mut one.row.inputs);
            if let (Some(mask), Some(kept)) = (mask, kept) {
                one.row.inputs = inputs.iter().map(|_| Tensor::scalar(0_u8)).collect();
                one.row.inputs[mask] = kept;
            }
            return Ok(inputs);
        }
        let unfit = |what: &str| outputs_of(&OpError::shape(what));
        let axis = batching.axis.ok_or_else(|| unfit("there is no batch axis"))?;
        let count: usize = batch.iter().map(|waiting| waiting.row.count).sum();
        let copies = match batching.size {
            Size::UpTo(_) => 0,
            Size::Exactly(size) => size.checked_sub(count).ok_or_else(|| {
                unfit(&format!("the payload has {count} rows, the model takes {size}"))
            })?,
        };
        self.claim(batch, copies)?;
        let stacked = |input: usize| {
            let mut parts: Vec<&Tensor> =
                batch.iter().filter_map(|waiting| waiting.row.inputs.get(input)).collect();
            let first = parts.first().copied().map(|first| rows::part(first, axis, 0, 1));
            let filler = first.transpose()?;
            parts.extend(filler.iter().cycle().take(copies));
            rows::stacked(&parts, axis)
        };
        let inputs = (0..self.network.inputs().len()).map(stacked).collect::<Result<_, _>>();
        inputs.map_err(|error| outputs_of(&error))
    }

    /// Whether the inputs of a batch may be made, asked before memory is taken for them. Each copy weighs what a row of the first payload does.
    fn claim(&self, batch: &[Waiting], copies: usize) -> Result<(), InferError> {
        let limits = self.network.limits();
        let count: usize = batch.iter().map(|waiting| waiting.row.count).sum();
        let refused = |needed_bytes, limit, limit_bytes| {
            let rows = count.saturating_add(copies);
            Err(InferError::Batch { rows, needed_bytes, limit, limit_bytes })
        };
        let mut all_bytes = 0_u64;
        for input in 0..self.network.inputs().len() {
            let bytes = |waiting: &Waiting| waiting.row.inputs.get(input).map_or(0, Tensor::bytes);
            let row_bytes = batch.first().map_or(0, |one| bytes(one) / one.row.count.max(1));
            let own_bytes = batch.iter().map(bytes).fold(0, usize::saturating_add);
            let needed_bytes = own_bytes.saturating_add(row_bytes.saturating_mul(copies)) as u64;
            if needed_bytes > limits.run_bytes_max {
                return refused(needed_bytes, "for one input", limits.run_bytes_max);
            }
            all_bytes = all_bytes.saturating_add(needed_bytes);
        }
        if all_bytes > limits.live_bytes_max {
            return refused(all_bytes, "for a run", limits.live_bytes_max);
        }
        Ok(())
    }

    fn answer(
        &self,
        waiting: &Waiting,
        tensors: &[Tensor],
        mut times: Times,
        batch: usize,
    ) -> Result<Answer, InferError> {
        let (content, post) =
            self.timed(|| guarded(Stage::Post, || self.content(waiting, tensors)));
        times.post = post;
        let content = content?.map_err(|error| InferError::Outputs { what: error.to_string() })?;
        let nonfinite = tensors.iter().any(has_nonfinite);
        Ok(Answer { content, nonfinite, times, batch })
    }

    fn content(&self, waiting: &Waiting, tensors: &[Tensor]) -> Result<Content, OutputError> {
        let mask = self.recipe.pre.mask_input();
        self.recipe.post.answer(&Outputs {
            tensors,
            axis: self.recipe.batching.axis,
            count: waiting.row.count,
            mask: mask.and_then(|at| waiting.row.inputs.get(at)),
            length: waiting.row.length,
        })
    }

    /// Runs `count` copies of a row, for warming up.
    pub(super) fn run_copies(&self, row: &Row, count: usize) -> Result<Duration, InferError> {
        let (ran, compute) = self.timed(|| self.run_rows(&mut copies(row, count)));
        ran.map(|_| compute)
    }

    /// Runs a made-up row and makes an answer of what comes out. How many there are of what is nothing may depend on what went in, so
    /// empty outputs say nothing against the manifest.
    pub(super) fn try_answer(&self, row: &Row) -> Result<(), InferError> {
        let mut one = copies(row, 1);
        let outputs = self.run_rows(&mut one)?;
        let (Some(waiting), Some(tensors)) = (one.first(), outputs.first()) else { return Ok(()) };
        if tensors.iter().any(|tensor| tensor.shape().contains(&0)) {
            return Ok(());
        }
        let content = guarded(Stage::Post, || self.content(waiting, tensors))?;
        content.map(drop).map_err(|OutputError { key, what }| InferError::Manifest {
            key: format!("post.{key}"),
            what,
        })
    }
}

fn copies(row: &Row, count: usize) -> Vec<Waiting> {
    let waiting = |_| Waiting { at: 0, row: row.clone(), pre: Duration::ZERO };
    (0..count).map(waiting).collect()
}

fn outputs_of(error: &OpError) -> InferError {
    InferError::Outputs { what: error.to_string() }
}

/// Runs code that is not ours, or works on what is not ours: a panic is an error of this payload.
fn guarded<T>(stage: Stage, work: impl FnOnce() -> T) -> Result<T, InferError> {
    // What such code leaves behind is dropped with the payload.
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| InferError::Panicked { stage, message: message_of(&*panic) })
}
