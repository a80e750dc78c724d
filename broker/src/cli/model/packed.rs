//! A model on its way to a broker: the file as it is, or a folder as a tar archive that lasts as long as it is needed.
//!
//! The archive is the same whenever the files are, so that pushing a folder twice registers nothing twice.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use embermq_storage::Entropy as _;
use embermq_storage::entropy::OsEntropy;
use sha2::{Digest as _, Sha256};

use crate::cli::Failure;

/// Deeper folders are no bundle.
const DEPTH_MAX: usize = 8;

/// What is sent.
#[derive(Debug)]
pub(super) struct Packed {
    path: PathBuf,
    temporary: bool,
}

impl Packed {
    /// Packs a folder; a file is taken as it is.
    pub(super) fn of(path: &Path) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::unavailable(format!("{}: {error}", path.display()));
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Ok(Self { path: path.to_owned(), temporary: false });
        }
        if !path.join("model.toml").is_file() && !path.join("model.onnx").is_file() {
            return Err(Failure::usage(format!(
                "{} has neither a model.toml nor a model.onnx: it is no model; docs/models.md says what makes one",
                path.display()
            )));
        }
        let name = format!("embermq-{:016x}.tar", OsEntropy.next_u64());
        let packed = Self { path: std::env::temp_dir().join(name), temporary: true };
        pack(path, &packed.path).map_err(failed)?;
        Ok(packed)
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 in hexadecimal.
    pub(super) fn digest(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        if self.temporary {
            // It lies in the folder for such files: the system tidies up there.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn pack(folder: &Path, to: &Path) -> io::Result<()> {
    let mut names = Vec::new();
    list(folder, Path::new(""), DEPTH_MAX, &mut names)?;
    names.sort();
    let mut archive = tar::Builder::new(File::create_new(to)?);
    for name in names {
        let mut file = File::open(folder.join(&name))?;
        let mut header = tar::Header::new_ustar();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        archive.append_data(&mut header, &name, &mut file)?;
    }
    archive.into_inner()?.sync_all()
}

/// The plain files of a folder. Links are left out: a broker reads nothing behind one.
fn list(folder: &Path, at: &Path, depth: usize, names: &mut Vec<PathBuf>) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other(format!("folders lie more than {DEPTH_MAX} deep")));
    }
    for entry in fs::read_dir(folder.join(at))? {
        let entry = entry?;
        let (name, kind) = (at.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            list(folder, &name, depth - 1, names)?;
        } else if kind.is_file() {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_same_archive_each_time_and_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::write(folder.join("model.toml"), "name = \"m\"").unwrap();
        fs::create_dir(folder.join("golden")).unwrap();
        fs::write(folder.join("golden/in.json"), "[1]").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
        let (one, two) = (Packed::of(folder).unwrap(), Packed::of(folder).unwrap());
        assert_eq!(one.digest().unwrap(), two.digest().unwrap());
        let mut archive = tar::Archive::new(File::open(one.path()).unwrap());
        let names: Vec<PathBuf> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [Path::new("golden/in.json"), Path::new("model.toml")]);
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_without_a_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Packed::of(dir.path()).is_err());
        assert!(Packed::of(&dir.path().join("nothing")).is_err());
    }
}
