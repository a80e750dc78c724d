//! A model's graph, loaded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::device::Device;
use crate::error::{LoadError, OpError, RunError};
use crate::graph::{Dim, Graph, ValueType, read_model};
use crate::limits::Limits;
use crate::on_burn::DevicePlan;
use crate::onnx::{ExternalData, ModelFile};
use crate::plan::Plan;
use crate::profile::{Profile, StepTime};
use crate::run::Context;
use crate::value::Value;

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// What the file says of it.
    pub value_type: ValueType,
}

/// A graph that can be run. Cloning shares everything; any number of threads may run it at once.
#[derive(Clone, Debug)]
pub struct Network {
    loaded: Arc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    engine: Engine,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    limits: Limits,
    metadata: Vec<(String, String)>,
    operators: BTreeMap<String, usize>,
}

/// What runs the graph.
#[derive(Debug)]
enum Engine {
    Cpu(Plan),
    Burn(Box<DevicePlan>),
}

impl Network {
    /// Loads an ONNX file. External data is read beneath the file's folder only.
    ///
    /// # Errors
    /// [`LoadError`]; everything that is wrong with the model is in it, not only the first thing.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, LoadError> {
        Self::open_on(path, limits, &Device::cpu())
    }

    /// As [`open`](Self::open), to run on a device. The weights are sent there at once.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`LoadError::Device`].
    pub fn open_on(path: &Path, limits: &Limits, device: &Device) -> Result<Self, LoadError> {
        Self::of_file(&ModelFile::open(path, limits)?, limits, device)
    }

    /// Loads an ONNX file that is in memory; external data would lie beneath `folder`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Bytes, folder: &Path, limits: &Limits) -> Result<Self, LoadError> {
        Self::from_bytes_on(bytes, folder, limits, &Device::cpu())
    }

    /// As [`from_bytes`](Self::from_bytes), to run on a device.
    pub(crate) fn from_bytes_on(
        bytes: Bytes,
        folder: &Path,
        limits: &Limits,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let file = ModelFile::decode(&folder.join("model.onnx"), bytes.into(), limits)?;
        Self::of_file(&file, limits, device)
    }

    fn of_file(file: &ModelFile, limits: &Limits, device: &Device) -> Result<Self, LoadError> {
        let target = device.open()?;
        let folder = file.path.parent().unwrap_or(Path::new("."));
        let mut external = ExternalData::beneath(folder, limits.weight_bytes_max);
        let mut problems = Vec::new();
        let graph = read_model(&file.proto, &mut external, limits, &mut problems);
        let ports = |ids: &[crate::graph::ValueId], graph: &Graph| -> Vec<Port> {
            let port = |id: &crate::graph::ValueId| {
                let info = &graph.values[id.index()];
                let value_type = info.declared.clone().unwrap_or(ValueType::Unknown);
                Port { name: info.name.clone(), value_type }
            };
            ids.iter().map(port).collect()
        };
        let mut operators = BTreeMap::new();
        for node in &graph.nodes {
            *operators.entry(node.full_name()).or_insert(0) += 1;
        }
        let (inputs, outputs) = (ports(&graph.inputs, &graph), ports(&graph.outputs, &graph));
        let engine = match target {
            None => Plan::of_model(graph, limits, &mut problems).map(Engine::Cpu),
            Some(target) => Plan::of_model_on(target, graph, limits, &mut problems)
                .map(|plan| Engine::Burn(Box::new(plan))),
        };
        // What was copied into another form need not stay beside it; what is used in place comes back as it is read.
        file.mapping.let_go();
        external.let_go();
        match engine {
            Some(engine) if problems.is_empty() => {
                let metadata = file.proto.metadata_props.iter();
                let metadata =
                    metadata.map(|entry| (entry.key().to_owned(), entry.value().to_owned()));
                let (limits, metadata) = (limits.clone(), metadata.collect());
                let loaded = Loaded { engine, inputs, outputs, limits, metadata, operators };
                Ok(Self { loaded: Arc::new(loaded) })
            }
            _ => {
                problems.sort_unstable();
                problems.dedup();
                Err(LoadError::Problems(problems))
            }
        }
    }

    /// The graph's inputs.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.loaded.inputs
    }

    /// The graph's outputs.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.loaded.outputs
    }

    /// What the file says of itself, key by key.
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        &self.loaded.metadata
    }

    /// The operators of the file's main graph and how many nodes each has, before anything is fused.
    #[must_use]
    pub fn operators(&self) -> &BTreeMap<String, usize> {
        &self.loaded.operators
    }

    /// What it may cost.
    pub(crate) fn limits(&self) -> &Limits {
        &self.loaded.limits
    }

    /// Whether it runs on the CPU by our own kernels.
    #[cfg(test)]
    pub(crate) fn is_on_cpu(&self) -> bool {
        matches!(self.loaded.engine, Engine::Cpu(_))
    }

    /// Bytes of weights and other constants, in memory.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        match &self.loaded.engine {
            Engine::Cpu(plan) => plan.constant_bytes(),
            Engine::Burn(plan) => plan.plan.constant_bytes(),
        }
    }

    /// Runs the graph: a value for each input, in order; one for each output.
    ///
    /// # Errors
    /// [`RunError`]. A failed run, a panic within an operator too, harms no other.
    pub fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, RunError> {
        self.execute(inputs, None).map(|(outputs, _)| outputs)
    }

    /// Runs the graph, and says how many bytes the values between operators took at most, those of inputs and outputs included.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_measured(&self, inputs: Vec<Value>) -> Result<(Vec<Value>, u64), RunError> {
        let (outputs, context) = self.execute(inputs, None)?;
        Ok((outputs, context.live_bytes_max))
    }

    /// Runs the graph, and says what each operator took. Nothing is known of devices other than the CPU.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_profiled(
        &self,
        inputs: Vec<Value>,
        clock: &dyn Clock,
    ) -> Result<(Vec<Value>, Vec<StepTime>), RunError> {
        let (outputs, context) = self.execute(inputs, Some(Profile::new(clock)))?;
        Ok((outputs, context.profile.map_or_else(Vec::new, |profile| profile.steps)))
    }

    /// The number of operators that a run executes: what the planner left of the file's nodes.
    #[must_use]
    pub fn step_count(&self) -> usize {
        match &self.loaded.engine {
            Engine::Cpu(plan) => plan.steps.len(),
            Engine::Burn(plan) => plan.plan.steps.len(),
        }
    }

    fn execute<'a>(
        &'a self,
        inputs: Vec<Value>,
        profile: Option<Profile<'a>>,
    ) -> Result<(Vec<Value>, Context<'a>), RunError> {
        let loaded = &*self.loaded;
        for (port, value) in loaded.inputs.iter().zip(&inputs) {
            fits(&port.value_type, value)
                .map_err(|source| RunError::Input { name: port.name.clone(), source })?;
        }
        let mut context = Context { profile, ..Context::new(&loaded.limits, 0) };
        let outputs = match &loaded.engine {
            Engine::Cpu(plan) => plan.run(inputs, &mut context),
            Engine::Burn(plan) => plan.run(inputs, &mut context),
        }?;
        Ok((outputs, context))
    }
}

/// Whether a value is what an input's declaration says, as far as it says something.
fn fits(declared: &ValueType, value: &Value) -> Result<(), OpError> {
    let (ValueType::Tensor { dtype, dims }, Value::Tensor(tensor)) = (declared, value) else {
        return match (declared, value) {
            (ValueType::Tensor { .. }, other) => {
                Err(OpError::Kind { expected: "a tensor", found: other.kind() })
            }
            (ValueType::Sequence(_), Value::Tensor(_)) => {
                Err(OpError::Kind { expected: "a sequence", found: value.kind() })
            }
            _ => Ok(()),
        };
    };
    if let Some(dtype) = dtype.filter(|dtype| *dtype != tensor.dtype()) {
        return Err(OpError::Type { expected: dtype.name(), found: tensor.dtype() });
    }
    let Some(dims) = dims else { return Ok(()) };
    let agrees = |(dim, size): (&Dim, &usize)| !matches!(dim, Dim::Size(wanted) if wanted != size);
    if dims.len() == tensor.rank() && dims.iter().zip(tensor.shape()).all(agrees) {
        return Ok(());
    }
    Err(OpError::shape(format!("it is declared as {declared}, found {:?}", tensor.shape())))
}
