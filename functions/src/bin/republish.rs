//! The function `republish`: see [`orders_functions::republish`].

use lambda_runtime::{Context, Error};
use orders_functions::config::{self, Config};
use orders_functions::publishing;
use orders_functions::republish::{Republish, Republisher};
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::start()?;
    let config = Config::from_env()?;
    let store = config.event_store(config::bulk_client().await);
    let republisher = &Republisher { store, relay: publishing::relay(&config).await? };
    runtime.serve(async |request: Republish, context: &Context| republisher.run(request, context).await).await
}
