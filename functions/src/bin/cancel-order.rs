//! The function `cancel-order`: see [`orders_functions::commands::cancel_order`].

use orders_functions::commands::cancel_order;
use orders_functions::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::command(cancel_order::handle).await
}
