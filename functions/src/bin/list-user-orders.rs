//! The function `list-user-orders`: see [`orders_functions::queries::list_user_orders`].

use orders_functions::config::{self, Config};
use orders_functions::limits::Limits;
use orders_functions::queries::{Queries, list_user_orders};
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let (config, client) = (Config::from_env()?, config::dynamodb_client().await);
    let limits = Limits::from_env(&client).await?;
    let queries = Queries::new(&config, client);
    http::serve(&limits, async |request| list_user_orders::handle(&queries, request).await).await
}
