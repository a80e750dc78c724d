//! Graphs that compute longer than anybody waits.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{graph, i64s, model, node, subgraph, untyped, with};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::limits::Limits;
use crate::network::Network;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};
use crate::tensor::Tensor;

fn load(model: &ModelProto) -> Network {
    use prost::Message as _;
    let bytes = model.encode_to_vec().into();
    Network::from_bytes(bytes, "nowhere".as_ref(), &Limits::default()).unwrap()
}

/// Ten million turns of `body`.
fn turns(body: GraphProto, operand: &str, output: &str) -> NodeProto {
    with(node("Loop", &["m", "", operand], &[output]), subgraph("body", body))
}

/// A body of a loop over `v`.
fn body(nodes: Vec<NodeProto>, outputs: [&str; 2]) -> GraphProto {
    GraphProto {
        node: nodes,
        input: ["i", "go", "v"].map(untyped).into(),
        output: outputs.map(untyped).into(),
        ..GraphProto::default()
    }
}

fn whole(mut graph: GraphProto) -> Network {
    graph.initializer.push(i64s("m", &[10_000_000]));
    graph.initializer[0].dims.clear();
    load(&model(graph))
}

/// Ends a run when it is asked for the time once more than this.
#[derive(Debug)]
struct Impatient {
    asked: AtomicU32,
    most: u32,
    cancel: Cancel,
}

impl Clock for Impatient {
    fn elapsed(&self) -> Duration {
        if self.asked.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.cancel.cancel();
        }
        Duration::ZERO
    }
}

/// Nodes that were run to their ends.
fn given_up_after(network: &Network, most: u32) -> u32 {
    let cancel = Cancel::default();
    let clock = Impatient { asked: AtomicU32::new(0), most, cancel: cancel.clone() };
    let ones = Tensor::new([2], vec![1.0_f32, 1.0]);
    let error = cancel.watch(|| network.run_profiled(vec![ones.into()], &clock)).unwrap_err();
    assert!(error.is_cancelled() && error.is_retryable(), "{error}");
    clock.asked.into_inner()
}

#[test]
fn a_loop_of_loops_ends_when_nobody_waits() {
    let copy = |from: &str, to: &str| node("Identity", &[from], &[to]);
    let inner = body(vec![copy("go", "on"), node("Neg", &["v"], &["w"])], ["on", "w"]);
    let outer = body(vec![copy("go", "on"), turns(inner, "v", "w")], ["on", "w"]);
    let network = whole(graph(vec![turns(outer, "x", "y")]));
    // No node is begun behind the one that was under way.
    assert!((100..110).contains(&given_up_after(&network, 100)));
}

#[test]
fn turns_without_a_node_are_turns() {
    let network = whole(graph(vec![turns(body(Vec::new(), ["go", "v"]), "x", "y")]));
    assert_eq!(given_up_after(&network, 0), 1);
}

#[test]
fn nothing_is_run_that_was_given_up_before() {
    let network = load(&model(graph(vec![node("Relu", &["x"], &["y"])])));
    let ones = || vec![Tensor::new([2], vec![1.0_f32, 1.0]).into()];
    let cancel = Cancel::default();
    cancel.watch(|| network.run(ones())).unwrap();
    cancel.cancel();
    let error = cancel.watch(|| network.run(ones())).unwrap_err();
    assert_eq!(error.to_string(), "the run was given up before its end");
    network.run(ones()).unwrap();
}
