//! The function `rebuild-orders`: see [`orders_functions::rebuild`].

use lambda_runtime::{LambdaEvent, service_fn};
use orders_functions::config::{self, Config};
use orders_functions::rebuild::{Maintenance, Rebuild};
use orders_functions::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let maintenance = &Maintenance::new(&Config::from_env()?, config::bulk_client().await);
    let rebuild = async |event: LambdaEvent<Rebuild>| maintenance.rebuild(event.payload, &event.context).await;
    lambda_runtime::run(service_fn(rebuild)).await
}
