//! What a model takes and gives, in the words of the protocol.

use serde_json::{Value, json};

use crate::models::{ModelState, TensorModel, TensorPort};
use crate::stage::Identity;

/// The type of what the protocol has no word for.
const NO_TENSOR: &str = "UNSUPPORTED";

/// The metadata of a model.
pub(super) fn model_out(
    identity: &Identity,
    state: Option<&ModelState>,
    model: &dyn TensorModel,
) -> Value {
    let versions: Vec<String> = state.map_or_else(
        || vec![identity.version.clone()],
        |state| state.versions.keys().map(ToString::to_string).collect(),
    );
    json!({
        "name": identity.name,
        "versions": versions,
        "platform": format!("embermq_{}", model.platform()),
        "inputs": model.inputs().iter().map(port_out).collect::<Vec<_>>(),
        "outputs": model.outputs().iter().map(port_out).collect::<Vec<_>>(),
    })
}

/// -1 stands for an axis that varies, and alone for any number of axes.
fn port_out(port: &TensorPort) -> Value {
    let size = |size: &Option<usize>| size.map_or_else(|| json!(-1), |size| json!(size));
    let shape = port
        .shape
        .as_ref()
        .map_or_else(|| vec![json!(-1)], |shape| shape.iter().map(size).collect());
    json!({
        "name": port.name,
        "datatype": port.datatype.map_or(NO_TENSOR, |datatype| datatype.name()),
        "shape": shape,
    })
}
