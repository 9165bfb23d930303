//! Files in which the gateway keeps for its next start what it knows: read only if nobody else can have written them, and replaced as a
//! whole. None of this is for an asynchronous task, because each of it may wait for a disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The most bytes of a file: about three times what 50,000 instances of a catalog take.
const LARGEST: u64 = 64 << 20;

/// The beginning of a document, which all formats have.
#[derive(Deserialize)]
struct Beginning {
    format: u64,
}

/// A file that a process began and did not finish is removed after this time.
const LEFT: Duration = Duration::from_secs(600);

/// The directory that a file lies in.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What is wrong with the directory of a file, as a sentence for the operator: who can write there can put another file in its place, and
/// without us being among them it cannot be replaced.
pub fn objection(path: &Path) -> Option<String> {
    let directory = directory(path);
    let why = match fs::metadata(directory) {
        Err(error) => error.to_string(),
        Ok(meta) if !meta.is_dir() => "it is no directory".to_owned(),
        Ok(meta) if meta.mode() & 0o022 != 0 => "others than its owner can write there".to_owned(),
        Ok(_) => {
            let ours = rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK);
            format!("we cannot write there: {}", ours.err()?)
        }
    };
    Some(format!("{}, the directory of its file: {why}", directory.display()))
}

/// The content of a file; `None` where there is none.
///
/// # Errors
/// Why it must not be used, as the end of a sentence that names it.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let words = |error: io::Error| error.to_string();
    let seen = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        seen => seen.map_err(words)?,
    };
    // Another kind of file could keep whoever opens it waiting.
    if !seen.is_file() {
        return Err("it is not a regular file".into());
    }
    let file = File::open(path).map_err(words)?;
    let meta = file.metadata().map_err(words)?;
    if (meta.dev(), meta.ino()) != (seen.dev(), seen.ino()) {
        return Err("it was replaced while it was opened".into());
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to another user (id {})", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!("others than its owner can write it (mode {:o}): chmod 600", meta.mode() & 0o7777));
    }
    let mut body = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut body).map_err(words)?;
    match body.len() as u64 > LARGEST {
        true => Err(format!("it is larger than {} MiB", LARGEST >> 20)),
        false => Ok(Some(body)),
    }
}

/// The JSON document that a file has, if it is of the format that this version reads and writes.
///
/// # Errors
/// Why it cannot be understood, as the end of a sentence that names the file.
pub fn document<T: DeserializeOwned>(body: &[u8], format: u64) -> Result<T, String> {
    let broken = |error: serde_json::Error| format!("it is broken: {error}");
    let Beginning { format: found } = serde_json::from_slice(body).map_err(broken)?;
    if found != format {
        return Err(format!("its format is {found}, and this version reads {format}"));
    }
    serde_json::from_slice(body).map_err(broken)
}

/// Replaces a file: the new content is written beside it, to the disk, and then takes its place. Only its owner can read it (mode 0600).
///
/// # Errors
/// Why it cannot be written, as the end of a sentence that names it. The file is as it was.
pub fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    let beside = beside(path);
    tidy(path, &beside);
    let replace = || {
        let mut out = BufWriter::new(Limited { file: create(&beside)?, left: LARGEST });
        content(&mut out)?;
        out.flush()?;
        out.get_ref().file.sync_all()?;
        fs::rename(&beside, path)?;
        // The new name is on the disk when its directory is. Not every file system can do that.
        let _ = File::open(directory(path)).and_then(|directory| directory.sync_all());
        Ok(())
    };
    replace().map_err(|error: io::Error| {
        let _ = fs::remove_file(&beside);
        error.to_string()
    })
}

/// Finds out whether the file could be written now, and leaves nothing behind.
///
/// # Errors
/// Why it cannot, as the end of a sentence that names it.
pub fn try_write(path: &Path) -> Result<(), String> {
    let mut beside = beside(path);
    beside.as_mut_os_string().push(".try");
    let tried = create(&beside).and_then(|_| fs::remove_file(&beside)).map_err(|error| error.to_string());
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Err("it is a directory".into()),
        _ => tried,
    }
}

/// Creates a file that nobody else can read. One that is there already is never followed or reused.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Where this process writes what is to become the file. Each process has a place of its own: two run side by side during a restart.
fn beside(path: &Path) -> PathBuf {
    let mut name = beginning(path);
    name.push(std::process::id().to_string());
    path.with_file_name(name)
}

/// How the names of such places begin: `.catalog.json.new-`.
fn beginning(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new-");
    name
}

/// Removes what this process, or long ago another one, began and did not finish.
fn tidy(path: &Path, ours: &Path) {
    let _ = fs::remove_file(ours);
    let beginning = beginning(path);
    let left = |entry: &fs::DirEntry| {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let name = entry.file_name();
        name.as_encoded_bytes().starts_with(beginning.as_encoded_bytes()) && age.is_some_and(|age| age > LEFT)
    };
    for entry in fs::read_dir(directory(path)).into_iter().flatten().flatten().filter(left) {
        let _ = fs::remove_file(entry.path());
    }
}

/// A file that takes no more than would be read again.
struct Limited {
    file: File,
    left: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other(format!("it takes more than {} MiB", LARGEST >> 20)));
        }
        let written = self.file.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
pub(crate) mod tests;
