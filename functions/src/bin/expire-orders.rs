//! The function `expire-orders`: see [`orders_functions::expiry`].

use lambda_runtime::{Context, Error};
use orders_functions::config::{self, Config};
use orders_functions::expiry::Expiry;
use orders_functions::{failure, runtime, telemetry};
use serde::de::IgnoredAny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let expiry = &Expiry::new(&Config::from_env()?, config::dynamodb_client().await)?;
    let expire = async |_: IgnoredAny, context: &Context| {
        expiry.run(context).await.map_err(|error| failure::diagnostic("RowsError", &error))
    };
    runtime::serve(expire).await
}
