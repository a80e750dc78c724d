//! What each version of each operator takes: how many inputs, how many outputs, which attributes.
//!
//! An operator's builder reads what it knows and would never miss the rest: an attribute that a later version gave a meaning, a
//! misspelt one, an operand too many. Against the specification's own list none of them goes unnoticed.
//!
//! `signatures.txt` is that list, from the schemas of ONNX 1.23.2 (<https://onnx.ai/onnx/operators/>); its lines are described in
//! `checks/operator_signatures.py`, which writes it.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use crate::nearest::nearest;

const LIST: &str = include_str!("signatures.txt");

/// A node of a hostile file can have any number.
const UNKNOWN_ATTRIBUTES_SHOWN: usize = 8;

/// One version of an operator.
#[derive(Debug)]
struct Signature {
    since: i64,
    inputs: RangeInclusive<usize>,
    outputs: RangeInclusive<usize>,
    attributes: Vec<&'static str>,
}

/// By domain and name, the oldest version first.
static SIGNATURES: LazyLock<HashMap<(&str, &str), Vec<Signature>>> = LazyLock::new(|| {
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    for (key, signature) in LIST.lines().filter_map(read) {
        all.entry(key).or_default().push(signature);
    }
    all
});

/// The newest version that an operator of each domain came with.
static NEWEST: LazyLock<HashMap<&str, i64>> = LazyLock::new(|| {
    let mut newest = HashMap::new();
    for ((domain, _), all) in &*SIGNATURES {
        let since = all.last().map_or(0, |last| last.since);
        newest
            .entry(*domain)
            .and_modify(|known: &mut i64| *known = since.max(*known))
            .or_insert(since);
    }
    newest
});

fn read(line: &'static str) -> Option<((&'static str, &'static str), Signature)> {
    let mut words = line.split(' ');
    let domain = match words.next()? {
        "-" => "",
        domain => domain,
    };
    let name = words.next()?;
    let since = words.next()?.parse().ok()?;
    let mut counts = || {
        let (least, most) = (words.next()?.parse().ok()?, words.next()?);
        let most = if most == "*" { usize::MAX } else { most.parse().ok()? };
        Some(least..=most)
    };
    let (inputs, outputs) = (counts()?, counts()?);
    Some(((domain, name), Signature { since, inputs, outputs, attributes: words.collect() }))
}

/// The newest version of a domain's operators that is known here. `None`: the domain is not known at all.
pub(crate) fn newest(domain: &str) -> Option<i64> {
    NEWEST.get(domain).copied()
}

/// How many inputs or outputs a node has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// As the file lists them, those that are left out (an empty name) included.
    pub(crate) listed: usize,
    /// Without those that are left out at the end.
    pub(crate) used: usize,
}

/// What of a node contradicts its version of the operator, a text for each. Nothing for operators that the specification does not have.
pub(crate) fn faults<'a>(
    (domain, op, version): (&str, &str, i64),
    inputs: Count,
    outputs: Count,
    attributes: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let Some(known) = known(domain, op, version) else { return Vec::new() };
    let mut faults = Vec::new();
    // Both operands of a Loop may be left out, and have to be listed.
    for (what, least, most, may) in [
        ("inputs", inputs.listed, inputs.used, &known.inputs),
        ("outputs", outputs.used, outputs.used, &known.outputs),
    ] {
        if least < *may.start() || most > *may.end() {
            let count = if least < *may.start() { least } else { most };
            faults.push(format!("it has {count} {what}, {} may be there", span(may)));
        }
    }
    // ONNX leaves names that begin so to whoever writes the file.
    let unknown =
        attributes.filter(|name| !name.starts_with("__") && !known.attributes.contains(name));
    for name in unknown.take(UNKNOWN_ATTRIBUTES_SHOWN) {
        let near = nearest(name, known.attributes.iter().copied());
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        faults.push(format!("version {} has no attribute {name:?}{hint}", known.since));
    }
    faults
}

fn known<'a>(domain: &'a str, op: &'a str, version: i64) -> Option<&'a Signature> {
    let all = SIGNATURES.get(&(domain, op))?;
    let at = all.partition_point(|signature| signature.since <= version);
    all.get(at.checked_sub(1)?)
}

/// The attributes that a version of an operator has.
#[cfg(test)]
pub(crate) fn attributes<'a>(domain: &'a str, op: &'a str, version: i64) -> &'a [&'static str] {
    known(domain, op, version).map_or(&[], |known| &known.attributes)
}

fn span(may: &RangeInclusive<usize>) -> String {
    match (*may.start(), *may.end()) {
        (least, usize::MAX) => format!("{least} or more"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_read_and_in_order() {
        assert_eq!(LIST.lines().filter_map(read).count(), LIST.lines().count());
        assert!(SIGNATURES.values().all(|all| all.is_sorted_by_key(|one| one.since)));
        assert_eq!(
            [newest(""), newest("ai.onnx.ml"), newest("com.example")],
            [Some(28), Some(5), None]
        );
    }

    #[test]
    fn every_operator_here_is_in_the_list() {
        for name in super::super::names() {
            let (domain, op) = name.rsplit_once('.').unwrap_or(("", &name));
            assert!(SIGNATURES.contains_key(&(domain, op)), "{name}");
        }
    }

    #[test]
    fn what_a_version_does_not_have_is_named() {
        let faults = |op, inputs, outputs, attributes: &[&str]| {
            let count = |used| Count { listed: used, used };
            faults(("", op, 13), count(inputs), count(outputs), attributes.iter().copied())
        };
        assert!(faults("Conv", 3, 1, &["strides", "pads"]).is_empty());
        assert_eq!(faults("Conv", 4, 1, &[]), ["it has 4 inputs, 2 to 3 may be there"]);
        assert_eq!(faults("Relu", 1, 2, &[]), ["it has 2 outputs, 1 may be there"]);
        assert_eq!(faults("Concat", 0, 1, &["axis"]), ["it has 0 inputs, 1 or more may be there"]);
        let stride = "version 11 has no attribute \"stride\"; did you mean \"strides\"?";
        assert_eq!(faults("Conv", 2, 1, &["stride"]), [stride]);
        assert_eq!(
            faults("Add", 2, 1, &["broadcast"]),
            ["version 13 has no attribute \"broadcast\""]
        );
        assert!(faults("NoSuchOperator", 9, 9, &["x"]).is_empty());
        assert!(faults("Relu", 1, 1, &["__note"]).is_empty());
    }
}
