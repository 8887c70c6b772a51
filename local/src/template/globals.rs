//! Properties that the template gives to all functions.

use serde_json::{Map, Value};

/// Properties over the globals, merged as SAM does: objects by member, lists one after the other, anything else is replaced.
pub(super) fn merged(globals: &Map<String, Value>, own: &Map<String, Value>) -> Map<String, Value> {
    let mut properties = globals.clone();
    for (name, value) in own {
        match (properties.get_mut(name), value) {
            (Some(Value::Object(base)), Value::Object(over)) if !is_call(base) && !is_call(over) => {
                *base = merged(base, over);
            }
            (Some(Value::Array(base)), Value::Array(over)) => base.extend(over.iter().cloned()),
            _ => drop(properties.insert(name.clone(), value.clone())),
        }
    }
    properties
}

/// Whether an object is a call of an intrinsic function.
fn is_call(object: &Map<String, Value>) -> bool {
    object.len() == 1 && object.keys().all(|name| name == "Ref" || name.starts_with("Fn::"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn globals_are_merged_as_sam_does() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let globals = object(json!({
            "Environment": {"Variables": {"A": 1, "B": 2}}, "Layers": ["x"], "Timeout": 3, "Tracing": {"Ref": "T"}
        }));
        let own = object(json!({
            "Environment": {"Variables": {"B": 3}}, "Layers": ["y"], "Timeout": {"Ref": "T"}, "Tracing": {"Fn::If": []}
        }));
        let expected = json!({
            "Environment": {"Variables": {"A": 1, "B": 3}}, "Layers": ["x", "y"], "Timeout": {"Ref": "T"},
            "Tracing": {"Fn::If": []}
        });
        assert_eq!(Value::Object(merged(&globals, &own)), expected);
    }
}
