//! The function `get-order`: see [`orders_functions::queries::get_order`].

use orders_functions::http;
use orders_functions::queries::get_order;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::query(get_order::handle).await
}
