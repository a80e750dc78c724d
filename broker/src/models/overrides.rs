//! What a stage wants otherwise than its model's manifest says: keys of `[pre]` and `[post]`, spelt as in a `model.toml`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Bytes of the digest that outputs carry: enough to tell what a stage has ever had.
const DIGEST_BYTES: usize = 8;

/// Keys that are to be others; `null` takes one away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Of `[pre]`.
    pub pre: Map<String, Value>,
    /// Of `[post]`.
    pub post: Map<String, Value>,
}

impl Overrides {
    /// Whether the model stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pre.is_empty() && self.post.is_empty()
    }

    /// What tells them from others, in hexadecimal; the order of keys does not matter. `None`: there are none.
    #[must_use]
    pub fn digest(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let text = json!({ "pre": self.pre, "post": self.post }).to_string();
        let mut hex = String::new();
        for byte in &Sha256::digest(text)[..DIGEST_BYTES] {
            let _infallible = write!(hex, "{byte:02x}");
        }
        Some(hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(pre: &str, post: &str) -> Overrides {
        let section = |text: &str| serde_json::from_str(text).unwrap();
        Overrides { pre: section(pre), post: section(post) }
    }

    #[test]
    fn overrides_are_told_apart_by_what_they_say() {
        let one = overrides("{}", r#"{"top_k": 1, "threshold": 0.5}"#);
        let digest = one.digest().unwrap();
        assert_eq!(digest.len(), 16);
        assert_eq!(overrides("{}", r#"{"threshold": 0.5, "top_k": 1}"#).digest().unwrap(), digest);
        assert_ne!(overrides("{}", r#"{"top_k": 1}"#).digest().unwrap(), digest);
        assert_ne!(overrides(r#"{"top_k": 1, "threshold": 0.5}"#, "{}").digest().unwrap(), digest);
        assert_eq!(Overrides::default().digest(), None);
    }
}
