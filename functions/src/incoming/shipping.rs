//! The carrier's events.

use orders_core::domain::{DeliverOrder, ShipOrder};
use orders_core::publication::EventBus;
use serde::Deserialize;

use super::event::{Detail, InvalidEvent};
use super::run::{NotProcessed, Received, Runner};

/// The command of a shipment event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShipmentCommand {
    /// `ShipmentDispatched`.
    Ship(ShipOrder),
    /// `ShipmentDelivered`.
    Deliver(DeliverOrder),
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Dispatched {
    tracking_number: String,
}

/// Runs a shipment event's command.
///
/// # Errors
/// [`NotProcessed`]. An event that is invalid, or that the rules reject, is not an error: its rejection is published.
pub async fn handle(runner: &Runner<impl EventBus>, received: &Received) -> Result<(), NotProcessed> {
    match received.detail().and_then(|detail| command(received.detail_type(), detail)) {
        Ok(ShipmentCommand::Ship(command)) => runner.run(received, &command).await,
        Ok(ShipmentCommand::Deliver(command)) => runner.run(received, &command).await,
        Err(error) => runner.reject(received, error.code(), &error.to_string()).await,
    }
}

/// Reads a shipment event's command.
///
/// # Errors
/// [`InvalidEvent`]; a retry does not help.
pub fn command(detail_type: &str, detail: &Detail) -> Result<ShipmentCommand, InvalidEvent> {
    Ok(match detail_type {
        "ShipmentDispatched" => {
            let Dispatched { tracking_number } = detail.data()?;
            let tracking_number = tracking_number.parse().map_err(|why| InvalidEvent::field("tracking_number", why))?;
            ShipmentCommand::Ship(ShipOrder { tracking_number })
        }
        "ShipmentDelivered" => ShipmentCommand::Deliver(DeliverOrder),
        _ => return Err(InvalidEvent::UnknownType),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::event::Event;
    use super::*;

    fn read(detail_type: &str, data: Value) -> Result<ShipmentCommand, String> {
        let event =
            json!({ "id": "bus-1", "source": "shipping", "detail-type": detail_type, "detail": { "data": data } });
        let (detail, readable) = serde_json::from_value::<Event>(event).unwrap().detail();
        readable.unwrap();
        command(detail_type, &detail).map_err(|error| error.to_string())
    }

    #[test]
    fn each_event_has_its_command() {
        let ship = ShipOrder { tracking_number: "T-1".parse().unwrap() };
        assert_eq!(read("ShipmentDispatched", json!({ "tracking_number": "T-1" })), Ok(ShipmentCommand::Ship(ship)));
        assert_eq!(read("ShipmentDelivered", json!({})), Ok(ShipmentCommand::Deliver(DeliverOrder)));
    }

    #[test]
    fn invalid_fields_and_unknown_events_are_named() {
        assert!(read("ShipmentDispatched", json!({})).unwrap_err().contains("missing field `tracking_number`"));
        let control = read("ShipmentDispatched", json!({ "tracking_number": "a\nb" })).unwrap_err();
        assert!(control.starts_with("detail.data.tracking_number: "), "{control}");
        assert_eq!(read("ShipmentLost", json!({})), Err("unknown detail type".into()));
    }
}
