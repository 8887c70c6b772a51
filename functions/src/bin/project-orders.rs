//! The function `project-orders`: see [`orders_functions::projection`].

use std::io;

use aws_lambda_events::dynamodb::Event;
use lambda_runtime::{Context, Error};
use orders_functions::config::{self, Config};
use orders_functions::{emf, projection, runtime, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let metrics = emf::init()?;
    let projector = &projection::projector(&Config::from_env()?, config::dynamodb_client().await);
    runtime::serve(async |batch: Event, _: &Context| {
        let answer = projection::handle(projector, batch).await;
        // The batch is done, counted or not.
        metrics.flush(io::stdout()).unwrap_or_else(|error| tracing::error!(%error, "metrics lost"));
        Ok::<_, Error>(answer)
    })
    .await
}
