//! The file: read only if nobody else can have written it, and replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::SavedCatalog;

/// The most bytes of a file: about three times what 50,000 instances take.
const LARGEST: u64 = 64 << 20;

/// A file that a process began and did not finish is removed after this time.
const LEFT: Duration = Duration::from_secs(600);

/// The content of a file; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
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

/// Replaces a file: the new content is written beside it, to the disk, and then takes its place.
pub(super) fn write(
    place: &SavedCatalog,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), String> {
    let beside = beside(&place.file);
    tidy(place, &beside);
    let replace = || {
        let mut out = BufWriter::new(Limited { file: create(&beside)?, left: LARGEST });
        content(&mut out)?;
        out.flush()?;
        out.get_ref().file.sync_all()?;
        fs::rename(&beside, &place.file)?;
        // The new name is on the disk when its directory is. Not every file system can do that.
        let _ = File::open(place.directory()).and_then(|directory| directory.sync_all());
        Ok(())
    };
    replace().map_err(|error: io::Error| {
        let _ = fs::remove_file(&beside);
        error.to_string()
    })
}

/// Finds out whether the file could be written now, and leaves nothing behind.
pub(super) fn try_write(path: &Path) -> Result<(), String> {
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
fn tidy(place: &SavedCatalog, ours: &Path) {
    let _ = fs::remove_file(ours);
    let beginning = beginning(&place.file);
    let left = |entry: &fs::DirEntry| {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let name = entry.file_name();
        name.as_encoded_bytes().starts_with(beginning.as_encoded_bytes()) && age.is_some_and(|age| age > LEFT)
    };
    for entry in fs::read_dir(place.directory()).into_iter().flatten().flatten().filter(left) {
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
            return Err(io::Error::other(format!("the catalog takes more than {} MiB", LARGEST >> 20)));
        }
        let written = self.file.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
