//! The function `ops-status`: see [`orders_functions::ops_status`].

use orders_functions::http;
use orders_functions::ops_status::{self, Operations};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::serve(async |config, client| Operations::from_env(config, client), ops_status::handle).await
}
