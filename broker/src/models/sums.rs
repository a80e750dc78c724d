//! Checksums of a model's files, beside them, so that what the disk made of them is never taken for a model.
//!
//! `.sha256sums` has a line per file as `sha256sum` writes them, `<64 hexadecimal digits>  <path>`, in the order of their paths; `sha256sum -c
//! .sha256sums` in the folder checks it too. It is written before the folder gets its name. A folder without it comes from before it
//! existed, and is not checked.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::name::Digest;

pub(super) const NAME: &str = ".sha256sums";

/// What differs from what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Differs {
    /// Below the folder.
    pub(crate) file: PathBuf,
    /// What is wrong with it.
    pub(crate) what: String,
    /// Whether that is so as long as the file is not changed. What could not be read may be readable later.
    pub(crate) lasting: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) files: u64,
    pub(crate) differing: Vec<Differs>,
}

/// Writes the sums of all files in `dir`.
pub(super) fn write(dir: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    collect(dir, Path::new(""), &mut files)?;
    files.sort_unstable();
    let mut text = String::new();
    for file in files.iter().filter(|file| file.as_os_str() != NAME) {
        let Some(path) = file.to_str().filter(|path| !path.contains('\n')) else {
            let what = format!("{} is no name that a list of files can have", file.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        let _infallible = writeln!(text, "{}  {path}", sum_of(&dir.join(file))?);
    }
    fs::write(dir.join(NAME), text)
}

/// Reads all files in `dir` and compares their sums.
pub(crate) fn check(dir: &Path) -> io::Result<Checked> {
    let text = match fs::read_to_string(dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Checked::default()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => "?".to_owned(),
        read => read?,
    };
    let mut checked = Checked::default();
    if text.is_empty() {
        let what = "it is empty, and there is no model without a file".to_owned();
        checked.differing.push(Differs { file: NAME.into(), what, lasting: true });
    }
    for line in text.lines() {
        checked.files += 1;
        let parts = line.split_once("  ").map(|(sum, path)| (sum.parse::<Digest>(), path));
        let Some((Ok(sum), path)) = parts else {
            let what = format!("line {} is no checksum", checked.files);
            checked.differing.push(Differs { file: NAME.into(), what, lasting: true });
            continue;
        };
        let (what, lasting) = match sum_of(&dir.join(path)) {
            Ok(found) if found == sum => continue,
            Ok(found) => (format!("it has the SHA-256 {found}, it was written with {sum}"), true),
            Err(error) => {
                let gone = error.kind() == io::ErrorKind::NotFound;
                (format!("it cannot be read: {error}"), gone)
            }
        };
        checked.differing.push(Differs { file: path.into(), what, lasting });
    }
    Ok(checked)
}

/// What a file says of itself without being read: its name, size and time of change, and which file it is.
pub(super) type Stamp = (PathBuf, u64, SystemTime, u64);

/// The stamps of all files in `dir`.
pub(super) fn stamps(dir: &Path) -> io::Result<Vec<Stamp>> {
    let mut files = Vec::new();
    collect(dir, Path::new(""), &mut files)?;
    files.sort_unstable();
    let stamp = |file: PathBuf| {
        let about = fs::metadata(dir.join(&file))?;
        Ok((file, about.len(), about.modified()?, about.ino()))
    };
    files.into_iter().map(stamp).collect()
}

fn collect(dir: &Path, below: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(dir, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn sum_of(file: &Path) -> io::Result<Digest> {
    let mut from = BufReader::with_capacity(256 << 10, File::open(file)?);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(Digest::of_bytes(&hash.finalize().into()));
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("part")).unwrap();
        fs::write(dir.path().join("model.onnx"), [7; 3000]).unwrap();
        fs::write(dir.path().join("part/weights"), [9; 10]).unwrap();
        dir
    }

    #[test]
    fn a_folder_is_as_it_was_written_until_a_bit_flips() {
        let dir = folder();
        assert_eq!(check(dir.path()).unwrap(), Checked::default());
        write(dir.path()).unwrap();
        assert_eq!(check(dir.path()).unwrap(), Checked { files: 2, differing: Vec::new() });
        // What was left of an earlier list is no file of the model.
        write(dir.path()).unwrap();
        assert_eq!(check(dir.path()).unwrap().files, 2);

        let mut rotten = vec![7; 3000];
        rotten[1500] ^= 1;
        fs::write(dir.path().join("model.onnx"), rotten).unwrap();
        let checked = check(dir.path()).unwrap();
        let [differs] = &checked.differing[..] else { panic!("{checked:?}") };
        assert_eq!(differs.file, Path::new("model.onnx"));
        assert!(differs.what.contains("it was written with"), "{}", differs.what);
    }

    #[test]
    fn what_is_missing_and_a_list_that_rotted_are_told() {
        let dir = folder();
        write(dir.path()).unwrap();
        fs::remove_file(dir.path().join("part/weights")).unwrap();
        let checked = check(dir.path()).unwrap();
        assert!(checked.differing[0].what.contains("cannot be read"), "{checked:?}");
        assert!(checked.differing[0].lasting, "{checked:?}");
        // A folder can be opened, and not read: as with a file that may not be read now, nothing is wrong with what was written.
        fs::create_dir(dir.path().join("part/weights")).unwrap();
        assert!(!check(dir.path()).unwrap().differing[0].lasting);
        fs::remove_dir(dir.path().join("part/weights")).unwrap();
        let list = dir.path().join(NAME);
        let mut text = fs::read(&list).unwrap();
        text[3] = 0xff;
        fs::write(&list, text).unwrap();
        let checked = check(dir.path()).unwrap();
        assert_eq!(checked.differing[0].file, Path::new(NAME));
        fs::write(&list, "").unwrap();
        assert_eq!(check(dir.path()).unwrap().differing.len(), 1);
    }

    #[test]
    fn the_list_is_what_sha256sum_writes() {
        let dir = folder();
        write(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        let paths: Vec<_> = text.lines().map(|line| &line[64..]).collect();
        assert_eq!(paths, ["  model.onnx", "  part/weights"]);
    }
}
