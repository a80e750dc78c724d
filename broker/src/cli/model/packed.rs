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
    skipped: Vec<PathBuf>,
}

impl Packed {
    /// Packs a folder; a file is taken as it is.
    pub(super) fn of(path: &Path) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::unavailable(format!("{}: {error}", path.display()));
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Ok(Self { path: path.to_owned(), temporary: false, skipped: Vec::new() });
        }
        if !path.join("model.toml").is_file() && !path.join("model.onnx").is_file() {
            return Err(Failure::usage(format!(
                "{} has neither a model.toml nor a model.onnx: it is no model; docs/models.md says what makes one",
                path.display()
            )));
        }
        let name = format!("embermq-{:016x}.tar", OsEntropy.next_u64());
        let Found { files, skipped, .. } = found(path)?;
        let packed = Self { path: std::env::temp_dir().join(name), temporary: true, skipped };
        pack(path, &files, &packed.path).map_err(failed)?;
        Ok(packed)
    }

    /// What was left out of the folder: names that begin with a dot are those of tools.
    pub(super) fn skipped(&self) -> &[PathBuf] {
        &self.skipped
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

/// What a folder has.
#[derive(Debug, Default)]
struct Found {
    files: Vec<PathBuf>,
    links: Vec<PathBuf>,
    skipped: Vec<PathBuf>,
}

/// The plain files of a folder, by name. A broker reads nothing behind a link, and would say of its file that it is missing.
fn found(folder: &Path) -> Result<Found, Failure> {
    let mut found = Found::default();
    list(folder, Path::new(""), DEPTH_MAX, &mut found)
        .map_err(|error| Failure::unavailable(format!("{}: {error}", folder.display())))?;
    for names in [&mut found.files, &mut found.links, &mut found.skipped] {
        names.sort();
    }
    if let Some(link) = found.links.first() {
        return Err(Failure::usage(format!(
            "{} is a link, and no file behind one is read; put the file itself there",
            folder.join(link).display()
        )));
    }
    Ok(found)
}

fn pack(folder: &Path, names: &[PathBuf], to: &Path) -> io::Result<()> {
    let mut archive = tar::Builder::new(File::create_new(to)?);
    for name in names {
        let mut file = File::open(folder.join(name))?;
        let mut header = tar::Header::new_ustar();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &mut file)?;
    }
    archive.into_inner()?.sync_all()
}

fn list(folder: &Path, at: &Path, depth: usize, found: &mut Found) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other(format!("folders lie more than {DEPTH_MAX} deep")));
    }
    for entry in fs::read_dir(folder.join(at))? {
        let entry = entry?;
        let (name, kind) = (at.join(entry.file_name()), entry.file_type()?);
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.skipped.push(name);
        } else if kind.is_dir() {
            list(folder, &name, depth - 1, found)?;
        } else if kind.is_symlink() {
            found.links.push(name);
        } else if kind.is_file() {
            found.files.push(name);
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
        fs::create_dir(folder.join(".git")).unwrap();
        fs::write(folder.join(".git/config"), "").unwrap();
        let (one, two) = (Packed::of(folder).unwrap(), Packed::of(folder).unwrap());
        assert_eq!(one.digest().unwrap(), two.digest().unwrap());
        let mut archive = tar::Archive::new(File::open(one.path()).unwrap());
        let names: Vec<PathBuf> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [Path::new("golden/in.json"), Path::new("model.toml")]);
        assert_eq!(one.skipped(), [Path::new(".git")]);
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
    }

    #[test]
    fn a_link_in_a_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("model.toml"), "name = \"m\"").unwrap();
        std::os::unix::fs::symlink("../weights.onnx", dir.path().join("model.onnx")).unwrap();
        let error = format!("{:?}", Packed::of(dir.path()).unwrap_err());
        assert!(error.contains("/model.onnx is a link"), "{error}");
    }

    #[test]
    fn a_folder_without_a_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Packed::of(dir.path()).is_err());
        assert!(Packed::of(&dir.path().join("nothing")).is_err());
    }
}
