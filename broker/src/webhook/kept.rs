//! What is kept of a webhook: one document, its secrets sealed.

use embermq_storage::Timestamp;
use serde::{Deserialize, Serialize};

use super::running::Secrets;
use super::settings::WebhookConfig;
use super::vault::{Vault, VaultError};

/// A webhook in the register.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) config: WebhookConfig,
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
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

impl Kept {
    /// To be kept.
    pub(super) fn seal(
        name: &str,
        config: WebhookConfig,
        secrets: &Secrets,
        vault: &Vault,
    ) -> Result<Self, VaultError> {
        let previous = match &secrets.previous {
            None => None,
            Some((secret, until)) => {
                Some(Previous { secret: vault.seal(name, secret)?, until_us: until.0 })
            }
        };
        Ok(Self { config, secret: vault.seal(name, &secrets.current)?, previous, gone: None })
    }

    /// The same, disabled for that reason, or not.
    pub(super) fn with_gone(self, gone: Option<String>) -> Self {
        Self { gone, ..self }
    }

    /// The secrets in it.
    pub(super) fn unseal(&self, name: &str, vault: &Vault) -> Result<Secrets, VaultError> {
        let previous = match &self.previous {
            None => None,
            Some(previous) => {
                Some((vault.unseal(name, &previous.secret)?, Timestamp(previous.until_us)))
            }
        };
        Ok(Secrets { current: vault.unseal(name, &self.secret)?, previous })
    }

    /// Until when the secret before is used too.
    pub(super) fn previous_until(&self) -> Option<Timestamp> {
        self.previous.as_ref().map(|previous| Timestamp(previous.until_us))
    }
}
