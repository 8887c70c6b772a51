//! The function `publish-events`: see [`orders_functions::publishing`].

use aws_lambda_events::dynamodb::Event;
use lambda_runtime::{Context, Error};
use orders_functions::config::Config;
use orders_functions::publishing;
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::start()?;
    let relay = &publishing::relay(&Config::from_env()?).await?;
    runtime
        .serve(async |batch: Event, context: &Context| Ok::<_, Error>(publishing::handle(relay, batch, context).await))
        .await
}
