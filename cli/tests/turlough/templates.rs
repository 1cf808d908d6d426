//! The templates of `template/`, as faas-cli reads them. That the one in Rust builds, and that both run, is
//! shown by `templates.sh`, which takes minutes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use crate::harness::{ended, turlough};

/// The keys that faas-cli knows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    language: String,
    fprocess: String,
    handler_folder: String,
    welcome_message: String,
}

/// Stands for the repository, which has no public URL yet.
const URL: &str = "https://turlough.invalid/turlough.git";

fn template(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../template").join(name)
}

#[test]
fn templates_are_laid_out_as_faas_cli_wants_them() {
    let folders = std::fs::read_dir(template("")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let expected = ["rust-flow", "yaml-flow"].map(str::to_owned);
    assert_eq!(folders.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    for name in ["rust-flow", "yaml-flow"] {
        let read = |file: &str| std::fs::read_to_string(template(name).join(file)).unwrap();
        let said: Template = serde_saphyr::from_str(&read("template.yml")).unwrap();
        assert_eq!(said.language, name);
        let function = template(name).join(&said.handler_folder);
        assert!(function.is_dir(), "{}", function.display());
        for part in [
            "turlough.flow-function: \"true\"",
            "turlough.process: ",
            "TURLOUGH_FUNCTION: NAME",
            URL,
        ] {
            assert!(said.welcome_message.contains(part), "{name}: {part}");
        }
        let image = read("Dockerfile");
        for part in [
            "USER 12000\n",
            "port=8080",
            "TURLOUGH_FUNCTION",
            "TURLOUGH_GATEWAY_URL=",
            URL,
            &format!("COPY {}/", said.handler_folder),
            &format!("exec {}", said.fprocess),
        ] {
            assert!(image.contains(part), "{name}: {part}");
        }
    }
    let package = std::fs::read_to_string(template("rust-flow/function/Cargo.toml")).unwrap();
    assert_eq!(package.matches(URL).count(), 1, "{package}");
}

#[test]
fn flows_of_the_template_are_valid() {
    let flows = template("yaml-flow/function/flows");
    let checked = ended(turlough(&["validate", flows.to_str().unwrap()]));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.contains("1 flow"), "{checked:?}");
}
