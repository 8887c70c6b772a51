//! The function `order-history`: see [`orders_functions::queries::order_history`].

use orders_functions::http;
use orders_functions::queries::order_history;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::query(order_history::handle).await
}
