//! Whether outputs of a stage would come back to it.

use embermq_protocol::names::GroupName;

use super::config::StageConfig;
use super::error::StageError;

/// Refuses a stage whose outputs come back, over whatever other stages.
pub(super) fn check_cycle<'a>(
    name: &GroupName,
    config: &StageConfig,
    all: impl Iterator<Item = (&'a GroupName, &'a StageConfig)> + Clone,
) -> Result<(), StageError> {
    let mut seen = vec![config.output.clone()];
    let mut at = 0;
    while let Some(topic) = seen.get(at).cloned() {
        if topic == config.input {
            let mut path = vec![config.input.clone(), config.output.clone()];
            path.push(config.input.clone());
            return Err(StageError::Cycle { stage: name.clone(), path });
        }
        at += 1;
        let others = all.clone().filter(|(other, config)| *other != name && config.input == topic);
        for (_, other) in others {
            if !seen.contains(&other.output) {
                seen.push(other.output.clone());
            }
        }
    }
    Ok(())
}
