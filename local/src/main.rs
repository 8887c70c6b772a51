//! Runs the local stack.

use orders_local::stack::{Stack, StackOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = StackOptions::new(orders_local::binaries::build().await?);
    options.port = 3000;
    let stack = Stack::start(options).await?;
    println!("{}", stack.url());
    tokio::signal::ctrl_c().await?;
    stack.shutdown().await;
    Ok(())
}
