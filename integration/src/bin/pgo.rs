//! `cargo pgo`: the gateway, laid out by the compiler for what it does most
//! (<https://doc.rust-lang.org/rustc/profile-guided-optimization.html>). A build that counts, traffic for it, a build that knows the
//! counts.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use integration::process::{cargo, root};
use integration::training;

/// How many requests each client sends in each part of the training: the counts are in proportion to each other long before.
const ASKS: usize = 1000;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(program) => {
            println!("{}", program.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("cargo pgo: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<PathBuf, String> {
    let folder = target()?.join("pgo");
    let (counts, profile, program) = (folder.join("counts"), folder.join("profile"), folder.join("lictor"));
    let tool = Tool::find()?;
    let began = SystemTime::now();
    let _ = std::fs::remove_dir_all(&counts);
    eprintln!("Building what counts (minutes: everything is optimised together)...");
    let counting = tool.build(&folder, &format!("-Cprofile-generate={}", counts.display()))?;
    eprintln!("Counting...");
    training::train(&counting, &folder, ASKS).await?;
    tool.merge(&counts, &profile)?;
    eprintln!("Building what knows...");
    let built = tool.build(&folder, &format!("-Cprofile-use={}", profile.display()))?;
    place(&built, &program, began).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(program)
}

/// Puts it where it belongs, also while the one before runs from there. Its time is when its sources were read.
fn place(built: &Path, program: &Path, began: SystemTime) -> std::io::Result<()> {
    let new = program.with_extension("new");
    std::fs::copy(built, &new)?;
    std::fs::File::options().write(true).open(&new)?.set_modified(began)?;
    std::fs::rename(new, program)
}

/// This program lies in target/PROFILE.
fn target() -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = exe.parent().and_then(Path::parent).map(Path::to_owned);
    target.ok_or_else(|| "this program does not lie in cargo's target folder".to_owned())
}

/// The compiler, and what merges its counts.
struct Tool {
    host: String,
    merger: PathBuf,
}

impl Tool {
    fn find() -> Result<Tool, String> {
        let said = output(Command::new("rustc").arg("-vV"))?;
        let host = said.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not say its host")?;
        let libraries = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
        let merger = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
        if !merger.is_file() {
            return Err("llvm-profdata is missing: rustup component add llvm-tools".into());
        }
        Ok(Tool { host: host.to_owned(), merger })
    }

    /// The package alone: what tests switch on in shared dependencies is not in what is shipped. With a target named, flags
    /// are not for what only runs while it is built.
    fn build(&self, folder: &Path, flag: &str) -> Result<PathBuf, String> {
        let own = std::env::var("RUSTFLAGS").map(|flags| flags.split_whitespace().collect::<Vec<_>>().join("\x1f"));
        let own = std::env::var("CARGO_ENCODED_RUSTFLAGS").or(own).unwrap_or_default();
        let flags = if own.is_empty() { flag.to_owned() } else { format!("{own}\x1f{flag}") };
        let mut command = cargo();
        command.args(["build", "--quiet", "--release", "--package", "lictor", "--bin", "lictor"]);
        command.args(["--target", &self.host, "--target-dir"]).arg(folder).env("CARGO_ENCODED_RUSTFLAGS", flags);
        let status = command.status();
        match status.map_err(|error| format!("cargo cannot be run: {error}"))?.success() {
            true => Ok(folder.join(&self.host).join("release/lictor")),
            false => Err("cargo could not build lictor".into()),
        }
    }

    fn merge(&self, counts: &Path, profile: &Path) -> Result<(), String> {
        output(Command::new(&self.merger).args(["merge", "-o"]).args([profile, counts])).map(drop)
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.current_dir(root()).output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
