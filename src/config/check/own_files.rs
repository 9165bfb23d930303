//! Files in which the gateway keeps for its next start what it knows: `{ file = "…" }`.

use std::path::PathBuf;

use crate::config::file::Section;

/// The file of a section, if that is written.
pub(super) fn own_file(section: &Section<'_>, example: &str) -> Option<PathBuf> {
    match section.text("file") {
        Some(file) if file.value.is_empty() || file.value.ends_with('/') => {
            section.mistake("file", file.line, format!("is not the path of a file: write e.g. \"{example}\""));
            None
        }
        Some(file) => Some(file.value.into()),
        None if section.exists() && !section.is_written("file") => {
            section.mistake("file", 0, format!("is needed: write e.g. file = \"{example}\""));
            None
        }
        None => None,
    }
}
