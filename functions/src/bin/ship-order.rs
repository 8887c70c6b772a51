//! The function `ship-order`: see [`orders_functions::commands::ship_order`].

use orders_functions::commands::ship_order;
use orders_functions::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::command(ship_order::handle).await
}
