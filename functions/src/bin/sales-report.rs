//! The function `sales-report`: see [`orders_functions::queries::sales_report`].

use orders_functions::http;
use orders_functions::queries::sales_report::{self, Reports};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::serve(async |config, client| Reports::from_env(config, client), sales_report::handle).await
}
