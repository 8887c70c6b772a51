//! The function `deliver-order`: see [`orders_functions::commands::deliver_order`].

use orders_functions::commands::deliver_order;
use orders_functions::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::command(deliver_order::handle).await
}
