//! Whether what a stage writes would come back to it: its outputs, and its dead letters where a topic for them is named. The topic that
//! they have by default is the stage's own.

use std::collections::VecDeque;

use embermq_protocol::names::GroupName;

use super::config::StageConfig;
use super::error::StageError;

/// Refuses a stage whose outputs or dead letters come back, over whatever other stages; tells the whole way, and a shortest one.
pub(super) fn check_cycle<'a>(
    name: &GroupName,
    config: &'a StageConfig,
    all: impl Iterator<Item = (&'a GroupName, &'a StageConfig)> + Clone,
) -> Result<(), StageError> {
    let input = config.input.as_str();
    let mut seen: Vec<&str> = written(config).collect();
    let mut ways: VecDeque<Vec<&str>> = seen.iter().map(|topic| vec![input, topic]).collect();
    while let Some(way) = ways.pop_front() {
        let Some(&topic) = way.last() else { continue };
        if topic == input {
            let path = way.into_iter().map(str::to_owned).collect();
            return Err(StageError::Cycle { stage: name.clone(), path });
        }
        let readers = all.clone().filter(|(other, config)| *other != name && config.input == topic);
        for next in readers.flat_map(|(_, config)| written(config)) {
            if !seen.contains(&next) {
                seen.push(next);
                ways.push_back([&way[..], &[next]].concat());
            }
        }
    }
    Ok(())
}

/// The topics that a stage is told to write to.
fn written(config: &StageConfig) -> impl Iterator<Item = &str> {
    [Some(&config.output), config.dead_letter_topic.as_ref()]
        .into_iter()
        .flatten()
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(input: &str, output: &str, dead: Option<&str>) -> StageConfig {
        let mut config: StageConfig = serde_json::from_value(
            serde_json::json!({ "input": input, "output": output, "model": "m" }),
        )
        .unwrap();
        config.dead_letter_topic = dead.map(str::to_owned);
        config
    }

    /// The way on which what a stage `new` writes would come back.
    fn way(new: &StageConfig, others: &[StageConfig]) -> Option<String> {
        let names: Vec<GroupName> =
            (0..others.len()).map(|n| format!("s{n}").parse().unwrap()).collect();
        let checked = check_cycle(&"new".parse().unwrap(), new, names.iter().zip(others));
        match checked {
            Ok(()) => None,
            Err(StageError::Cycle { path, .. }) => Some(path.join(" -> ")),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_whole_way_is_told() {
        let others = [stage("a", "b", None), stage("a", "x", None), stage("b", "c", None)];
        let found = way(&stage("c", "a", None), &others);
        assert_eq!(found.as_deref(), Some("c -> a -> b -> c"));
        assert_eq!(way(&stage("c", "d", None), &others), None);
        assert_eq!(way(&stage("c", "c", None), &[]).as_deref(), Some("c -> c"));
    }

    #[test]
    fn dead_letters_come_back_too_where_they_are_told_to() {
        let others = [stage("letters", "in", None)];
        let named = stage("in", "out", Some("letters"));
        assert_eq!(way(&named, &others).as_deref(), Some("in -> letters -> in"));
        assert_eq!(way(&stage("in", "out", None), &others), None);
        let through = [stage("out", "far", Some("in"))];
        let found = way(&stage("in", "out", None), &through);
        assert_eq!(found.as_deref(), Some("in -> out -> in"));
    }

    #[test]
    fn a_circle_of_others_ends_the_search() {
        let others = [stage("b", "c", None), stage("c", "b", None)];
        assert_eq!(way(&stage("a", "b", None), &others), None);
    }
}
