//! Leaves out each permission of each function in turn, and expects that a test fails: a permission that nothing needs is one
//! too many. Run `cargo test --workspace` before, which records the tests that use each permission. Then
//! `target/debug/permissions`, or `target/debug/permissions CreateOrder PayOrder.1` for some.
//! Prints a table, and exits with 1 when no test fails without one of the permissions.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use orders_local::iam::Statement;
use orders_local::payments::token_secret;
use orders_local::template::{Template, TemplateError, TemplateOptions, project_path};
use orders_tests::permissions::{WITHOUT, folder};

/// How many of the tests that use a permission are tried.
const ATTEMPTS: usize = 3;
/// How many tests run at once.
const WORKERS: usize = 2;

/// A permission that can be left out.
struct Permission {
    /// `CreateOrder.0`, `CreateOrder.0.a1` or `CreateOrder.0.r1`.
    name: String,
    /// Its actions and resources.
    meaning: String,
    /// Programs and names of tests that use it.
    tests: Vec<(String, String)>,
}

fn main() -> Result<ExitCode, TemplateError> {
    let mut options = TemplateOptions::default();
    // Where there is a payment provider, its token is a secret.
    options.parameters.insert("PaymentProviderTokenArn".into(), token_secret());
    let template = Template::load(&project_path(), &options)?;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|prefix| name == prefix || name.starts_with(&format!("{prefix}.")))
    };
    let records = records();
    let all = template.functions.iter().flat_map(|function| {
        let statements = function.policies.statements.iter().enumerate();
        statements.flat_map(|(number, statement)| permissions(&function.logical_id, number, statement, &records))
    });
    let queue: Mutex<Vec<Permission>> = Mutex::new(all.filter(|one| chosen(&one.name)).collect());
    lock(&queue).reverse();
    let (unneeded, total) = (Mutex::new(Vec::new()), lock(&queue).len());
    println!("| permission | actions on resources | without it | seconds |\n|---|---|---|--:|");
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(permission) = next(&queue) {
                    let begun = Instant::now();
                    let found = permission.tests.iter().take(ATTEMPTS).find_map(|(program, test)| {
                        let (failed, how) = run(program, test, &permission.name);
                        failed.then(|| format!("`{test}` fails{how}"))
                    });
                    let seconds = begun.elapsed().as_secs();
                    let (Permission { name, meaning, tests }, is_needed) = (&permission, found.is_some());
                    let result = found.unwrap_or_else(|| match tests.len() {
                        0 => "NO TEST USES IT".to_owned(),
                        _ => "NO TEST FAILS".to_owned(),
                    });
                    println!("| {name} | {meaning} | {result} | {seconds} |");
                    if !is_needed {
                        lock(&unneeded).push(name.clone());
                    }
                }
            });
        }
    });
    let unneeded = lock(&unneeded).join(", ");
    println!("\n{total} permissions; not needed: {}", if unneeded.is_empty() { "none" } else { &unneeded });
    Ok(if total > 0 && unneeded.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn next(queue: &Mutex<Vec<Permission>>) -> Option<Permission> {
    lock(queue).pop()
}

/// Each use of a permission (`CreateOrder.0.a1.r0`), with the program and the name of a test.
fn records() -> Vec<(String, (String, String))> {
    let files = fs::read_dir(folder()).into_iter().flatten().flatten();
    let of_file = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap_or_default();
        let lines: BTreeSet<String> =
            fs::read_to_string(file.path()).unwrap_or_default().lines().map(str::to_owned).collect();
        let test = |line: &String| line.rsplit_once(' ').map(|(program, test)| (program.to_owned(), test.to_owned()));
        lines.iter().filter_map(test).map(|test| (name.clone(), test)).collect::<Vec<_>>()
    };
    files.flat_map(of_file).collect()
}

/// The whole statement, and each of its actions and of its resources if it has several.
fn permissions(
    function: &str,
    number: usize,
    statement: &Statement,
    records: &[(String, (String, String))],
) -> Vec<Permission> {
    let short = |arn: &String| arn.rsplit(':').next().unwrap_or_default().to_owned();
    let (actions, resources) = (statement.actions(), statement.resources());
    let resources: Vec<String> = resources.iter().map(short).collect();
    let own = format!("{function}.{number}");
    let permission = |part: Option<String>, action: &[String], resource: &[String]| {
        let uses = |used: &str| {
            let rest = used.strip_prefix(&own).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| part.as_ref().is_none_or(|part| rest.split('.').any(|one| one == part)))
        };
        let tests: BTreeSet<_> = records.iter().filter(|(used, _)| uses(used)).map(|(_, test)| test.clone()).collect();
        let name = part.as_ref().map_or_else(|| own.clone(), |part| format!("{own}.{part}"));
        Permission {
            name,
            meaning: format!("{} on {}", action.join(", "), resource.join(", ")),
            tests: tests.into_iter().collect(),
        }
    };
    let mut all = vec![permission(None, actions, &resources)];
    if actions.len() > 1 {
        all.extend((0..actions.len()).map(|at| permission(Some(format!("a{at}")), &actions[at..=at], &resources)));
    }
    if resources.len() > 1 {
        all.extend((0..resources.len()).map(|at| permission(Some(format!("r{at}")), actions, &resources[at..=at])));
    }
    all
}

/// Whether a test fails without the permission, and how.
fn run(program: &str, test: &str, without: &str) -> (bool, &'static str) {
    let output = Command::new(program).args(["--exact", test]).env(WITHOUT, without).output();
    match output {
        Ok(Output { status, stdout, .. }) => {
            let text = String::from_utf8_lossy(&stdout);
            let how = match text.contains("cannot be created") {
                true => ": the function cannot be created",
                false if text.matches("panicked at").count() == 1 && text.contains("calls were denied") => {
                    ": only since a call was denied"
                }
                false => "",
            };
            // A program that runs no test has not failed.
            (!status.success() && text.contains("1 failed"), how)
        }
        Err(_) => (false, ""),
    }
}
