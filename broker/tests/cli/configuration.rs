//! The layers of the configuration, seen from outside.

use crate::binary::{command, finish, run};

#[test]
fn flags_beat_the_environment_beats_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("embermq.toml"),
        "[server]\nlisten = \"127.0.0.1:1\"\n\n[storage]\nsegment_bytes = \"8MiB\"\n",
    )
    .unwrap();

    let mut show = command(folder.path());
    show.env("EMBERMQ__STORAGE__SEGMENT_BYTES", "16MiB");
    show.env("EMBERMQ__LOG__LEVEL", "warn");
    let shown = finish(show.args(["-v", "config", "show", "--origin"]), b"").expect_code(0);

    let line = |key: &str| shown.lines().into_iter().find(|line| line.starts_with(key)).unwrap();
    assert!(line("listen").contains("127.0.0.1:1") && line("listen").ends_with("embermq.toml:2"));
    let segment = line("segment_bytes");
    assert!(segment.contains("16MiB"), "{segment}");
    assert!(segment.ends_with("environment EMBERMQ__STORAGE__SEGMENT_BYTES"), "{segment}");
    assert!(line("level").contains("debug") && line("level").ends_with("flag -v"));
    assert!(line("interval").ends_with("default"), "{}", line("interval"));
}

#[test]
fn what_is_shown_is_a_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let shown = run(folder.path(), &["config", "show", "--origin"]).expect_code(0);
    std::fs::write(folder.path().join("other.toml"), &shown.stdout).unwrap();
    run(folder.path(), &["config", "check", "--config", "other.toml"]).expect_code(0);
}

#[test]
fn mistakes_are_64_with_place_and_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(folder.path().join("embermq.toml"), text).unwrap();
        run(folder.path(), &["config", "check"]).expect_code(64).stderr
    };
    let error = check("[server]\nlisten = \"127.0.0.1:0\"\nlisten_adress = \"x\"\n");
    assert!(error.contains("embermq.toml:3") && error.contains("server.listen"), "{error}");
    let error = check("[server]\nlisten = \"0.0.0.0:7400\"\n");
    assert!(error.contains("--insecure"), "{error}");
    let error = check("[storage]\nsegment_bytes = \"64M\"\n");
    assert!(error.contains("embermq.toml:2") && error.contains("MiB"), "{error}");

    let error = run(folder.path(), &["config", "check", "--config", "missing.toml"]);
    assert!(error.expect_code(64).stderr.contains("missing.toml"));
}

#[test]
fn serve_refuses_a_bad_configuration_before_it_touches_anything() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = command(folder.path());
    serve.env("EMBERMQ__SERVER__LISTN", "127.0.0.1:0");
    let outcome = finish(serve.arg("serve"), b"").expect_code(64);
    assert!(outcome.stderr.contains("did you mean \"server.listen\"?"), "{}", outcome.stderr);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
