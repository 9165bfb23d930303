//! Nobody else's file is read, and a file is there as a whole or as it was.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A directory of a test's own, which goes with it.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lictor-own-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Place(path)
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::set_permissions(&self.0, PermissionsExt::from_mode(0o755));
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn written(path: &Path, text: &str) -> Result<(), String> {
    write(path, |out| out.write_all(text.as_bytes()))
}

#[test]
fn what_is_written_is_read_and_only_its_owner_can_read_the_file() {
    let place = Place::new();
    let path = place.0.join("kept.json");
    assert_eq!(read(&path), Ok(None));
    for text in ["first", "second"] {
        written(&path, text).unwrap();
        assert_eq!(read(&path), Ok(Some(text.into())));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(place.files(), ["kept.json"]);
    }
}

#[test]
fn a_file_that_somebody_else_may_have_written_is_refused_in_words() {
    let place = Place::new();
    let path = place.0.join("kept.json");
    written(&path, "text").unwrap();
    let refused = || read(&path).unwrap_err();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        assert!(refused().contains("others than its owner can write it"), "{mode:o}: {}", refused());
    }
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(read(&path).unwrap().is_some(), "to read it is no harm");
    // Only root can give a file away.
    if chown(&path, Some(65_534), None).is_ok() {
        assert!(refused().contains("belongs to another user"), "{}", refused());
    }
    let moved = place.0.join("moved.json");
    fs::rename(&path, &moved).unwrap();
    symlink(&moved, &path).unwrap();
    assert!(refused().contains("not a regular file"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refused().contains("not a regular file"));
}

#[test]
fn a_file_that_is_too_large_is_refused_and_none_is_written() {
    let place = Place::new();
    let path = place.0.join("kept.json");
    File::create(&path).unwrap().set_len((64 << 20) + 1).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(read(&path).unwrap_err().contains("larger than 64 MiB"));
    let large = |out: &mut dyn Write| (0..65).try_for_each(|_| out.write_all(&vec![b' '; 1 << 20]));
    assert!(write(&path, large).unwrap_err().contains("more than 64 MiB"));
    assert_eq!(place.files(), ["kept.json"]);
}

#[test]
fn a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it() {
    let place = Place::new();
    let path = place.0.join("kept.json");
    written(&path, "good").unwrap();
    let half = |out: &mut dyn Write| out.write_all(b"ba").and_then(|()| Err(io::Error::other("the disk is full")));
    assert_eq!(write(&path, half), Err("the disk is full".into()));
    assert_eq!((read(&path), place.files()), (Ok(Some("good".into())), vec!["kept.json".to_owned()]));
}

#[test]
fn a_directory_that_is_missing_or_not_ours_alone_is_objected_to_in_words() {
    let place = Place::new();
    assert_eq!(objection(&place.0.join("kept.json")), None);
    let why = |path: &Path| objection(path).expect("an objection");
    assert!(why(&place.0.join("nowhere/kept.json")).contains("No such file"));
    written(&place.0.join("file"), "").unwrap();
    assert!(why(&place.0.join("file/kept.json")).contains("no directory"));
    for mode in [0o777, 0o1777, 0o775] {
        fs::set_permissions(&place.0, PermissionsExt::from_mode(mode)).unwrap();
        assert!(why(&place.0.join("kept.json")).contains("others than its owner"), "{mode:o}");
    }
    // Root can write anywhere but on a file system that is read-only.
    fs::set_permissions(&place.0, PermissionsExt::from_mode(0o555)).unwrap();
    let objection = objection(&place.0.join("kept.json"));
    assert_eq!(objection.is_none(), rustix::process::geteuid().is_root(), "{objection:?}");
    assert!(objection.is_none_or(|why| why.contains("we cannot write there")));
}
