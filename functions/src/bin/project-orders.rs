//! The function `project-orders`: see [`orders_functions::projection`].

use std::io;

use aws_lambda_events::dynamodb::Event;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use orders_functions::config::{self, Config};
use orders_functions::{emf, projection, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let metrics = emf::init()?;
    let projector = &projection::projector(&Config::from_env()?, config::dynamodb_client().await);
    let project = service_fn(|event: LambdaEvent<Event>| async move {
        let answer = projection::handle(projector, event.payload).await;
        // The batch is done, counted or not.
        metrics.flush(io::stdout()).unwrap_or_else(|error| tracing::error!(%error, "metrics lost"));
        Ok::<_, Error>(answer)
    });
    lambda_runtime::run(project).await
}
