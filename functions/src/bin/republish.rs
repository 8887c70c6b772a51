//! The function `republish`: see [`orders_functions::republish`].

use lambda_runtime::{Context, Error};
use orders_core::event_store::EventStore;
use orders_functions::config::{self, Config};
use orders_functions::republish::{Asked, Republisher};
use orders_functions::{publishing, runtime, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let config = Config::from_env()?;
    let events = config::bulk_client().await;
    let store = EventStore::new(events, &config.order_events_table, config.snapshot_every);
    let republisher = &Republisher { store, relay: publishing::relay(&config).await? };
    runtime::serve(async |asked: Asked, context: &Context| republisher.run(asked, context).await).await
}
