//! The function `pay-order`: see [`orders_functions::commands::pay_order`].

use orders_functions::commands::{Commands, pay_order};
use orders_functions::config::{self, Config};
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let commands = Commands::new(&Config::from_env()?, config::dynamodb_client().await);
    http::serve(async |request| pay_order::handle(&commands, request).await).await
}
