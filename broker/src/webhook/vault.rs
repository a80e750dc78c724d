//! How secrets are kept: sealed, so that whoever may read the topic of webhooks cannot sign in their name.
//!
//! The key is in the file [`FILE`] of the data folder, readable by its owner alone, and is made when it is first needed. A secret is
//! sealed for the webhook whose name it was sealed with, and opens for no other. Without the key the secrets are lost, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use super::secret::Secret;

/// In the data folder.
const FILE: &str = "webhooks.key";
/// What a key ends with that is being written.
const DRAFT: &str = "key.new";

/// What seals and opens.
#[derive(Debug)]
pub(super) struct Vault {
    path: PathBuf,
    key: Mutex<Option<LessSafeKey>>,
}

/// Why a secret was not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    #[error("the key of the webhooks' secrets cannot be kept in {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "its secret cannot be read: {} is missing or is another one; put it back, or PUT the webhook with a new secret", path.display()
    )]
    Locked { path: PathBuf },
}

impl Vault {
    /// The vault of a data folder.
    pub(super) fn open(data: &Path) -> Result<Self, VaultError> {
        let path = data.join(FILE);
        let key = match std::fs::read(&path) {
            Ok(bytes) => key_of(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(VaultError::Io { path, source }),
        };
        Ok(Self { path, key: Mutex::new(key) })
    }

    /// As it is kept.
    pub(super) fn seal(&self, webhook: &str, secret: &Secret) -> Result<String, VaultError> {
        let mut key = self.key.lock();
        let key = match &mut *key {
            Some(key) => key,
            none => none.insert(self.make_key()?),
        };
        let mut nonce = [0; NONCE_LEN];
        self.fill(&mut nonce)?;
        let mut sealed = secret.bytes().to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce_used, Aad::from(webhook), &mut sealed)
            .map_err(|_| VaultError::Locked { path: self.path.clone() })?;
        Ok(STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// The secret again.
    pub(super) fn unseal(&self, webhook: &str, sealed: &str) -> Result<Secret, VaultError> {
        let opened = || {
            let bytes = STANDARD.decode(sealed).ok()?;
            let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let (key, mut sealed) = (self.key.lock(), sealed.to_vec());
            let opened =
                key.as_ref()?.open_in_place(nonce, Aad::from(webhook), &mut sealed).ok()?;
            Secret::of_bytes(opened.to_vec())
        };
        opened().ok_or_else(|| VaultError::Locked { path: self.path.clone() })
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), VaultError> {
        let source = || io::Error::other("the system gives no random numbers");
        let filled = SystemRandom::new().fill(bytes);
        filled.map_err(|_| VaultError::Io { path: self.path.clone(), source: source() })
    }

    /// Never in place of one that is there: what was sealed with that one would be lost.
    fn make_key(&self) -> Result<LessSafeKey, VaultError> {
        let io = |source| VaultError::Io { path: self.path.clone(), source };
        let mut bytes = [0; 32];
        self.fill(&mut bytes)?;
        let key = key_of(&bytes).ok_or_else(|| VaultError::Locked { path: self.path.clone() })?;
        self.keep(&bytes).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => VaultError::Locked { path: self.path.clone() },
            _ => io(error),
        })?;
        Ok(key)
    }

    /// As a whole or not at all: it gets its name when it is on the disk. The folder is locked, so that nobody else makes one meanwhile.
    fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        if self.path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let draft = self.path.with_extension(DRAFT);
        // A crash may have left one.
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn key_of(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, bytes).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_webhook_alone_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::generate().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let sealed = vault.seal("ship", &secret).unwrap();
        assert_ne!(vault.seal("ship", &secret).unwrap(), sealed, "a nonce was used twice");
        let vault = Vault::open(dir.path()).unwrap();
        assert_eq!(vault.unseal("ship", &sealed).unwrap(), secret);
        assert!(vault.unseal("other", &sealed).is_err());
        assert!(vault.unseal("ship", "").is_err());
        let mode = dir.path().join(FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn without_the_key_nothing_opens_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::generate().unwrap();
        let sealed = Vault::open(dir.path()).unwrap().seal("ship", &secret).unwrap();
        std::fs::write(dir.path().join(FILE), "short").unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let error = vault.unseal("ship", &sealed).unwrap_err().to_string();
        assert!(error.contains("webhooks.key is missing or is another one"), "{error}");
        assert!(vault.seal("ship", &secret).is_err());
        assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), b"short");
    }

    #[test]
    fn a_key_that_could_not_be_written_is_made_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::generate().unwrap();
        let draft = dir.path().join("webhooks.key.new");
        // Nothing can be written where a folder is.
        std::fs::create_dir(&draft).unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        assert!(matches!(vault.seal("ship", &secret), Err(VaultError::Io { .. })));
        assert!(!dir.path().join(FILE).exists(), "there is no key or a whole one");
        std::fs::remove_dir(&draft).unwrap();
        // As a crash leaves it.
        std::fs::write(&draft, "sho").unwrap();
        let sealed = vault.seal("ship", &secret).unwrap();
        assert!(!draft.exists());
        assert_eq!(Vault::open(dir.path()).unwrap().unseal("ship", &sealed).unwrap(), secret);
    }
}
