//! Prints what AWS bills for an order's life, as tables in Markdown: `cargo run --release -p orders-tests --bin cost`.
//! An argument is the number of orders of the second table.

use std::error::Error;

use orders_tests::cost::lives;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let orders = std::env::args().nth(1).map_or(Ok(500), |orders| orders.parse())?;
    println!("One order at a time, so that every event comes alone:\n\n{}", lives(20, 1).await);
    println!("{orders} orders, 32 at a time:\n\n{}", lives(orders, 32).await);
    Ok(())
}
