//! Runs random histories of the whole service and checks them.
//!
//! `cargo run --release -p orders-tests --bin simulate -- --minutes 10 [--seed N] [--histories N]` runs on two threads until the
//! time is up, from a random seed. A failing history is shortened and printed as a test. A release build ends at a panic: it names
//! the seed, and the dev profile shortens its history (`cargo run -p orders-tests --bin simulate -- --seed N --histories 1`).

use std::cell::Cell;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use orders_tests::simulation::{Outcome, run_seed};

const THREADS: u64 = 2;

thread_local! {
    /// Of the history that the thread runs.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn main() {
    if cfg!(panic = "abort") {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            println!("panicked: --seed {} --histories 1", SEED.get());
            report(panic);
        }));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let first = option("--seed").unwrap_or_else(|| fastrand::u64(..1 << 48));
    let histories = option("--histories").unwrap_or(u64::MAX);
    let until = Instant::now() + Duration::from_secs(60 * option("--minutes").unwrap_or(1));
    println!("--seed {first}");
    let (began, failed) = (Instant::now(), AtomicBool::new(false));
    let (mut count, mut events, mut bounds) = (0_u64, 0, Outcome::default().bounds);
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let failed = &failed;
            move || {
                let (mut count, mut sum) = (0_u64, Outcome::default());
                let seeds = (thread..histories).step_by(THREADS as usize).map(|n| first + n);
                for seed in seeds.take_while(|_| Instant::now() < until && !failed.load(Relaxed)) {
                    SEED.set(seed);
                    match run_seed(seed) {
                        Ok(outcome) => {
                            count += 1;
                            sum.events += outcome.events;
                            sum.bounds += outcome.bounds;
                        }
                        Err(report) => {
                            failed.store(true, Relaxed);
                            println!("FAILED: {report}");
                        }
                    }
                }
                (count, sum)
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
        for thread in threads {
            let Ok((more, sum)) = thread.join() else { continue };
            count += more;
            events += sum.events;
            bounds += sum.bounds;
        }
    });
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("{count} histories, {events} events, {:.0} histories a minute", count as f64 / minutes);
    print!("how often the bounds were exceeded:\n{bounds}");
    if failed.load(Relaxed) {
        std::process::exit(1);
    }
}
