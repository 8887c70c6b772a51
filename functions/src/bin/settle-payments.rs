//! The function `settle-payments`: see [`orders_functions::settlement`].

use std::io;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use orders_functions::config::{self, Config};
use orders_functions::settlement::Settlement;
use orders_functions::{emf, telemetry};
use serde::de::IgnoredAny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let metrics = emf::init()?;
    let settlement = &Settlement::from_env(&Config::from_env()?, config::dynamodb_client().await)?;
    let settle = service_fn(|event: LambdaEvent<IgnoredAny>| async move {
        let run = settlement.run(&event.context).await?;
        settlement.measure().await?;
        metrics.flush(io::stdout())?;
        Ok::<_, Error>(run)
    });
    lambda_runtime::run(settle).await
}
