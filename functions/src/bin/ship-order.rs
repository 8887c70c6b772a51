//! The function `ship-order`: see [`orders_functions::commands::ship_order`].

use orders_functions::commands::{Commands, ship_order};
use orders_functions::config::{self, Config};
use orders_functions::limits::Limits;
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let (config, client) = (Config::from_env()?, config::dynamodb_client().await);
    let limits = Limits::from_env(&client).await?;
    let commands = Commands::new(&config, client);
    http::serve(&limits, async |request| ship_order::handle(&commands, request).await).await
}
