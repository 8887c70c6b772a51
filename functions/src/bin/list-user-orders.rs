//! The function `list-user-orders`: see [`orders_functions::queries::list_user_orders`].

use orders_functions::config::{self, Config};
use orders_functions::queries::{Queries, list_user_orders};
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let queries = Queries::new(&Config::from_env()?, config::dynamodb_client().await);
    http::serve(async |request| list_user_orders::handle(&queries, request).await).await
}
