//! What is kept of a webhook: one document, its secrets sealed.

use embermq_storage::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::running::Secrets;
use super::settings::WebhookConfig;
use super::vault::{Vault, VaultError};

/// A webhook in the register.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) config: WebhookConfig,
    secret: String,
    /// The newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_several")]
    previous: Vec<Previous>,
    /// Why it is disabled, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gone: Option<String>,
}

/// The secret before, sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Previous {
    secret: String,
    until_us: i64,
}

/// Once there was at most one, kept by itself.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Previous>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Several(Vec<Previous>),
        One(Previous),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Several(several) => several,
        Either::One(one) => vec![one],
    })
}

impl Kept {
    /// To be kept.
    pub(super) fn seal(
        name: &str,
        config: WebhookConfig,
        secrets: &Secrets,
        vault: &Vault,
    ) -> Result<Self, VaultError> {
        let sealed = |(secret, until): &(_, Timestamp)| {
            Ok(Previous { secret: vault.seal(name, secret)?, until_us: until.0 })
        };
        let previous = secrets.previous.iter().map(sealed).collect::<Result<_, VaultError>>()?;
        Ok(Self { config, secret: vault.seal(name, &secrets.current)?, previous, gone: None })
    }

    /// The same, disabled for that reason, or not.
    pub(super) fn with_gone(self, gone: Option<String>) -> Self {
        Self { gone, ..self }
    }

    /// The secrets in it.
    pub(super) fn unseal(&self, name: &str, vault: &Vault) -> Result<Secrets, VaultError> {
        let unsealed = |previous: &Previous| {
            Ok((vault.unseal(name, &previous.secret)?, Timestamp(previous.until_us)))
        };
        let previous = self.previous.iter().map(unsealed).collect::<Result<_, VaultError>>()?;
        Ok(Secrets { current: vault.unseal(name, &self.secret)?, previous })
    }

    /// Until when secrets before this one are used too.
    pub(super) fn previous_until(&self) -> Option<Timestamp> {
        self.previous.iter().map(|previous| Timestamp(previous.until_us)).max()
    }
}
