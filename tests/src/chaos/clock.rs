//! Clocks that differ: each process sees a calendar clock with a constant error of its own.
//!
//! A small library, compiled at the start and preloaded into the functions and the stack, shifts what `clock_gettime`
//! returns. So the binaries are those that are deployed, and every library in them has the same clock.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use service_clock::Timestamp;

use super::checker::Orders;
use super::client::Exchange;

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

/// Whether the orders were created by several clocks. A response lies after what it reports, and its request before. So each
/// creation bounds how far the clock that dated it is ahead of that of the client, and one clock is within all bounds.
pub fn differ(exchanges: &[Exchange], orders: &Orders) -> bool {
    let bounds = exchanges.iter().filter_map(|exchange| {
        let answer = exchange.answer.as_ref().filter(|answer| answer.status == 201 && !answer.replayed)?;
        let created_at = &orders.get(answer.body["order_id"].as_str()?)?.created_at;
        let created_at: Timestamp = created_at.parse().ok()?;
        let ahead =
            |of: Duration| created_at.timestamp_millis().saturating_sub(i64::try_from(of.as_millis()).unwrap_or(0));
        // The times are in whole milliseconds.
        Some((ahead(exchange.received) - 1, ahead(exchange.sent) + 1))
    });
    let (at_least, at_most): (Vec<_>, Vec<_>) = bounds.unzip();
    at_least.iter().max() > at_most.iter().min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::super::checker::Checked;
    use super::super::client::{Act, Answer, Request};
    use super::*;

    #[test]
    fn creations_that_one_clock_cannot_have_dated_show_that_clocks_differ() {
        let created = |order: &str, second: u64, error: i64| {
            let request = Request { act: Act::Create, caller: "storefront", order: None, key: None, body: json!({}) };
            let answer = Some(Answer { status: 201, body: json!({ "order_id": order }), replayed: false });
            let (sent, received) = (Duration::from_secs(second), Duration::from_millis(second * 1_000 + 200));
            let exchange = Exchange { request, correlation_id: order.into(), sent, received, answer };
            let at = 1_800_000_000_000 + i64::try_from(second).unwrap() * 1_000 + 100 + error;
            let created_at = Timestamp::from_millis(at).unwrap().to_string();
            (exchange, (order.to_owned(), Checked { created_at, ..Checked::default() }))
        };
        let differ = |error: i64| {
            let (exchanges, orders): (Vec<_>, Orders) =
                [created("a", 1, 0), created("b", 5, error)].into_iter().unzip();
            super::differ(&exchanges, &orders)
        };
        assert_eq!([0, 100, -150, 500, -1_500].map(differ), [false, false, false, true, true]);
    }

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
