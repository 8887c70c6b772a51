//! The function `publish-events`: see [`orders_functions::publishing`].

use std::io;

use aws_lambda_events::dynamodb::Event;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use orders_functions::config::Config;
use orders_functions::{emf, publishing, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let metrics = emf::init()?;
    let relay = &publishing::relay(&Config::from_env()?).await?;
    let publish = service_fn(|event: LambdaEvent<Event>| async move {
        let answer = publishing::handle(relay, event.payload, &event.context).await;
        metrics.flush(io::stdout())?;
        Ok::<_, Error>(answer)
    });
    lambda_runtime::run(publish).await
}
