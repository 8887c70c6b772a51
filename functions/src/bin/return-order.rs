//! The function `return-order`: see [`orders_functions::commands::return_order`].

use orders_functions::commands::return_order;
use orders_functions::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::command(return_order::handle).await
}
