//! `cargo run -p orders-tests --bin chaos -- --minutes 10 [--seed N]`: disrupts the service for that time, then checks every promise.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use orders_local::lambda::binaries;
use orders_tests::chaos::{self, Settings, server};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["serve", data, binaries, seed, payments] = arguments[..] {
        server::serve(data.into(), binaries.into(), seed.parse()?, payments).await;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut minutes, mut seed) = (1.0, fastrand::u64(..));
    for option in arguments.chunks(2) {
        let good = match option {
            ["--minutes", number] => number.parse().map(|number| minutes = number).is_ok(),
            ["--seed", number] => number.parse().map(|number| seed = number).is_ok(),
            _ => false,
        };
        if !good {
            eprintln!("usage: chaos [--minutes N] [--seed N]");
            return Ok(ExitCode::FAILURE);
        }
    }
    let program = std::env::current_exe()?;
    let binaries = binaries::build().await?;
    println!("seed {seed}");
    let settings = Settings { program, binaries, seed, duration: Duration::from_secs_f64(minutes * 60.0) };
    match chaos::run(settings).await {
        Ok(report) => {
            println!("{report}Every promise was kept.");
            Ok(ExitCode::SUCCESS)
        }
        Err(report) => {
            println!("{report}");
            Ok(ExitCode::FAILURE)
        }
    }
}
