//! The outputs as they are: JSON by their names, or tensors.

use serde_json::{Map, Value as Json, json};

use super::{Content, OutputError, Outputs, number, output};
use crate::bundle::{Section, Surroundings};
use crate::tensor::Tensor;

/// Which outputs an answer has.
#[derive(Debug)]
pub(crate) struct Every {
    /// Place and name.
    outputs: Vec<(usize, String)>,
    json: bool,
}

impl Every {
    pub(super) fn read(
        section: &Section<'_>,
        around: &Surroundings<'_>,
        json: bool,
    ) -> Option<Self> {
        let ports = around.network.outputs();
        let asked = section.texts("outputs");
        let names = asked.unwrap_or_else(|| ports.iter().map(|port| port.name.clone()).collect());
        let mut outputs: Vec<(usize, String)> = Vec::with_capacity(names.len());
        if names.is_empty() {
            section
                .problem("outputs", "it is empty; name the outputs, or leave the key out for all");
        }
        for name in names {
            if outputs.iter().any(|(_, known)| *known == name) {
                section.problem("outputs", format!("{name:?} is named twice"));
            }
            match ports.iter().position(|port| port.name == name) {
                Some(at) => outputs.push((at, name)),
                None => {
                    let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
                    let what =
                        format!("the model has no output {name:?}, only {}", known.join(", "));
                    section.problem("outputs", what);
                }
            }
        }
        Some(Self { outputs, json })
    }

    pub(super) fn answer(&self, outputs: &Outputs<'_>) -> Result<Content, OutputError> {
        if self.json {
            let mut fields = Map::new();
            for (at, name) in &self.outputs {
                let tensor = output(outputs, *at)?;
                let shape = own_shape(tensor, outputs);
                let elements = number::elements(tensor)?;
                fields.insert(name.clone(), number::nested(elements, &shape));
            }
            return Ok(Content::Json(Json::Object(fields)));
        }
        let mut tensors = Vec::with_capacity(self.outputs.len());
        for (at, name) in &self.outputs {
            let tensor = output(outputs, *at)?;
            let shape = own_shape(tensor, outputs);
            let tensor =
                tensor.clone().reshaped(shape).map_err(|e| OutputError::of("outputs", e))?;
            tensors.push((name.clone(), tensor));
        }
        Ok(Content::Tensors(tensors))
    }
}

/// The shape without the batch axis, unless the payload brought a batch of its own.
fn own_shape(tensor: &Tensor, outputs: &Outputs<'_>) -> Vec<usize> {
    let mut shape = tensor.shape().to_vec();
    if let Some(axis) = outputs.axis.filter(|axis| shape.get(*axis) == Some(&1))
        && outputs.count == 1
    {
        shape.remove(axis);
    }
    shape
}

/// Tensors as the Open Inference Protocol shows them.
pub(super) fn described(tensors: &[(String, Tensor)]) -> Json {
    let tensor = |(name, tensor): &(String, Tensor)| {
        let data = number::elements(tensor).map_or(Json::Null, Json::Array);
        json!({ "name": name, "datatype": tensor.dtype().name(), "shape": tensor.shape(), "data": data })
    };
    json!({ "outputs": tensors.iter().map(tensor).collect::<Vec<Json>>() })
}
