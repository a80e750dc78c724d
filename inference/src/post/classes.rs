//! Scores of classes: the best ones by name.
//!
//! The answer is `{"label", "class", "score", "classes": [{"class", "label", "score"}, ...]}`. `label` is the best class's, unless
//! a rule replaces it: `rename` gives some labels another name, and a score below the label's threshold is answered by the first
//! `unsure` rule that fits what `details` say of the label, or by `null`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{Content, OutputError, Outputs, labels, number, output};
use crate::bundle::{Section, Surroundings, declared, fixed};

/// Classes in an answer, unless `top_k` says otherwise.
const TOP_K: usize = 5;

/// How scores become an answer.
#[derive(Debug)]
pub(crate) struct Classes {
    output: usize,
    activation: Activation,
    top_k: usize,
    labels: Vec<String>,
    details: Map<String, Json>,
    threshold: Option<f64>,
    thresholds: BTreeMap<String, f64>,
    rename: BTreeMap<String, String>,
    unsure: Vec<Unsure>,
}

/// What the model's scores are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activation {
    Softmax,
    Sigmoid,
    Nothing,
}

/// The answer to a score below the threshold.
#[derive(Debug)]
struct Unsure {
    answer: String,
    /// What `details` must say of the label.
    when: BTreeMap<String, Json>,
}

impl Classes {
    pub(super) fn read(section: &Section<'_>, around: &Surroundings<'_>) -> Option<Self> {
        let words = [
            ("softmax", Activation::Softmax),
            ("sigmoid", Activation::Sigmoid),
            ("none", Activation::Nothing),
        ];
        if !section.has("activation") {
            let what = "say what the scores need: \"softmax\" for logits of one class out of many, \
                \"sigmoid\" for logits of classes on their own, \"none\" for probabilities";
            section.problem("activation", what);
        }
        let activation = section.choice("activation", &words);
        let at = around.output(section, "output");
        let top_k = section.count("top_k", 1..=usize::MAX).unwrap_or(TOP_K);
        let labels = labels::read(section, around);
        let details = labels::details(section, around);
        let threshold = section.number("threshold");
        let thresholds = section.numbers_by_name("thresholds");
        let rename = section.texts_by_name("rename");
        let unsure = unsure_rules(section);
        if !unsure.is_empty() && threshold.is_none() && thresholds.is_empty() {
            section.problem("unsure", "without a threshold no answer is unsure");
        }
        let (activation, at, labels, details) = (activation?, at?, labels?, details?);
        let port = around.network.outputs().get(at)?;
        let classes = declared(port).1.and_then(|dims| dims.last()).and_then(fixed);
        if let Some(classes) =
            classes.filter(|classes| !labels.is_empty() && *classes != labels.len())
        {
            let what =
                format!("there are {} labels, {:?} has {classes} classes", labels.len(), port.name);
            section.problem("labels", what);
        }
        for (key, names) in [
            ("thresholds", thresholds.keys().collect::<Vec<_>>()),
            ("rename", rename.keys().collect()),
        ] {
            for name in names.into_iter().filter(|name| !labels.contains(name)) {
                section.problem(key, format!("{name:?} is none of the labels"));
            }
        }
        Some(Self {
            output: at,
            activation,
            top_k,
            labels,
            details,
            threshold,
            thresholds,
            rename,
            unsure,
        })
    }

    pub(super) fn answer(&self, outputs: &Outputs<'_>) -> Result<Content, OutputError> {
        let tensor = output(outputs, self.output)?;
        let mut scores = tensor.to_f32s().map_err(|error| OutputError::of("output", error))?;
        if !self.labels.is_empty() && scores.len() != self.labels.len() {
            let what = format!(
                "the output has {} scores, there are {} labels",
                scores.len(),
                self.labels.len()
            );
            return Err(OutputError::of("labels", what));
        }
        self.activation.apply(&mut scores);
        let best = best(&scores, self.top_k);
        let classes: Vec<Json> = best
            .iter()
            .enumerate()
            .filter(|(at, (class, score))| *at == 0 || self.is_sure(*class, *score))
            .map(|(_, (class, score))| self.class(*class, *score))
            .collect();
        let Some((class, score)) = best.first().copied() else {
            return Ok(Content::Json(json!({ "label": null, "classes": [] })));
        };
        let label = self.label(class);
        let mut answer =
            json!({ "class": class, "score": number::short(score), "classes": classes });
        if let Some(label) = label {
            let renamed = self.rename.get(label).map_or(label, String::as_str);
            let said =
                if self.is_sure(class, score) { Some(renamed) } else { self.unsure(renamed) };
            answer["label"] = said.map_or(Json::Null, Json::from);
            self.add_details(&mut answer, said);
        } else if !self.is_sure(class, score) {
            answer["class"] = Json::Null;
        }
        Ok(Content::Json(answer))
    }

    /// The answer when the label is known without the model.
    pub(super) fn answer_for(&self, label: &str) -> Content {
        let mut answer = json!({ "label": label, "class": null, "score": 1.0, "classes": [] });
        self.add_details(&mut answer, Some(label));
        Content::Json(answer)
    }

    fn add_details(&self, answer: &mut Json, label: Option<&str>) {
        if let Some(details) = label.and_then(|label| self.details.get(label)) {
            answer["details"] = details.clone();
        }
    }

    fn label(&self, class: usize) -> Option<&str> {
        self.labels.get(class).map(String::as_str)
    }

    fn class(&self, class: usize, score: f32) -> Json {
        let mut json = json!({ "class": class, "score": number::short(score) });
        if let Some(label) = self.label(class) {
            json["label"] = Json::from(label);
        }
        json
    }

    fn is_sure(&self, class: usize, score: f32) -> bool {
        let own = self.label(class).and_then(|label| self.thresholds.get(label)).copied();
        own.or(self.threshold).is_none_or(|threshold| f64::from(score) >= threshold)
    }

    fn unsure(&self, label: &str) -> Option<&str> {
        let details = self.details.get(label);
        let says = |(key, wanted): (&String, &Json)| {
            details.and_then(|details| details.get(key)) == Some(wanted)
        };
        let rule = self.unsure.iter().find(|rule| rule.when.iter().all(says));
        rule.map(|rule| rule.answer.as_str())
    }
}

fn unsure_rules(section: &Section<'_>) -> Vec<Unsure> {
    let mut rules = Vec::new();
    for rule in section.sections("unsure") {
        let when = rule.values_by_name("when");
        match rule.text("answer") {
            Some(answer) => rules.push(Unsure { answer, when }),
            None if rule.has("answer") => {}
            None => rule.problem("answer", "say what to answer"),
        }
        rule.finish();
    }
    rules
}

impl Activation {
    fn apply(self, scores: &mut [f32]) {
        match self {
            Self::Nothing => {}
            Self::Sigmoid => {
                for score in scores {
                    *score = 1.0 / (1.0 + (-*score).exp());
                }
            }
            Self::Softmax => {
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut sum = 0.0;
                for score in scores.iter_mut() {
                    *score = (*score - most).exp();
                    sum += *score;
                }
                for score in scores {
                    *score /= sum;
                }
            }
        }
    }
}

/// The classes with the highest scores, the best first; of equal scores the lower class. What is no number comes last.
fn best(scores: &[f32], top_k: usize) -> Vec<(usize, f32)> {
    let order = |left: &(usize, f32), right: &(usize, f32)| -> Ordering {
        let number = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
        number(right.1).total_cmp(&number(left.1)).then(left.0.cmp(&right.0))
    };
    let mut all: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    if top_k < all.len() {
        all.select_nth_unstable_by(top_k, order);
        all.truncate(top_k);
    }
    all.sort_unstable_by(order);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn classes() -> Classes {
        let details = json!({ "txt": { "is_text": true }, "py": { "is_text": true }, "zip": { "is_text": false } });
        Classes {
            output: 0,
            activation: Activation::Nothing,
            top_k: 2,
            labels: ["py", "zip", "noise"].map(String::from).to_vec(),
            details: details.as_object().unwrap().clone(),
            threshold: Some(0.5),
            thresholds: BTreeMap::from([("py".to_owned(), 0.9)]),
            rename: BTreeMap::from([("noise".to_owned(), "unknown".to_owned())]),
            unsure: vec![
                Unsure {
                    answer: "txt".to_owned(),
                    when: BTreeMap::from([("is_text".to_owned(), json!(true))]),
                },
                Unsure { answer: "unknown".to_owned(), when: BTreeMap::new() },
            ],
        }
    }

    fn answer(classes: &Classes, scores: &[f32]) -> Json {
        let tensors = [Tensor::new([1, scores.len()], scores.to_vec())];
        let outputs =
            Outputs { tensors: &tensors, axis: Some(0), count: 1, mask: None, length: None };
        classes.answer(&outputs).unwrap().to_json()
    }

    #[test]
    fn rules_say_what_an_unsure_answer_is() {
        let classes = classes();
        let label = |scores: &[f32]| answer(&classes, scores)["label"].clone();
        assert_eq!(label(&[0.95, 0.03, 0.02]), "py");
        assert_eq!(label(&[0.85, 0.1, 0.05]), "txt");
        assert_eq!(label(&[0.1, 0.6, 0.3]), "zip");
        assert_eq!(label(&[0.3, 0.4, 0.3]), "unknown");
        assert_eq!(label(&[0.1, 0.2, 0.7]), "unknown");
        let full = answer(&classes, &[0.1, 0.6, 0.3]);
        assert_eq!(full["details"], json!({ "is_text": false }));
        assert_eq!(full["classes"], json!([{ "class": 1, "label": "zip", "score": 0.6 }]));
    }

    #[test]
    fn scores_are_activated_and_sorted() {
        let mut scores = [1000.0, 1000.0, -1000.0];
        Activation::Softmax.apply(&mut scores);
        assert_eq!(scores, [0.5, 0.5, 0.0]);
        let mut scores = [0.0, 1000.0];
        Activation::Sigmoid.apply(&mut scores);
        assert_eq!(scores, [0.5, 1.0]);
        assert_eq!(best(&[0.1, 0.3, f32::NAN, 0.3], 2), [(1, 0.3), (3, 0.3)]);
        assert_eq!(best(&[], 2), []);
    }

    #[test]
    fn another_number_of_scores_is_refused() {
        let tensors = [Tensor::new([1, 2], vec![0.0_f32, 1.0])];
        let outputs =
            Outputs { tensors: &tensors, axis: Some(0), count: 1, mask: None, length: None };
        assert!(classes().answer(&outputs).unwrap_err().to_string().contains("2 scores"));
    }
}
