//! Payloads of a bundle from files, from the command line and from standard input; answers as people read them.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use embermq_inference::{Answer, Model, ModelOptions, OpenError, Payload};
use serde_json::{Value as Json, json};

use super::run::span;
use super::{Console, Exit, Failure, Global, one_line};
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
    global: &Global,
    console: &mut Console,
) -> Result<(), Failure> {
    let clock = SystemClock::default();
    let model = Model::open(path, &ModelOptions::default()).map_err(|error| {
        let exit = match &error {
            OpenError::Io { .. } => Exit::Unavailable,
            _ => Exit::Damage,
        };
        Failure::new(exit, one_line(&error.to_string()))
    })?;
    let loaded = clock.elapsed();
    if inputs.is_empty() {
        return Err(Failure::usage("say what to answer: files, text, or - for standard input"));
    }
    let payloads = inputs.iter().map(|input| payload(input)).collect::<Result<Vec<_>, _>>()?;
    let began = clock.elapsed();
    let answers = model.infer(&payloads);
    let took = clock.elapsed().saturating_sub(began);
    let mut failed = false;
    for (input, answer) in inputs.iter().zip(&answers) {
        failed |= answer.is_err();
        if global.output == Output::Json {
            console.json(&as_json(input, answer.as_ref().map_err(ToString::to_string)))?;
            continue;
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

/// A file's bytes, standard input, or the text itself when no file is called so.
fn payload(input: &str) -> Result<Payload, Failure> {
    let failed = |what: String| Failure::usage(format!("{}: {what}", one_line(input)));
    let mut bytes = Vec::new();
    if input == "-" {
        let stdin = std::io::stdin();
        let read = stdin.lock().take(PAYLOAD_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| failed(error.to_string()))?;
        return Ok(bytes.into());
    }
    if !Path::new(input).is_file() {
        return Ok(input.to_owned().into());
    }
    let file = fs::File::open(input).map_err(|error| failed(error.to_string()))?;
    let read = file.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(failed(format!("it has more than {PAYLOAD_BYTES_MAX} bytes")));
    }
    Ok(bytes.into())
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

/// A line for each class, the best first. Nothing for an answer of another form.
fn class_lines(content: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    let text = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    let Some(classes) = content["classes"].as_array() else { return lines };
    if classes.is_empty() && !content["label"].is_null() {
        lines.push(text(&content["label"]));
    }
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
    fn classes_are_lines_and_other_answers_stay_as_they_are() {
        let classes = json!({ "classes": [
            { "class": 1, "label": "cat", "score": 0.75 },
            { "class": 0, "score": 0.25 },
        ] });
        assert_eq!(class_lines(&classes), ["  0.7500  cat", "  0.2500  0"]);
        assert_eq!(class_lines(&json!({ "label": "empty", "classes": [] })), ["empty"]);
        assert!(class_lines(&json!([1.0, 2.0])).is_empty());
    }
}
