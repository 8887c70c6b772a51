//! The function `verify-orders`: see [`orders_functions::rebuild`].

use lambda_runtime::{LambdaEvent, service_fn};
use orders_core::read_model::Verification;
use orders_functions::config::{self, Config};
use orders_functions::rebuild::{Maintenance, OneSegment};
use orders_functions::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let maintenance = &Maintenance::new(&Config::from_env()?, config::bulk_client().await);
    let verify =
        async |event: LambdaEvent<OneSegment<Verification>>| maintenance.verify(event.payload, &event.context).await;
    lambda_runtime::run(service_fn(verify)).await
}
