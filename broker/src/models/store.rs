//! The files of models, by digest: `models/<sha256>/` in the data folder.
//!
//! A folder is written under another name, with the [`sums`] of its files, synced and renamed, so one that has its name is whole. Folders that no version names
//! (the process ended before the event, or after the one that ended it) are removed at the next start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::name::Digest;
use super::sums::{self, Stamp};

/// Where models lie.
#[derive(Clone, Debug)]
pub(super) struct Store {
    dir: PathBuf,
    damaged: Arc<Mutex<BTreeMap<PathBuf, Damage>>>,
}

/// What was wrong with a folder when its files were read last. Whoever asks again while they are the same files gets the same answer: a
/// stage whose model is damaged asks every few seconds. What was right is read each time: a disk that rots says nothing of it.
#[derive(Debug)]
struct Damage {
    stamps: Vec<Stamp>,
    told: Vec<String>,
}

/// A folder that is being filled. Dropped without being kept, it is removed.
#[derive(Debug)]
pub(super) struct Draft {
    dir: PathBuf,
    kept: bool,
}

const DRAFT_PREFIX: &str = ".draft-";

/// For the owner of the data folder alone, with all that is in it; also one that was made before this was so.
fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match fs::set_permissions(dir, fs::Permissions::from_mode(0o700)) {
        // It is another user's, who lets this one in: that is for them to say.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        set => set,
    }
}

impl Store {
    /// Opens the folder, and removes what was left unfinished.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let dir = data.join("models");
        make_private(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT_PREFIX) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        sync_dir(data)?;
        Ok(Self { dir, damaged: Arc::default() })
    }

    /// The folder of a digest, whether it is there or not.
    pub(super) fn folder(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.as_str())
    }

    /// A folder to be filled. `name` makes it distinct.
    pub(super) fn draft(&self, name: u64) -> io::Result<Draft> {
        let dir = self.dir.join(format!("{DRAFT_PREFIX}{name:016x}"));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(Draft { dir, kept: false })
    }

    /// Gives a draft its name. When there is a folder of that name already, that one stays, unless its files are not what was written.
    pub(super) fn keep(&self, mut draft: Draft, digest: &Digest) -> io::Result<PathBuf> {
        let folder = self.folder(digest);
        let there = folder.is_dir();
        if there && sums::check(&folder)?.differing.is_empty() {
            return Ok(folder);
        }
        // All that may fail for want of space is done before what is there is touched.
        sums::write(&draft.dir)?;
        sync_tree(&draft.dir)?;
        let mut damaged = None;
        if there {
            let aside = Draft { dir: draft.dir.with_extension("damaged"), kept: false };
            fs::rename(&folder, &aside.dir)?;
            damaged = Some(aside);
        }
        fs::rename(&draft.dir, &folder)?;
        draft.kept = true;
        sync_dir(&self.dir)?;
        if damaged.is_some() {
            tracing::warn!(%digest, "the files of a model were damaged, and were replaced by those that were sent");
        }
        Ok(folder)
    }

    /// What is wrong with the files of a digest, if they are not what was written.
    pub(super) fn damage(&self, folder: &Path) -> Vec<String> {
        let stamps = sums::stamps(folder).unwrap_or_default();
        let known = self.damaged.lock().remove(folder);
        let (told, lasting) = match known {
            Some(known) if known.stamps == stamps => (known.told, true),
            _ => Self::found_damage(folder),
        };
        if lasting && !told.is_empty() && !stamps.is_empty() {
            let damage = Damage { stamps, told: told.clone() };
            self.damaged.lock().insert(folder.to_owned(), damage);
        }
        told
    }

    /// What is wrong, and whether it stays so while the files are as they are.
    fn found_damage(folder: &Path) -> (Vec<String>, bool) {
        let gone = folder.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if gone {
            let what = "the folder of its files is missing in the data folder; register the version again with the same files to replace it";
            return (vec![what.to_owned()], false);
        }
        let checked = match sums::check(folder) {
            Ok(checked) => checked,
            Err(error) => return (vec![format!("its files cannot be read: {error}")], false),
        };
        let told = |differs: &sums::Differs| {
            let (file, what) = (differs.file.display(), &differs.what);
            if !differs.lasting {
                return format!("{file}: {what}");
            }
            format!(
                "{file} is damaged: {what}; register the version again with the same files to replace it"
            )
        };
        let lasting = checked.differing.iter().all(|differs| differs.lasting);
        (checked.differing.iter().map(told).collect(), lasting)
    }

    /// Removes the folder of a digest; one that is not there is no error.
    pub(super) fn remove(&self, digest: &Digest) -> io::Result<()> {
        match fs::remove_dir_all(self.folder(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes folders that `wanted` does not want.
    pub(super) fn retain(&self, wanted: impl Fn(&Digest) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Ok(digest) = name.parse::<Digest>()
                && !wanted(&digest)
            {
                self.remove(&digest)?;
            }
        }
        Ok(())
    }
}

impl Draft {
    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(%error, dir = %self.dir.display(), "an unfinished model folder could not be removed; the next start removes it");
        }
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_looked_for_again_when_a_file_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let draft = store.draft(1).unwrap();
        fs::write(draft.dir().join("model.onnx"), "whole").unwrap();
        let digest: Digest = "ab".repeat(32).parse().unwrap();
        let folder = store.keep(draft, &digest).unwrap();
        let model = folder.join("model.onnx");
        assert!(store.damage(&folder).is_empty());

        // What was right is read each time, whatever the file says of itself.
        let written = fs::metadata(&model).unwrap().modified().unwrap();
        let rewrite = |content: &str| {
            fs::write(&model, content).unwrap();
            File::options().write(true).open(&model).unwrap().set_modified(written).unwrap();
        };
        rewrite("whale");
        let told = store.damage(&folder);
        assert!(told.len() == 1 && told[0].contains("model.onnx is damaged"), "{told:?}");

        // What was wrong is not, as long as it says the same.
        rewrite("whole");
        assert_eq!(store.damage(&folder), told);
        rewrite("whole and more");
        assert_ne!(store.damage(&folder), told);
        rewrite("whole");
        assert!(store.damage(&folder).is_empty());

        fs::remove_dir_all(&folder).unwrap();
        let told = store.damage(&folder);
        assert!(told.len() == 1 && told[0].contains("register the version again"), "{told:?}");
    }
}
