//! JMESPath as others have it: Python's implementation (PyPI `jmespath`), and the compliance suite that the crate `jmespath` brings along.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::process::{not_run, root, said};

/// An expression, and what it is applied to.
pub type Pair = (String, Value);

/// What Python's implementation gives for each pair, or why it gives nothing. `None` where this machine has no Python, or its packages cannot
/// be had: then it is said on stderr that the test of this thread was not run, and why.
///
/// # Panics
/// When the program that applies them fails.
pub fn by_python(pairs: &[Pair]) -> Option<Vec<Result<Value, String>>> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let packages = match INSTALLED.get_or_init(install) {
        Ok(packages) => packages,
        Err(why) => {
            not_run(why);
            return None;
        }
    };
    let mut command = Command::new("python3");
    command.arg(folder().join("apply.py")).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut python = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let lines: String = pairs.iter().map(|pair| serde_json::json!(pair).to_string() + "\n").collect();
    // Its stdin is dropped at the end of the statement that writes it, so that it ends; a thread, because it answers meanwhile.
    let mut stdin = python.stdin.take().expect("stdin is a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = python.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads everything");
    assert!(output.status.success(), "apply.py: {}", output.status);
    let answers = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let answers: Vec<_> = answers.lines().map(answer).collect();
    assert_eq!(answers.len(), pairs.len(), "an answer for each pair");
    Some(answers)
}

fn answer(line: &str) -> Result<Value, String> {
    let mut answer: Value = serde_json::from_str(line).expect("a line of JSON");
    match answer["error"].take() {
        Value::String(why) => Err(why),
        _ => Ok(answer["result"].take()),
    }
}

/// The cases of the compliance suite: what an expression makes of a value, or `None` where it must be refused.
///
/// # Panics
/// When the suite is not there.
pub fn suite() -> Vec<(Pair, Option<Value>)> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--format-version", "1", "--offline"]).current_dir(root());
    let metadata: Value = serde_json::from_str(&said(&mut metadata).expect("cargo metadata")).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "jmespath").expect("lictor depends on jmespath");
    let manifest = package["manifest_path"].as_str().expect("a path");
    let folder = Path::new(manifest).with_file_name("tests/compliance");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the suite").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let groups: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
        for group in groups.as_array().into_iter().flatten() {
            // What is only there to be measured has no result.
            let written = group["cases"].as_array().into_iter().flatten().filter(|case| case.get("bench").is_none());
            cases.extend(written.map(|case| {
                let expression = case["expression"].as_str().expect("an expression").to_owned();
                ((expression, group["given"].clone()), case.get("result").cloned())
            }));
        }
    }
    cases
}

fn folder() -> PathBuf {
    root().join("integration/jmespath")
}

/// Installs what the requirements name, unless it is there.
fn install() -> Result<PathBuf, String> {
    said(Command::new("python3").arg("--version")).map_err(|why| format!("there is no Python: {why}"))?;
    let requirements = folder().join("requirements.txt");
    let packages = folder().join("packages");
    // What was installed says for which requirements.
    let (done, wanted) = (packages.join("requirements.txt"), std::fs::read(&requirements).map_err(|e| e.to_string())?);
    if std::fs::read(&done).is_ok_and(|found| found == wanted) {
        return Ok(packages);
    }
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--upgrade",
    ]);
    pip.arg("--target").arg(&packages).arg("--requirement").arg(&requirements);
    said(&mut pip).map_err(|why| format!("pip cannot install jmespath: {why}"))?;
    std::fs::copy(&requirements, &done).map_err(|error| error.to_string())?;
    Ok(packages)
}
