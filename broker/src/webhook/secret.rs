//! The secret that a webhook signs with. It prints nothing of itself: only [`reveal`](Secret::reveal) gives it away.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Deserializer};

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";
/// What the Standard Webhooks allow.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;
/// What is made here.
const BYTES: usize = 32;

/// A secret of the Standard Webhooks: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a text is no secret. It does not say what the text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret is none: it is whsec_ and {BYTES_MIN} to {BYTES_MAX} bytes in base64; without one, one is made"
)]
pub struct SecretInvalid;

impl FromStr for Secret {
    type Err = SecretInvalid;

    fn from_str(text: &str) -> Result<Self, SecretInvalid> {
        let bytes = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        bytes.and_then(Self::of_bytes).ok_or(SecretInvalid)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Secret {
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Option<Self> {
        (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn generate() -> Result<Self, String> {
        let mut bytes = [0; BYTES];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| "the system gives no random numbers for a secret".to_owned())?;
        Ok(Self(bytes.into()))
    }

    /// The text that a receiver needs.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The signature of a message: `v1,` and HMAC-SHA256 over `id.timestamp.body` in base64.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks' own libraries.
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = secret.sign(id, "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_shows_itself_only_when_asked() {
        let secret = Secret::generate().unwrap();
        assert_eq!(secret.reveal().parse(), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_ne!(Secret::generate().unwrap(), secret);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_repeated() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for text in ["", "whsec_", "hunter2", "whsec_????", &short, &long] {
            let error = text.parse::<Secret>().unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text) || text == "whsec_", "{error}");
        }
    }
}
