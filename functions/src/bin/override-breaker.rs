//! The function `override-breaker`: see [`orders_functions::override_breaker`].

use orders_functions::config::{self, Config};
use orders_functions::limits::Limits;
use orders_functions::override_breaker::{self, Breakers};
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let (config, client) = (Config::from_env()?, config::dynamodb_client().await);
    let limits = Limits::from_env(&client).await?;
    let breakers = Breakers::from_env(&config, &client)?;
    http::serve(&limits, async |request| override_breaker::handle(&breakers, request).await).await
}
