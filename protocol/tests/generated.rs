//! The generated code and the descriptors in `src/generated` are what `proto/` says.
//!
//! `EMBERMQ_REGENERATE=1 cargo test -p embermq-protocol --test generated` writes them anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails there fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;

const PACKAGE: &str = ".embermq.v1";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn proto_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("proto/embermq/v1"))
        .unwrap()
        .map(|entry| Path::new("embermq/v1").join(entry.unwrap().file_name()))
        .collect();
    files.sort();
    files
}

/// Everything that belongs in `src/generated`: file name to content.
fn generate() -> BTreeMap<String, Vec<u8>> {
    let descriptors = protox::compile(proto_files(), [root().join("proto")]).unwrap();
    let set = descriptors.encode_to_vec();

    let mut files = BTreeMap::new();
    let mut messages = prost_build::Config::new();
    messages
        .bytes(["."])
        .btree_map(["."])
        .enable_type_names()
        .extern_path(".google.protobuf.Duration", "crate::time::Duration")
        .extern_path(".google.protobuf.Timestamp", "crate::time::Timestamp");
    let modules = descriptors
        .file
        .iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file.clone()))
        .collect();
    let mut code = messages.generate(modules).unwrap();
    let ours = code.remove(&prost_build::Module::from_protobuf_package_name("embermq.v1"));
    files.insert("embermq.v1.rs".to_owned(), ours.unwrap().into_bytes());

    let mut serde = pbjson_build::Builder::new();
    serde
        .register_descriptors(&set)
        .unwrap()
        .btree_map(["."])
        .extern_path(".google.protobuf.Duration", "crate::time::Duration")
        .extern_path(".google.protobuf.Timestamp", "crate::time::Timestamp");
    for (_, code) in serde.generate(&[PACKAGE], |_| Ok(Vec::new())).unwrap() {
        files.insert("embermq.v1.serde.rs".to_owned(), code);
    }
    files.insert("descriptors.bin".to_owned(), set);
    files
}

#[test]
fn generated_code_is_what_the_proto_files_say() {
    let folder = root().join("src/generated");
    let files = generate();
    assert_eq!(files.len(), 3);
    for (name, content) in files {
        let path = folder.join(&name);
        if std::env::var_os("EMBERMQ_REGENERATE").is_some() {
            fs::write(&path, &content).unwrap();
        }
        let committed = fs::read(&path).unwrap_or_default();
        assert!(
            committed == content,
            "src/generated/{name} is not what proto/ says; \
             run EMBERMQ_REGENERATE=1 cargo test -p embermq-protocol --test generated"
        );
    }
}
