//! The function `restore-events`: see [`orders_functions::restore`].

use lambda_runtime::Context;
use orders_functions::config::{self, Config};
use orders_functions::restore::{self, Restore};
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let runtime = Runtime::start()?;
    let events = &Config::from_env()?.event_store(config::bulk_client().await);
    runtime.serve(async |restore: Restore, context: &Context| restore::run(events, restore, context).await).await
}
