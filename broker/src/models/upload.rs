//! From what was sent to a folder: an ONNX file alone, or a tar archive of a bundle.
//!
//! An archive may hold plain files and folders, nothing else, with plain names; what is unpacked is bounded. The digest is that of the
//! file as it was sent.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::error::ModelError;
use super::name::Digest;
use super::sums;

/// Bytes that an archive may have when it is unpacked.
const UNPACKED_BYTES_MAX: u64 = 16 << 30;
/// Files of an archive.
const FILES_MAX: usize = 10_000;
/// Bytes between the contents of two files: headers, and the extensions with long names, which are read into memory whole.
const HEADER_BYTES_MAX: u64 = 64 << 10;
/// Where the mark of a POSIX archive stands, and what it is.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");
/// What compressed files begin with, and the name of the form.
const COMPRESSED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
];

/// Writes what was sent into `dir`; its digest and size.
pub(super) fn unpack(sent: &Path, dir: &Path) -> Result<(Digest, u64), ModelError> {
    let storage = |error: io::Error| ModelError::Storage { what: error.to_string() };
    let mut file = File::open(sent).map_err(storage)?;
    let (mut hash, mut bytes, mut head) = (Sha256::new(), 0_u64, Vec::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(storage)?;
        if read == 0 {
            break;
        }
        if head.len() < 512 {
            head.extend_from_slice(&buffer[..read.min(512)]);
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    if bytes == 0 {
        let what =
            "the body is empty: send an ONNX file, or a tar archive with model.onnx and model.toml";
        return Err(ModelError::Upload { what: what.to_owned() });
    }
    let digest = Digest::of_bytes(&hash.finalize().into());
    if let Some((_, form)) = COMPRESSED.iter().find(|(magic, _)| head.starts_with(magic)) {
        let what =
            format!("the body is a {form} file: send the ONNX file, or the tar archive, as it is");
        return Err(ModelError::Upload { what });
    }
    let (at, magic) = TAR_MAGIC;
    if head.get(at..at + magic.len()) == Some(magic) {
        unpack_archive(sent, dir)?;
    } else {
        fs::copy(sent, dir.join("model.onnx")).map_err(storage)?;
    }
    Ok((digest, bytes))
}

/// An archive's file; `left` is what may still be read of it, `ended` whether there was nothing more.
struct Metered<'a> {
    file: File,
    left: &'a Cell<u64>,
    ended: &'a Cell<bool>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other(format!(
                "a file's headers and extensions have more than {HEADER_BYTES_MAX} bytes; give files shorter names, and leave extended attributes out"
            )));
        }
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..wanted])?;
        self.left.set(left - read as u64);
        self.ended.set(read == 0);
        Ok(read)
    }
}

fn unpack_archive(sent: &Path, dir: &Path) -> Result<(), ModelError> {
    let upload = |what: String| ModelError::Upload { what };
    let broken = |error: io::Error| upload(format!("the tar archive cannot be read: {error}"));
    let (left, ended) = (Cell::new(HEADER_BYTES_MAX), Cell::new(false));
    let file = File::open(sent).map_err(broken)?;
    let mut archive = tar::Archive::new(Metered { file, left: &left, ended: &ended });
    let (mut files, mut bytes) = (0, 0_u64);
    let mut entries = archive.entries().map_err(broken)?;
    loop {
        left.set(HEADER_BYTES_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(broken)?;
        left.set(u64::MAX);
        let path = entry.path().map_err(broken)?.into_owned();
        let kind = entry.header().entry_type();
        let place = plain(&path).ok_or_else(|| {
            upload(format!("{} in the archive leads outside of it", path.display()))
        })?;
        if kind.is_dir() || place.as_os_str().is_empty() {
            continue;
        }
        if !kind.is_file() {
            return Err(upload(format!("{} in the archive is no plain file", path.display())));
        }
        files += 1;
        bytes = bytes.saturating_add(entry.header().size().map_err(broken)?);
        if files > FILES_MAX || bytes > UNPACKED_BYTES_MAX {
            return Err(upload(format!(
                "the archive has more than {FILES_MAX} files or {UNPACKED_BYTES_MAX} bytes"
            )));
        }
        let target = dir.join(&place);
        let storage = |error: io::Error| match error.kind() {
            // The archive's names are to blame, and would be again.
            io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists => {
                upload(format!("{} in the archive cannot be a file: {error}", path.display()))
            }
            _ => ModelError::Storage { what: error.to_string() },
        };
        if place.iter().any(|part| part == sums::NAME) || !has_plain_name(&place) {
            return Err(upload(format!(
                "{:?} in the archive is no name for a file of a model: it must be UTF-8 without line breaks, and not {}",
                path.display().to_string(),
                sums::NAME
            )));
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(storage)?;
        }
        let mut out = File::create_new(&target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                upload(format!("{} is in the archive twice", path.display()))
            }
            _ => storage(error),
        })?;
        let mut limited = (&mut entry).take(UNPACKED_BYTES_MAX);
        io::copy(&mut limited, &mut out).map_err(broken)?;
        out.flush().map_err(storage)?;
    }
    // Blocks of zeros end an archive. One that ends without may have ended behind any of its files.
    if ended.get() {
        let what = "the tar archive is cut off: it ends behind a file, without the block of zeros that ends an archive; send all of it";
        return Err(upload(what.to_owned()));
    }
    raise_single_folder(dir).map_err(|error| ModelError::Storage { what: error.to_string() })?;
    if !["model.toml", "model.onnx"].iter().any(|name| dir.join(name).is_file()) {
        let what = "the archive has neither a model.toml nor a model.onnx, at its top or in its only folder";
        return Err(upload(what.to_owned()));
    }
    Ok(())
}

/// The same path, if each part of it is a plain name.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut place = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => place.push(name),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

/// Whether the list of a model's files can name it.
fn has_plain_name(place: &Path) -> bool {
    place.to_str().is_some_and(|name| !name.contains(['\n', '\r']))
}

/// `tar cf model.tar folder` puts everything below one folder: what is in it is meant.
fn raise_single_folder(dir: &Path) -> io::Result<()> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let [only] = entries.as_slice() else { return Ok(()) };
    if !only.file_type()?.is_dir() {
        return Ok(());
    }
    let inner = dir.join(".inner");
    fs::rename(only.path(), &inner)?;
    for entry in fs::read_dir(&inner)? {
        let entry = entry?;
        fs::rename(entry.path(), dir.join(entry.file_name()))?;
    }
    fs::remove_dir(&inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            // `set_path` refuses what this is to test.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(sent: &[u8]) -> (tempfile::TempDir, Result<(Digest, u64), ModelError>) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sent"), sent).unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let result = unpack(&dir.path().join("sent"), &dir.path().join("out"));
        (dir, result)
    }

    #[test]
    fn a_bare_file_is_the_model() {
        let (dir, result) = unpacked(b"onnx");
        let (digest, bytes) = result.unwrap();
        assert_eq!(bytes, 4);
        assert!(digest.as_str().len() == 64);
        assert_eq!(fs::read(dir.path().join("out/model.onnx")).unwrap(), b"onnx");
        assert!(unpacked(b"").1.is_err());
    }

    #[test]
    fn an_archive_is_unpacked_with_or_without_a_folder_around_it() {
        for prefix in ["", "bundle/"] {
            let [model, labels] =
                ["model.onnx", "labels.txt"].map(|name| format!("{prefix}{name}"));
            let (dir, result) = unpacked(&archive(&[(&model, b"onnx"), (&labels, b"cat")]));
            result.unwrap();
            assert_eq!(fs::read(dir.path().join("out/labels.txt")).unwrap(), b"cat");
        }
    }

    #[test]
    fn what_is_no_model_is_told_apart() {
        let told = |sent: &[u8]| unpacked(sent).1.unwrap_err().to_string();
        assert!(told(b"\x1f\x8b\x08rest").contains("gzip"));
        let twice = archive(&[("model.onnx", b"x"), ("model.onnx", b"y")]);
        assert_eq!(told(&twice), "model.onnx is in the archive twice");
        let other = archive(&[("weights.bin", b"x"), ("labels.txt", b"y")]);
        assert!(told(&other).contains("neither a model.toml nor a model.onnx"));
    }

    #[test]
    fn an_archive_that_was_cut_off_behind_a_file_is_no_other_model() {
        let whole = archive(&[("model.onnx", b"onnx"), ("model.toml", b"")]);
        let ends = whole.len() - 1_024;
        assert!(whole[ends..].iter().all(|byte| *byte == 0));
        unpacked(&whole).1.unwrap();
        // Some writers end with one block.
        unpacked(&whole[..ends + 512]).1.unwrap();
        for cut in [1_024, ends] {
            let error = unpacked(&whole[..cut]).1.unwrap_err();
            assert!(matches!(error, ModelError::Upload { .. }), "{cut}: {error}");
            assert!(error.to_string().contains("cut off"), "{cut}: {error}");
        }
    }

    /// An archive with a file behind an extension of this type.
    fn extended(kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_path("model.onnx").unwrap();
        header.set_size(4);
        header.set_cksum();
        builder.append(&header, &b"onnx"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn what_goes_before_a_file_is_bounded() {
        use tar::EntryType::{GNULongLink, GNULongName, XHeader};
        for kind in [GNULongName, GNULongLink, XHeader] {
            let (_dir, result) = unpacked(&extended(kind, &vec![b'x'; 70 << 10]));
            let error = result.unwrap_err().to_string();
            let told = "a file's headers and extensions have more than 65536 bytes";
            assert!(error.contains(told), "{kind:?}: {error}");
        }
        let (dir, result) = unpacked(&extended(GNULongName, b"weights/model.onnx"));
        result.unwrap();
        // The only folder was raised.
        assert!(dir.path().join("out/model.onnx").is_file());
        // Many files may have many long names together, and contents are no headers.
        let content = vec![b'x'; 70 << 10];
        let long = "n".repeat(200);
        let names: Vec<String> =
            (0..100).map(|number| format!("{number}/{long}/{long}/{long}/{long}")).collect();
        let mut builder = tar::Builder::new(Vec::new());
        for name in names.iter().map(String::as_str).chain(["model.onnx"]) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, &content[..]).unwrap();
        }
        unpacked(&builder.into_inner().unwrap()).1.unwrap();
    }

    #[test]
    fn names_that_cannot_be_files_are_the_archives_fault() {
        let of = |names: &[&str]| {
            archive(&names.iter().map(|name| (*name, &b"x"[..])).collect::<Vec<_>>())
        };
        let mut long = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        long.append_data(&mut header, "n".repeat(256), &b"x"[..]).unwrap();
        let long = long.into_inner().unwrap();
        for sent in [long, of(&["a\nb"]), of(&[".sha256sums"]), of(&["x", "x/y"])] {
            let error = unpacked(&sent).1.unwrap_err();
            assert!(matches!(error, ModelError::Upload { .. }), "{error}");
        }
    }

    #[test]
    fn nothing_leaves_the_folder() {
        for name in ["../evil", "/evil", "a/../../evil"] {
            let (dir, result) = unpacked(&archive(&[(name, b"x")]));
            let error = result.unwrap_err().to_string();
            assert!(error.contains("leads outside"), "{error}");
            assert!(!dir.path().join("evil").exists());
        }
    }
}
