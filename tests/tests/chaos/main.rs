//! A disruption of the whole service, and a check of every promise. The seed is printed; `SEED` repeats it.

mod doctored;

use std::time::Duration;

use orders_local::lambda::binaries;
use orders_tests::chaos::{self, Settings};
use orders_tests::lives::seeded;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute of the whole machine"]
async fn every_promise_is_kept_while_everything_fails_at_once() {
    let binaries = binaries::build().await.unwrap();
    let settings = Settings {
        program: env!("CARGO_BIN_EXE_chaos").into(),
        binaries,
        seed: seeded().get_seed(),
        duration: Duration::from_secs(40),
    };
    match chaos::run(settings).await {
        Ok(report) => println!("{report}"),
        Err(report) => panic!("{report}"),
    }
}
