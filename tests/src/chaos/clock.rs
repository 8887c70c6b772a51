//! Clocks that differ: each process sees a calendar clock with a constant error of its own.
//!
//! A small library, compiled at the start and preloaded into the functions and the stack, shifts what `clock_gettime`
//! returns. So the binaries are those that are deployed, and every library in them has the same clock.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The largest error of a process's clock, either way.
pub const ERROR: Duration = Duration::from_secs(2);

/// The library's source.
const SOURCE: &str = include_str!("clock.c");

/// Compiles the library into a directory.
pub fn compile(directory: &Path) -> PathBuf {
    let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
    std::fs::write(&source, SOURCE).expect("the source is written");
    let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(compiled.expect("the C compiler cc").success(), "the clock's library compiles");
    library
}

/// The variables that give a process such a clock.
const VARIABLES: [&str; 2] = ["LD_PRELOAD", "CLOCK_ERROR_MILLIS"];

/// The environment that gives a process such a clock.
pub fn environment(library: &Path) -> [(String, String); 2] {
    let library = library.to_str().expect("a path in Unicode").to_owned();
    let [preload, error] = VARIABLES.map(str::to_owned);
    [(preload, library), (error, ERROR.as_millis().to_string())]
}

/// The same environment, in a process that has it.
pub fn inherited() -> impl Iterator<Item = (String, String)> {
    VARIABLES.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use service_clock::Timestamp;

    use super::*;

    #[test]
    fn clocks_of_processes_differ_and_their_error_is_bounded() {
        let directory = std::env::temp_dir().join(format!("orders-clock-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        let library = compile(&directory);
        let error = |_| {
            let before = Timestamp::now().timestamp_millis();
            let date = Command::new("date").arg("+%s%3N").envs(environment(&library)).output().unwrap();
            let after = Timestamp::now().timestamp_millis();
            let shown: i64 = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
            let limit = i64::try_from(ERROR.as_millis()).unwrap();
            assert!((before - limit..=after + limit).contains(&shown), "{before} {shown} {after}");
            (shown - before) / 200
        };
        let errors: BTreeSet<i64> = (0..10).map(error).collect();
        assert!(errors.len() > 4, "{errors:?}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
