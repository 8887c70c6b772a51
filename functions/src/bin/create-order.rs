//! The function `create-order`: see [`orders_functions::commands::create_order`].

use orders_functions::commands::create_order;
use orders_functions::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::command(create_order::handle).await
}
