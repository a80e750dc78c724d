//! Graphs that go round in circles, lie deep in each other, or ask for more than there is.

use super::{
    fails, graph, i64s, int, ints, load, model, node, refused, subgraph, tensor, untyped, with,
};
use crate::error::LoadError;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, TypeProto, type_proto};

#[test]
fn nodes_that_wait_for_each_other() {
    let one = node("Add", &["x", "b"], &["a"]);
    let two = node("Add", &["x", "a"], &["b"]);
    let end = node("Add", &["a", "b"], &["y"]);
    refused(&model(graph(vec![one, two, end])), &["cycle", "a", "b"]);
    refused(&model(graph(vec![node("Add", &["x", "y"], &["y"])])), &["cycle", "y"]);
}

#[test]
fn a_cycle_through_a_subgraph() {
    let branch = GraphProto {
        node: vec![node("Add", &["y", "y"], &["inner"])],
        output: vec![untyped("inner")],
        ..GraphProto::default()
    };
    let choice = with(node("If", &["c"], &["y"]), subgraph("then_branch", branch.clone()));
    let choice = with(choice, subgraph("else_branch", branch));
    let mut graph = graph(vec![choice]);
    graph.initializer.push(tensor("c", 9, &[], vec![1]));
    refused(&model(graph), &["cycle", "y"]);
}

#[test]
fn names_that_nobody_or_two_make() {
    refused(&model(graph(vec![node("Add", &["x", "ghost"], &["y"])])), &["\"ghost\"", "no node"]);
    refused(&model(graph(vec![node("Relu", &["x"], &["z"])])), &["\"y\"", "no node"]);
    let twice = vec![node("Relu", &["x"], &["y"]), node("Neg", &["x"], &["y"])];
    refused(&model(graph(twice)), &["two values", "\"y\""]);
    refused(&model(graph(vec![node("Neg", &["x"], &["x"])])), &["two values", "\"x\""]);
    let mut two_inputs = graph(vec![node("Relu", &["x"], &["y"])]);
    two_inputs.input.push(two_inputs.input[0].clone());
    refused(&model(two_inputs), &["two values", "\"x\""]);
}

#[test]
fn operators_that_do_not_exist() {
    refused(&model(graph(vec![node("", &["x"], &["y"])])), &["not supported"]);
    refused(&model(graph(vec![node("Ünknown\u{1b}", &["x"], &["y"])])), &["not supported"]);
    let mut foreign = node("Relu", &["x"], &["y"]);
    foreign.domain = Some("com.example".to_owned());
    refused(&model(graph(vec![foreign])), &["com.example"]);
}

#[test]
fn what_a_version_of_an_operator_does_not_have() {
    let misspelt = with(node("Gather", &["x", "i"], &["y"]), int("axes", 0));
    let near = ["version 13 has no attribute \"axes\"", "did you mean \"axis\"?"];
    refused(&model(graph(vec![misspelt])), &near);
    let three = node("Relu", &["x", "x", "x"], &["y"]);
    refused(&model(graph(vec![three])), &["it has 3 inputs, 1 may be there"]);
    let mut newer = model(graph(vec![node("Relu", &["x"], &["y"])]));
    newer.opset_import[0].version = Some(99);
    refused(&newer, &["operator set 99 is newer than 28", "export the model"]);
    let Err(error) = load(&newer) else { panic!("it should be refused") };
    assert!(error.is_unsupported(), "{error}");
}

#[test]
fn what_is_valid_and_looks_odd_is_not_refused() {
    // Neither how often nor while what: both are left out, and listed.
    let rounds = with(node("Loop", &["m", ""], &["y"]), subgraph("body", one_round()));
    let mut counted = graph(vec![rounds]);
    counted.initializer.push(i64s("m", &[3]));
    counted.initializer[0].dims.clear();
    assert!(load(&model(counted)).is_ok());
    // A set that nobody uses may be of any version.
    let mut imports = model(graph(vec![node("Relu", &["x"], &["y"])]));
    imports.opset_import.push(crate::onnx::proto::OperatorSetIdProto {
        domain: Some("ai.onnx.ml".to_owned()),
        version: Some(99),
    });
    assert!(load(&imports).is_ok());
}

/// A body that goes on, and gives what the round's number is.
fn one_round() -> GraphProto {
    GraphProto {
        node: vec![node("Identity", &["go"], &["on"]), node("Identity", &["number"], &["seen"])],
        input: vec![untyped("number"), untyped("go")],
        output: vec![untyped("on"), untyped("seen")],
        ..GraphProto::default()
    }
}

#[test]
fn inputs_of_types_that_nothing_computes_with() {
    let mut complex = graph(vec![node("Identity", &["x"], &["y"])]);
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) =
        &mut complex.input[0].r#type
    else {
        panic!("it is a tensor");
    };
    tensor.elem_type = Some(14);
    refused(&model(complex), &["value \"x\"", "complex64"]);
}

#[test]
fn operands_are_missing_or_too_many() {
    for op in crate::operators() {
        let (domain, op) = op.rsplit_once('.').unwrap_or(("", &op));
        for inputs in [&[][..], &[""], &["", "", ""], &["x"], &["x"; 40]] {
            let mut node = node(op, inputs, &["y"]);
            node.domain = Some(domain.to_owned());
            let mut model = model(graph(vec![node]));
            model.opset_import.push(crate::onnx::proto::OperatorSetIdProto {
                domain: Some(domain.to_owned()),
                version: Some(1),
            });
            run_whatever(&model);
        }
    }
}

/// Loads and runs; anything but a panic is fine.
fn run_whatever(model: &ModelProto) {
    let Ok(network) = load(model) else { return };
    let ones = crate::tensor::Tensor::new([2], vec![1.0_f32, 1.0]);
    if let Err(error) = network.run(vec![ones.into()]) {
        assert!(!error.to_string().contains("panicked"), "{error}");
    }
}

#[test]
fn attributes_of_extreme_value() {
    for op in crate::operators() {
        if op.contains('.') {
            continue;
        }
        for extreme in [i64::MIN, -1_000_000_007, -1, 0, 3, i64::MAX] {
            let inputs: &[&str] = if op == "Conv" || op == "MatMul" { &["x", "x"] } else { &["x"] };
            let mut one = node(&op, inputs, &["y"]);
            let mut many = node(&op, inputs, &["y"]);
            for name in crate::ops::signature::attributes("", &op, 21) {
                one.attribute.push(int(name, extreme));
                many.attribute.push(ints(name, &[extreme; 4]));
            }
            run_whatever(&model(graph(vec![one])));
            run_whatever(&model(graph(vec![many])));
        }
    }
}

#[test]
fn outputs_that_are_larger_than_a_run_may_make() {
    for (op, shape) in [("Expand", vec![1 << 40, 2]), ("ConstantOfShape", vec![1 << 40])] {
        let inputs: &[&str] = if op == "Expand" { &["x", "s"] } else { &["s"] };
        let mut graph = graph(vec![node(op, inputs, &["y"])]);
        graph.initializer.push(i64s("s", &shape));
        fails(&model(graph), &[op, "needs ", "iB, the limit for a run is 16 MiB"]);
    }
    let mut tiled = graph(vec![node("Tile", &["x", "s"], &["y"])]);
    tiled.initializer.push(i64s("s", &[i64::MAX]));
    fails(&model(tiled), &["Tile"]);
}

#[test]
fn many_outputs_that_are_large_together() {
    let mut nodes: Vec<NodeProto> = Vec::new();
    let names: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    for name in &names {
        nodes.push(node("Expand", &["x", &format!("s{name}")], &[name]));
    }
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    nodes.push(with(node("Concat", &inputs, &["y"]), int("axis", 0)));
    let mut graph = graph(nodes);
    // 8 MiB each: one may be made, twenty may not. No two are equal, or they would be made once.
    for (number, name) in (0..).zip(&names) {
        graph.initializer.push(i64s(&format!("s{name}"), &[(1 << 20) + number, 2]));
    }
    fails(&model(graph), &["Expand", "the limit for a run is 64 MiB"]);
}

#[test]
fn bodies_share_what_a_run_may_hold() {
    // Each body makes a value of 12 MiB and holds it while the one within runs.
    let end = GraphProto {
        node: vec![node("Identity", &["x"], &["r"])],
        output: vec![untyped("r")],
        ..GraphProto::default()
    };
    let (mut inner, mut sizes) = (end.clone(), Vec::new());
    for level in 0..8 {
        let [size, large, within, both] =
            ["s", "large", "within", "both"].map(|name| format!("{name}{level}"));
        sizes.push(i64s(&size, &[(3 << 19) + level, 2]));
        let choice = with(node("If", &["c"], &[&within]), subgraph("then_branch", inner));
        let nodes = vec![
            node("Expand", &["x", &size], &[&large]),
            with(choice, subgraph("else_branch", end.clone())),
            node("Add", &[&large, &within], &[&both]),
            node("ReduceSum", &[&both], &["r"]),
        ];
        inner = GraphProto { node: nodes, output: vec![untyped("r")], ..GraphProto::default() };
    }
    let mut whole = graph(vec![
        node("ReduceSum", &["x"], &["sum"]),
        with(node("Cast", &["sum"], &["c"]), int("to", 9)),
    ]);
    whole.node.extend(inner.node);
    whole.output = inner.output;
    whole.initializer = sizes;
    fails(&model(whole), &["Expand", "the limit for a run is 64 MiB"]);
}

#[test]
fn what_rounds_gather_counts_as_held() {
    // Eight outputs that gather 1 MiB a round: each may have 16 MiB, all together 64 MiB.
    let mut nodes = vec![node("Identity", &["go"], &["go2"])];
    let mut output = vec![untyped("go2")];
    let names: Vec<String> = (0..8).map(|number| format!("v{number}")).collect();
    let mut sizes = Vec::new();
    for (number, name) in (0..).zip(&names) {
        nodes.push(node("Expand", &["x", &format!("s{name}")], &[name]));
        sizes.push(i64s(&format!("s{name}"), &[(1 << 17) - number, 2]));
        output.push(untyped(name));
    }
    let input = vec![untyped("i"), untyped("go")];
    let body = GraphProto { input, node: nodes, output, ..GraphProto::default() };
    let gathered: Vec<&str> = names.iter().map(String::as_str).collect();
    let counted = with(node("Loop", &["m", ""], &gathered), subgraph("body", body));
    let mut graph = graph(vec![counted, node("Identity", &["v0"], &["y"])]);
    graph.initializer = sizes;
    graph.initializer.push(tensor("m", 7, &[], 12_i64.to_le_bytes().to_vec()));
    fails(&model(graph), &["Loop", "the limit for a run is 64 MiB"]);
}

/// If nodes, each in a branch of the one before.
fn nested(depth: usize) -> GraphProto {
    let mut inner = GraphProto {
        node: vec![node("Identity", &["x"], &["r"])],
        output: vec![untyped("r")],
        ..GraphProto::default()
    };
    for _ in 0..depth {
        let choice = with(node("If", &["c"], &["r"]), subgraph("then_branch", inner.clone()));
        inner = GraphProto {
            node: vec![with(choice, subgraph("else_branch", inner))],
            output: vec![untyped("r")],
            ..GraphProto::default()
        };
    }
    inner
}

#[test]
fn subgraphs_deep_in_each_other() {
    for depth in [8, 12] {
        let mut deep = nested(depth);
        deep.input = graph(Vec::new()).input;
        deep.initializer.push(tensor("c", 9, &[], vec![1]));
        // Every level doubles: what is read is bounded by the number of nodes.
        let loaded = load(&model(deep));
        assert!(loaded.is_ok() || matches!(loaded, Err(LoadError::Problems(_))), "{loaded:?}");
    }
}

#[test]
fn a_chain_of_subgraphs_ends_at_a_limit() {
    let mut chain = GraphProto {
        node: vec![node("Identity", &["x"], &["r"])],
        output: vec![untyped("r")],
        ..GraphProto::default()
    };
    for _ in 0..20 {
        chain = GraphProto {
            node: vec![with(node("If", &["c"], &["r"]), subgraph("then_branch", chain))],
            output: vec![untyped("r")],
            ..GraphProto::default()
        };
    }
    chain.input = graph(Vec::new()).input;
    refused(&model(chain), &["deeper than 16"]);
}

#[test]
fn loops_that_do_not_end() {
    let body = GraphProto {
        input: vec![untyped("i"), untyped("go"), untyped("v")],
        node: vec![node("Identity", &["go"], &["go2"]), node("Add", &["v", "v"], &["v2"])],
        output: vec![untyped("go2"), untyped("v2")],
        ..GraphProto::default()
    };
    let endless = with(node("Loop", &["", "c", "x"], &["y"]), subgraph("body", body.clone()));
    let mut forever = graph(vec![endless]);
    forever.initializer.push(tensor("c", 9, &[], vec![1]));
    fails(&model(forever), &["Loop"]);
    // One that collects a value in each round.
    let mut body = body;
    body.output.push(untyped("v2"));
    let counted = with(node("Loop", &["m", "c", "x"], &["last", "y"]), subgraph("body", body));
    let mut many = graph(vec![counted]);
    many.initializer.push(tensor("c", 9, &[], vec![1]));
    many.initializer.push(tensor("m", 7, &[], i64::MAX.to_le_bytes().to_vec()));
    fails(&model(many), &["Loop"]);
}

/// A loop of a thousand rounds: the body makes `s2` of `s`, with these nodes.
fn rounds(nodes: Vec<NodeProto>) -> ModelProto {
    let mut all = vec![node("Identity", &["go"], &["go2"])];
    all.extend(nodes);
    let body = GraphProto {
        input: vec![untyped("i"), untyped("go"), untyped("s")],
        node: all,
        output: vec![untyped("go2"), untyped("s2")],
        ..GraphProto::default()
    };
    let counted = with(node("Loop", &["m", "", "x"], &["y"]), subgraph("body", body));
    let mut graph = graph(vec![counted]);
    graph.initializer.push(tensor("m", 7, &[], 1000_i64.to_le_bytes().to_vec()));
    model(graph)
}

#[test]
fn values_that_lie_in_each_other_without_end() {
    let optional = rounds(vec![node("Optional", &["s"], &["s2"])]);
    fails(&optional, &["Optional (s2)", "expected a tensor or a sequence, found an optional"]);
    let inner = GraphProto {
        input: vec![untyped("one")],
        node: vec![node("Identity", &["s"], &["kept"])],
        output: vec![untyped("kept")],
        ..GraphProto::default()
    };
    let mapped = with(node("SequenceMap", &["ones"], &["s2"]), subgraph("body", inner));
    let sequence = rounds(vec![node("SequenceConstruct", &["i"], &["ones"]), mapped]);
    fails(&sequence, &["SequenceMap (s2)", "expected a tensor, found a sequence"]);
}

#[test]
fn ten_thousand_problems() {
    let nodes = (0..9_999).map(|number| node("Nonsense", &["ghost"], &[&format!("n{number}")]));
    let mut nodes: Vec<NodeProto> = nodes.collect();
    nodes.push(node("Nonsense", &["x"], &["y"]));
    refused(&model(graph(nodes)), &["problems", "ghost"]);
    let nodes = (0..20_000).map(|number| node("Relu", &["x"], &[&format!("n{number}")])).collect();
    refused(&model(graph(nodes)), &["more than 10000 nodes"]);
    let inputs = vec!["ghost"; 100_000];
    refused(&model(graph(vec![node("Sum", &inputs, &["y"])])), &["more than 10000 problems"]);
}

#[test]
fn a_node_of_very_many_operands() {
    let inputs = vec!["x"; 200_000];
    let network = load(&model(graph(vec![node("Sum", &inputs, &["y"])])));
    assert!(network.is_ok() || matches!(network, Err(LoadError::Problems(_))));
}

#[test]
fn names_of_any_length() {
    let long = "n".repeat(1 << 20);
    refused(&model(graph(vec![node(&long, &["x"], &["y"])])), &["nnn", "…"]);
}
