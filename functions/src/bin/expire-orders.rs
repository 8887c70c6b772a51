//! The function `expire-orders`: see [`orders_functions::expiry`].

use lambda_runtime::{Error, LambdaEvent, service_fn};
use orders_functions::config::{self, Config};
use orders_functions::expiry::Expiry;
use orders_functions::{failure, telemetry};
use serde::de::IgnoredAny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let expiry = &Expiry::new(&Config::from_env()?, config::dynamodb_client().await)?;
    let expire = async |event: LambdaEvent<IgnoredAny>| {
        expiry.run(&event.context).await.map_err(|error| failure::diagnostic("RowsError", &error))
    };
    lambda_runtime::run(service_fn(expire)).await
}
