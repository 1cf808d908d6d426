//! What runs here in the place of an image: a command in a folder.
//!
//! No image is ever pulled or unpacked. A stack says it of its own functions; a file of images says it
//! for what is deployed over REST.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_saphyr::{Options, SnippetMode};

use crate::process::{Mode, ModeError, ProcessSpec};

/// Where a function says that it is healthy, unless it says otherwise.
pub(crate) const HEALTH_PATH_DEFAULT: &str = "/_/health";

/// A cheap handle to the images that are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Images(Arc<Mutex<HashMap<String, ProcessSpec>>>);

/// What is wrong with a file of images.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct ImagesError {
    file: PathBuf,
    problem: ImagesProblem,
}

#[derive(Debug, thiserror::Error)]
enum ImagesProblem {
    #[error("cannot read the file of images: {0}")]
    Read(std::io::Error),
    #[error("{0}")]
    Yaml(String),
    #[error("image `{image}`: {problem}")]
    Image { image: String, problem: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    images: BTreeMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    process: String,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    directory: PathBuf,
    #[serde(default)]
    health_path: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

impl Images {
    /// Adds what a file says; folders in it are relative to its own.
    pub(crate) fn load(&self, file: &Path) -> Result<(), ImagesError> {
        let read = || {
            let text = std::fs::read_to_string(file).map_err(ImagesProblem::Read)?;
            let parsed: File = serde_saphyr::from_str_with_options(&text, Options::default())
                .map_err(|error| {
                    let options = serde_saphyr::render_options! { snippets: SnippetMode::Off };
                    ImagesProblem::Yaml(error.render_with_options(options))
                })?;
            let beside = file.parent().filter(|folder| *folder != Path::new(""));
            let beside = beside.unwrap_or(Path::new("."));
            let named = parsed.images.into_iter().map(|(image, entry)| {
                let process = entry.process(beside);
                let failed = |problem| ImagesProblem::Image {
                    image: image.clone(),
                    problem,
                };
                let process = process.map_err(failed)?;
                Ok((image, process))
            });
            named.collect::<Result<Vec<_>, ImagesProblem>>()
        };
        let failed = |problem| ImagesError {
            file: file.to_owned(),
            problem,
        };
        for (image, process) in read().map_err(failed)? {
            self.add(&image, process);
        }
        Ok(())
    }

    pub(crate) fn add(&self, image: &str, process: ProcessSpec) {
        if !image.is_empty() {
            self.all().insert(image.to_owned(), process);
        }
    }

    /// What runs for an image: by its whole name, or by that without its tag.
    pub(crate) fn find(&self, image: &str) -> Option<ProcessSpec> {
        let all = self.all();
        let untagged = || {
            let (name, tag) = image.rsplit_once(':')?;
            // A colon before a slash is a registry's port.
            all.get(name).filter(|_| !tag.contains('/'))
        };
        all.get(image).or_else(untagged).cloned()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProcessSpec>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn process(self, beside: &Path) -> Result<ProcessSpec, String> {
        let directory = beside.join(&self.directory);
        let directory = std::path::absolute(&directory).map_err(|error| error.to_string())?;
        if !directory.is_dir() {
            let directory = directory.display();
            return Err(format!(
                "folder `{directory}` does not exist; write directory: relative to this file"
            ));
        }
        let mode = self.mode.as_deref().unwrap_or("http").parse();
        let mode = mode.map_err(|error: ModeError| format!("mode {error}"))?;
        if mode == Mode::Static {
            return Ok(ProcessSpec::of_folder(directory));
        }
        let health_path = self
            .health_path
            .unwrap_or_else(|| HEALTH_PATH_DEFAULT.to_owned());
        if !health_path.starts_with('/') {
            return Err(format!("health path `{health_path}` must begin with `/`"));
        }
        ProcessSpec::of_command(&self.process, directory, health_path)
            .map(|process| ProcessSpec { mode, ..process.with_environment(self.environment) })
            .ok_or_else(|| format!("process `{}` is not a command; write a program and its arguments, with quotes that are closed", self.process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Images, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("images.yaml");
        std::fs::write(&file, text).unwrap();
        let images = Images::default();
        images
            .load(&file)
            .map(|()| images)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn image_is_found_by_its_name_with_and_without_a_tag() {
        let text =
            "images:\n  example.org:5000/echo: {process: cat -u}\n  exact:1: {process: cat}\n";
        let images = load(text).unwrap();
        let echo = images.find("example.org:5000/echo:0.1.0").unwrap();
        assert_eq!(echo.command_line(), "cat -u");
        assert!(images.find("example.org:5000/echo").is_some());
        assert!(images.find("exact:1").is_some() && images.find("exact:2").is_none());
        assert!(images.find("example.org:5000/other").is_none());
        assert!(
            load("images:\n  example.org: {process: cat}\n")
                .unwrap()
                .find("example.org:5000/echo")
                .is_none()
        );
    }

    #[test]
    fn file_that_says_something_else_is_refused_by_what_it_says() {
        for (text, part) in [
            (
                "images:\n  a: {process: cat, mode: often}\n",
                "`often` is not a mode",
            ),
            ("images:\n  a: {process: cat, modus: 1}\n", "modus"),
            ("images:\n  a: {process: \"cat '\"}\n", "not a command"),
            ("images:\n  a: {process: ''}\n", "not a command"),
            (
                "images:\n  a: {process: cat, directory: nowhere}\n",
                "nowhere` does not exist",
            ),
            (
                "images:\n  a: {process: cat, health_path: up}\n",
                "must begin with",
            ),
            ("a: b\n", "images"),
        ] {
            let error = load(text).unwrap_err();
            assert!(
                error.contains(part) && error.contains("images.yaml"),
                "{error}"
            );
        }
    }
}
