//! Functions that call themselves, or each other, more and more often.

use super::{graph, load, model, node, refused};
use crate::onnx::proto::{FunctionProto, ModelProto, NodeProto, OperatorSetIdProto};

fn function(name: &str, body: Vec<NodeProto>) -> FunctionProto {
    let opset =
        |domain: &str| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(21) };
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("own".to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["b".to_owned()],
        node: body,
        opset_import: vec![opset(""), opset("own")],
        ..FunctionProto::default()
    }
}

fn call(name: &str, input: &str, output: &str) -> NodeProto {
    NodeProto { domain: Some("own".to_owned()), ..node(name, &[input], &[output]) }
}

fn calling(name: &str, functions: Vec<FunctionProto>) -> ModelProto {
    let mut model = model(graph(vec![call(name, "x", "y")]));
    model
        .opset_import
        .push(OperatorSetIdProto { domain: Some("own".to_owned()), version: Some(1) });
    model.functions = functions;
    model
}

#[test]
fn the_function_that_is_spoilt_here_works() {
    load(&calling("f", vec![function("f", vec![node("Relu", &["a"], &["b"])])])).unwrap();
}

#[test]
fn a_function_that_calls_itself() {
    let own = function("f", vec![call("f", "a", "b")]);
    refused(&calling("f", vec![own]), &["deeper than 16"]);
    let twice = function("f", vec![call("f", "a", "t"), call("f", "t", "b")]);
    refused(&calling("f", vec![twice]), &["deeper than 16"]);
    let (one, two) =
        (function("f", vec![call("g", "a", "b")]), function("g", vec![call("f", "a", "b")]));
    refused(&calling("f", vec![one, two]), &["deeper than 16"]);
}

#[test]
fn a_function_that_calls_itself_in_a_subgraph() {
    let branch = crate::onnx::proto::GraphProto {
        node: vec![call("f", "a", "r")],
        output: vec![super::untyped("r")],
        ..Default::default()
    };
    let choice = super::with(node("If", &["a"], &["b"]), super::subgraph("then_branch", branch));
    refused(&calling("f", vec![function("f", vec![choice])]), &["deeper than 16"]);
}

#[test]
fn functions_that_multiply() {
    let mut functions = vec![function("f0", vec![node("Relu", &["a"], &["b"])])];
    for level in 1..12 {
        let below = format!("f{}", level - 1);
        let mut body: Vec<NodeProto> =
            (0..9).map(|number| call(&below, "a", &format!("t{number}"))).collect();
        body.push(call(&below, "a", "b"));
        functions.push(function(&format!("f{level}"), body));
    }
    refused(&calling("f11", functions), &["10000"]);
}

#[test]
fn a_large_body_that_is_called_often() {
    let mut large = node("Relu", &["a"], &["b"]);
    large.doc_string = Some("d".repeat(1 << 20));
    let body = (0..1000).map(|number| call("large", "a", &format!("t{number}")));
    let body = body.chain([call("large", "a", "b")]).collect();
    let functions = vec![function("large", vec![large]), function("f", body)];
    refused(&calling("f", functions), &["bytes of bodies"]);
}

#[test]
fn two_functions_of_one_name() {
    let one = function("f", vec![node("Relu", &["a"], &["b"])]);
    refused(&calling("f", vec![one.clone(), one]), &["two functions", "\"f\""]);
}

#[test]
fn calls_that_do_not_fit_the_function() {
    let relu = function("f", vec![node("Relu", &["a"], &["b"])]);
    let mut more = calling("f", vec![relu.clone()]);
    let graph = more.graph.as_mut().unwrap();
    graph.node[0].input = vec!["x".to_owned(); 50];
    graph.node[0].output = ["y", "z", "w"].map(str::to_owned).to_vec();
    drop(load(&more));
    let mut none = calling("f", vec![relu]);
    let graph = none.graph.as_mut().unwrap();
    graph.node[0].input.clear();
    refused_or_fails(&none);
    // What the body does not make.
    let hollow = function("f", Vec::new());
    refused(&calling("f", vec![hollow]), &["\"y\""]);
}

fn refused_or_fails(model: &ModelProto) {
    if let Ok(network) = load(model) {
        let ones = crate::tensor::Tensor::new([2], vec![1.0_f32, 1.0]);
        assert!(network.run(vec![ones.into()]).is_err());
    }
}
