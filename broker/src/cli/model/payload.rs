//! Payloads of a bundle from files, from the command line and from standard input; answers as people read them.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use embermq_inference::{Answer, Device, Model, ModelOptions, Payload};
use serde_json::{Value as Json, json};

use super::run::span;
use super::{Console, Exit, Failure, Global, not_opened, one_line};
use crate::cli::Output;
use crate::clock::{Clock as _, SystemClock};

/// Classes that are printed for people.
const SHOWN_MAX: usize = 10;

/// Bytes that are read of one payload: what the broker takes as a record is smaller.
const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

/// Whether a path is a model that says how payloads are read.
pub(super) fn is_bundle(path: &Path) -> bool {
    path.join("model.toml").is_file()
}

/// Answers payloads, and prints each answer.
pub(super) fn answer(
    path: &Path,
    inputs: &[String],
    device: &Device,
    global: &Global,
    console: &mut Console,
) -> Result<(), Failure> {
    let clock = SystemClock::default();
    let mut options = ModelOptions::default();
    options.device = device.clone();
    let model = Model::open(path, &options).map_err(|error| not_opened(&error))?;
    let loaded = clock.elapsed();
    if inputs.is_empty() {
        return Err(Failure::usage("say what to answer: files, text, or - for standard input"));
    }
    let payloads = payloads(inputs, &model)?;
    let began = clock.elapsed();
    let answers = model.infer(&payloads);
    let took = clock.elapsed().saturating_sub(began);
    let mut failed = false;
    for (input, answer) in inputs.iter().zip(&answers) {
        failed |= answer.is_err();
        match (global.output, answer) {
            (Output::Json, _) => {
                console.json(&as_json(input, answer.as_ref().map_err(ToString::to_string)))?;
                continue;
            }
            (Output::Raw, Ok(answer)) => {
                console.bytes(&answer.content.to_bytes())?;
                continue;
            }
            (Output::Raw, Err(error)) => {
                console.remark(one_line(&format!("{input}: {error}")));
                continue;
            }
            (Output::Text, _) => {}
        }
        if inputs.len() > 1 {
            console.line(format!("{}:", one_line(input)))?;
        }
        match answer {
            Ok(answer) => print(answer, console)?,
            Err(error) => console.line(one_line(&format!("  error: {error}")))?,
        }
    }
    console.remark(format!("loaded in {}, answered in {}", span(loaded), span(took)));
    if failed { Err(Failure::Silent(Exit::Damage)) } else { Ok(()) }
}

/// Each input as a payload.
pub(super) fn payloads(inputs: &[String], model: &Model) -> Result<Vec<Payload>, Failure> {
    inputs.iter().map(|input| payload(input, model)).collect()
}

/// A file's bytes, standard input, or the text itself when no file is called so.
fn payload(input: &str, model: &Model) -> Result<Payload, Failure> {
    if input == "-" {
        return Ok(standard_input()?.into());
    }
    let failed = |what: String| Failure::usage(format!("{}: {what}", one_line(input)));
    let path = Path::new(input);
    if path.is_dir() {
        return Err(failed("it is a folder, not a file".to_owned()));
    }
    // A pipe or a device too: a shell names them (`<(command)`).
    if path.exists() {
        let file = fs::File::open(input).map_err(|error| failed(error.to_string()))?;
        return Ok(read(file).map_err(failed)?.into());
    }
    if !model.takes_any_text() && is_path(input) && serde_json::from_str::<Json>(input).is_err() {
        let what = "there is no such file, and the text itself is no payload of this model";
        return Err(failed(what.to_owned()));
    }
    if model.takes_any_text() && is_file_name(input) {
        let what = "there is no such file; if it is the text itself that is meant, give it on standard input (-)";
        return Err(failed(what.to_owned()));
    }
    Ok(input.to_owned().into())
}

/// Whether a text looks like the name of a file.
fn is_path(text: &str) -> bool {
    text.contains(std::path::MAIN_SEPARATOR) || Path::new(text).extension().is_some()
}

/// Whether a text can hardly be anything else than the name of a file: one word, with an extension or folders.
fn is_file_name(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(|extension| extension.to_str());
    let short = |extension: &str| {
        extension.len() <= 5
            && extension.chars().all(|letter| letter.is_ascii_alphanumeric())
            && extension.contains(|letter: char| letter.is_ascii_alphabetic())
    };
    let leads = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    !text.contains(char::is_whitespace)
        && !text.contains("://")
        && (leads || extension.is_some_and(short))
}

/// All of standard input.
pub(super) fn standard_input() -> Result<Vec<u8>, Failure> {
    read(std::io::stdin().lock()).map_err(|what| Failure::usage(format!("standard input: {what}")))
}

fn read(from: impl std::io::Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(format!("it has more than {PAYLOAD_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

fn as_json(input: &str, answer: Result<&Answer, String>) -> Json {
    match answer {
        Ok(answer) => json!({
            "input": input,
            "answer": answer.content.to_json(),
            "nonfinite": answer.nonfinite,
            "batch": answer.batch,
            "seconds": {
                "pre": answer.times.pre.as_secs_f64(),
                "compute": answer.times.compute.as_secs_f64(),
                "post": answer.times.post.as_secs_f64(),
            },
        }),
        Err(error) => json!({ "input": input, "error": error }),
    }
}

fn print(answer: &Answer, console: &mut Console) -> Result<(), Failure> {
    let content = answer.content.to_json();
    let mut lines = class_lines(&content);
    if lines.is_empty() {
        lines.push(content.to_string());
    }
    lines.iter().try_for_each(|line| console.line(one_line(line)))?;
    if answer.nonfinite {
        console.remark("an output had infinity or what is no number in it");
    }
    Ok(())
}

/// The answer's label and score, then a line for each class, the best first. Nothing for an answer of another form.
///
/// The label may be another than that of the best class: renamed, or what the manifest says for a score below the threshold.
fn class_lines(content: &Json) -> Vec<String> {
    let text = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    let Some(classes) = content["classes"].as_array() else { return Vec::new() };
    let answer = content.get("label").unwrap_or(&content["class"]);
    let name = if answer.is_null() { "not sure".to_owned() } else { text(answer) };
    let mut lines = vec![match content["score"].as_f64() {
        Some(score) => format!("{name}  {score:.4}"),
        None => name,
    }];
    for class in classes.iter().take(SHOWN_MAX) {
        let name = class.get("label").unwrap_or(&class["class"]);
        let score = class["score"].as_f64().unwrap_or(f64::NAN);
        lines.push(format!("{score:>8.4}  {}", text(name)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_told_from_other_texts() {
        for path in ["photo.jpg", "./photo", "a/b"] {
            assert!(is_path(path), "{path}");
        }
        for text in ["photo", "[1, 2]", ""] {
            assert!(!is_path(text), "{text}");
        }
    }

    #[test]
    fn classes_are_lines_and_other_answers_stay_as_they_are() {
        let two = json!([
            { "class": 1, "label": "cat", "score": 0.75 },
            { "class": 0, "score": 0.25 },
        ]);
        let renamed = json!({ "label": "pet", "class": 1, "score": 0.75, "classes": two });
        assert_eq!(class_lines(&renamed), ["pet  0.7500", "  0.7500  cat", "  0.2500  0"]);
        let unsure = json!({ "label": null, "class": 1, "score": 0.75, "classes": [] });
        assert_eq!(class_lines(&unsure), ["not sure  0.7500"]);
        let unlabelled = json!({ "class": 4, "score": 1.0, "classes": [] });
        assert_eq!(class_lines(&unlabelled), ["4  1.0000"]);
        assert_eq!(class_lines(&json!({ "label": "empty", "classes": [] })), ["empty"]);
        assert!(class_lines(&json!([1.0, 2.0])).is_empty());
    }
}
