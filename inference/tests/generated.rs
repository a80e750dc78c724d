//! The generated code in `src/onnx/generated` is what `proto/onnx/` says.
//!
//! `EMBERMQ_REGENERATE=1 cargo test -p embermq-inference --test generated` writes it anew.
use std::fs;
use std::path::Path;

#[test]
fn generated_code_is_what_the_proto_file_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors =
        protox::compile(["onnx/onnx-ml.proto", "onnx/onnx-data.proto"], [root.join("proto")])
            .unwrap();
    let modules = descriptors
        .file
        .iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file.clone()))
        .collect();
    let mut config = prost_build::Config::new();
    config.bytes(["."]).disable_comments(["."]);
    let code = config.generate(modules).unwrap();
    let content = code.into_values().next().unwrap();
    let path = root.join("src/onnx/generated/onnx.rs");
    if std::env::var_os("EMBERMQ_REGENERATE").is_some() {
        fs::write(&path, &content).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == content,
        "src/onnx/generated/onnx.rs is not what proto/ says; \
         run EMBERMQ_REGENERATE=1 cargo test -p embermq-inference --test generated"
    );
}
