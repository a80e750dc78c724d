//! Layers, origins and messages of the configuration.

use std::time::Duration;

use super::*;
use crate::models::DirectOptions;

fn load(toml: &str, env: &[(&str, &str)], flags: &[FlagValue]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("embermq.toml");
    std::fs::write(&path, toml).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&path), env, flags)
}

fn message(toml: &str) -> String {
    let full = load(toml, &[], &[]).unwrap_err().to_string();
    // The folder of the test differs from run to run.
    full.rsplit('/').next().unwrap().to_owned()
}

fn key(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).unwrap()
}

#[test]
fn a_later_layer_wins_and_says_so() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n[storage]\nsegment_bytes = \"8MiB\"\nlog_file_bytes = 2097152\n";
    let env = [("EMBERMQ__SERVER__LISTEN", "127.0.0.1:2"), ("EMBERMQ__LOG__LEVEL", "debug")];
    let flags =
        [FlagValue { key: "server.listen", flag: "--listen", text: "127.0.0.1:3".to_owned() }];

    let config = load(file, &env, &flags).unwrap();

    assert_eq!(config.settings.listen.port(), 3);
    assert_eq!(config.origin(key("server.listen")), Origin::Flag { flag: "--listen" });
    assert_eq!(config.settings.log_level, "debug");
    assert_eq!(config.origin(key("log.level")).to_string(), "environment EMBERMQ__LOG__LEVEL");
    assert_eq!(config.settings.segment_bytes, 8 << 20);
    assert!(config.origin(key("storage.segment_bytes")).to_string().ends_with("embermq.toml:4"));
    assert_eq!(config.settings.log_file_bytes, 2 << 20);
    assert_eq!(config.origin(key("retention.interval")), Origin::Default);
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    for good in ["warn", "INFO", "off", "info,embermq_storage=debug", "embermq::shard=trace,error"]
    {
        let env = [("EMBERMQ__LOG__LEVEL", good)];
        assert_eq!(load("", &env, &[]).unwrap().settings.log_level, good);
    }
    for wrong in ["warning", "inof", "info,embermq_storage"] {
        let error = load("", &[("EMBERMQ__LOG__LEVEL", wrong)], &[]).unwrap_err().to_string();
        assert!(error.contains("is no level: write error, warn"), "{error}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    assert_eq!(
        message("[server]\n\nlisten_on = \"x\"\n"),
        "embermq.toml:3: there is no setting \"server.listen_on\"; did you mean \"server.listen\"?"
    );
    assert_eq!(
        message("[storage]\ncolour = 1\n"),
        "embermq.toml:2: there is no setting \"storage.colour\"; `embermq config show` lists them all"
    );
    let error = load("", &[("EMBERMQ__STORAGE__SEGMENTBYTES", "1MiB")], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment EMBERMQ__STORAGE__SEGMENTBYTES: there is no setting \"storage.segmentbytes\"; did you mean \"storage.segment_bytes\"?"
    );
}

#[test]
fn a_bad_value_is_refused_with_what_would_be_right() {
    for (toml, expected) in [
        (
            "[storage]\nsegment_bytes = \"64M\"\n",
            "embermq.toml:2: storage.segment_bytes cannot be \"64M\": unknown unit \"M\": use B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB",
        ),
        (
            "[storage]\nsegment_bytes = 5\n",
            "embermq.toml:2: storage.segment_bytes cannot be \"5\": it must lie between 1MiB and 1GiB",
        ),
        (
            "[retention]\ninterval = 30\n",
            "embermq.toml:2: retention.interval cannot be \"30\": write a time span with its unit, such as \"30s\"",
        ),
        (
            "[server]\nlisten = \"localhost\"\n",
            "embermq.toml:2: server.listen cannot be \"localhost\": write an IP address and a port, such as 127.0.0.1:7400",
        ),
        (
            "[log]\nformat = \"xml\"\n",
            "embermq.toml:2: log.format cannot be \"xml\": write text or json",
        ),
        (
            "listen = \"x\"\n",
            "embermq.toml:1: \"listen\" stands outside of a section: put it below a line such as [server]",
        ),
        (
            "[server.deep]\nlisten = \"x\"\n",
            "embermq.toml:1: \"server.deep\" is a section within a section: there is only one level",
        ),
        (
            "[log]\nlevel = 1.5\n",
            "embermq.toml:2: \"log.level\" is a float: settings are strings, integers and booleans",
        ),
    ] {
        assert_eq!(message(toml), expected);
    }
}

#[test]
fn how_models_are_asked_directly_can_be_set_and_is_as_it_was_where_it_is_not() {
    let direct = |toml: &str| load(toml, &[], &[]).unwrap().settings.serve_options().direct;
    let defaults = DirectOptions::default();
    assert_eq!(direct(""), defaults);
    assert_eq!(direct("[direct]\nthreads = \"auto\"\n"), defaults);
    let set = "[direct]\ntimeout = \"2s\"\nqueue_max = 3\nthreads = 4\nmodels_max = \"5\"\nidle = \"1h\"\n";
    let expected = DirectOptions {
        timeout: Duration::from_secs(2),
        queue_max: 3,
        threads: 4,
        models_max: 5,
        idle: Duration::from_secs(3_600),
    };
    assert_eq!(direct(set), expected);
    for (toml, expected) in [
        (
            "[direct]\nthreads = \"many\"\n",
            "embermq.toml:2: direct.threads cannot be \"many\": write auto or a whole number",
        ),
        (
            "[direct]\nthreads = 0\n",
            "embermq.toml:2: direct.threads cannot be \"0\": it must lie between 1 and 256",
        ),
        (
            "[models]\ndevice = \"gpu\"\n",
            "embermq.toml:2: models.device cannot be \"gpu\": \"gpu\" is no device; there are cpu, flex, wgpu, vulkan, metal and cuda (cuda:1 for the second)",
        ),
        (
            "[direct]\nmodel_max = 3\n",
            "embermq.toml:2: there is no setting \"direct.model_max\"; did you mean \"direct.models_max\"?",
        ),
    ] {
        assert_eq!(message(toml), expected);
    }
}

#[test]
fn broken_toml_names_the_line() {
    assert!(message("[server]\nlisten = \n").starts_with("embermq.toml:2: not valid TOML"));
}

#[test]
fn what_is_shown_can_be_written_back() {
    let settings = Settings::default();
    for key in KEYS {
        let mut copy = settings.clone();
        (key.set)(&mut copy, &Value::Text((key.show)(&settings))).unwrap();
        assert_eq!(copy, settings, "{}", key.name);
    }
}

#[test]
fn names_are_unique_and_have_a_section() {
    let names: std::collections::BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names.len(), KEYS.len());
    for key in KEYS {
        assert_eq!(key.name.split('.').count(), 2, "{}", key.name);
        assert!(!key.meaning.is_empty());
    }
    assert_eq!(key("server.listen").variable(), "EMBERMQ__SERVER__LISTEN");
}

#[test]
fn the_page_about_configuration_names_every_key() {
    let page = include_str!("../../../docs/configuration.md");
    let settings = Settings::default();
    for key in KEYS {
        let row = format!("| `{}` | `{}` |", key.name, (key.show)(&settings));
        assert!(page.contains(&row), "docs/configuration.md lacks the row {row}");
    }
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 2)
        .count();
    assert_eq!(rows, KEYS.len(), "docs/configuration.md has rows for keys that are not there");
}
