//! Builds the function binaries with the profile and the target directory of this program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::OnceCell;

/// Why the function binaries could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// This program is not in a cargo target directory, so the profile is unknown.
    #[error("{0} is not in a cargo target directory: start the local stack with `cargo run`")]
    Layout(PathBuf),
    /// Cargo could not be run.
    #[error("cannot run cargo: {0}")]
    Cargo(#[from] std::io::Error),
    /// The build failed; cargo has written the reason to the standard error stream.
    #[error("the functions do not build: cargo ended with {0}")]
    Failed(std::process::ExitStatus),
}

/// Where cargo put this program.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    target: PathBuf,
    triple: Option<String>,
    profile: String,
    /// The package of the program.
    package: &'static str,
}

/// Builds all functions, once per process, with cargo's progress on the standard error stream; returns the directory of
/// the binaries.
///
/// # Errors
/// When cargo cannot be run or the build fails.
pub async fn build() -> Result<PathBuf, BuildError> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(run_cargo).await.cloned()
}

async fn run_cargo() -> Result<PathBuf, BuildError> {
    let program = std::env::current_exe()?;
    let layout = Layout::of(&program).ok_or(BuildError::Layout(program))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--profile", &layout.profile])
        .arg("--target-dir")
        .arg(&layout.target)
        // Cargo unifies the features of the selected packages. Selected with this program's package, the functions reuse
        // the dependencies that are already built.
        .args(["--package", layout.package])
        .args(["--package", "orders-functions", "--bins"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(triple) = &layout.triple {
        cargo.args(["--target", triple]);
    }
    // Variables of this process's package would look like a change to the build.
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    // Not with `eprintln!`, whose lines the harness of a test captures.
    let notice =
        format!("building the function binaries with cargo, profile {}: this may take minutes\n", layout.profile);
    std::io::stderr().write_all(notice.as_bytes())?;
    let status = cargo.status().await?;
    if status.success() { Ok(layout.directory()) } else { Err(BuildError::Failed(status)) }
}

impl Layout {
    /// `<target>/[<triple>/]<profile>/[deps/]<program>`. From the names alone: cargo marks a target directory only when it
    /// created the directory itself.
    fn of(program: &Path) -> Option<Self> {
        let parent = program.parent()?;
        let directory = if parent.ends_with("deps") { parent.parent()? } else { parent };
        if !directory.join("deps").is_dir() {
            return None;
        }
        let profile = directory.file_name()?.to_str()?;
        let profile = if profile == "debug" { "dev" } else { profile };
        let above = directory.parent()?;
        let triple = above.file_name().and_then(|name| name.to_str()).filter(|name| is_triple(name));
        let target = if triple.is_some() { above.parent()? } else { above };
        let stack = program.file_stem().is_some_and(|name| name == "orders-local");
        Some(Self {
            target: target.to_owned(),
            triple: triple.map(str::to_owned),
            profile: profile.to_owned(),
            // Tests and the programs of their package.
            package: if stack { "orders-local" } else { "orders-tests" },
        })
    }

    fn directory(&self) -> PathBuf {
        let mut directory = self.target.clone();
        directory.extend(self.triple.as_deref());
        directory.push(if self.profile == "dev" { "debug" } else { &self.profile });
        directory
    }
}

/// Whether `name` is a target triple of this architecture, such as `x86_64-unknown-linux-musl`.
fn is_triple(name: &str) -> bool {
    name.strip_prefix(std::env::consts::ARCH).is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_and_the_target_directory_follow_from_the_program_path() {
        let arch = std::env::consts::ARCH;
        let musl = format!("{arch}-unknown-linux-musl");
        let target = std::env::temp_dir().join(format!("orders-local-{}", uuid::Uuid::new_v4()));
        for (program, triple, profile, directory) in [
            ("debug/orders-local", None, "dev", "debug"),
            ("debug/deps/e2e-123", None, "dev", "debug"),
            ("release/contention", None, "release", "release"),
            ("release/orders-local", None, "release", "release"),
            (&format!("{musl}/release/deps/e2e"), Some(musl.as_str()), "release", &format!("{musl}/release")),
        ] {
            std::fs::create_dir_all(target.join(directory).join("deps")).unwrap();
            let layout = Layout::of(&target.join(program)).unwrap();
            assert_eq!((layout.triple.as_deref(), layout.profile.as_str()), (triple, profile), "{program}");
            assert_eq!(layout.target, target, "{program}");
            assert_eq!(layout.directory(), target.join(directory));
            assert_eq!(layout.package == "orders-local", program.ends_with("orders-local"));
        }
        std::fs::remove_dir_all(target).unwrap();
    }

    #[test]
    fn a_program_outside_a_target_directory_has_no_layout() {
        assert_eq!(Layout::of(Path::new("/usr/bin/orders-local")), None);
    }
}
