//! The function `pay-order`: see [`orders_functions::commands::pay_order`].

use orders_functions::commands::{Commands, pay_order};
use orders_functions::config::{self, Config};
use orders_functions::limits::Limits;
use orders_functions::payments::Payments;
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let (config, client) = (Config::from_env()?, config::dynamodb_client().await);
    let (limits, payments) = (Limits::from_env(&client).await?, Payments::from_env(&client)?);
    let commands = Commands::new(&config, client);
    http::serve(&limits, async |request| pay_order::handle(&commands, &payments, request).await).await
}
