//! The function `ops-status`: see [`orders_functions::ops_status`].

use orders_functions::config::{self, Config};
use orders_functions::limits::Limits;
use orders_functions::ops_status::{self, Operations};
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let (config, client) = (Config::from_env()?, config::dynamodb_client().await);
    let limits = Limits::from_env(&client).await?;
    let operations = Operations::from_env(&config, client)?;
    http::serve(&limits, async |request| ops_status::handle(&operations, request).await).await
}
