//! The event catalog: a JSON Schema of every event that is published, in every schema it was ever published in.
//!
//! The files in `docs/events` are made from the types. After a change of an event's schema run the tests with
//! `UPDATE_CATALOG=1`: the new schema gets a file of its own, and the old one's stays for consumers that know it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::envelope::DetailMetadata;
use super::rejection;
use crate::order::OrderEvent;
use crate::order::newest_schema;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events")
}

/// The schema of each event's detail as it is published today, by the name of its file.
fn catalog() -> BTreeMap<String, Value> {
    let settings = || SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let metadata = settings().into_generator().into_root_schema_for::<DetailMetadata<'_>>().to_value();
    let events = settings().into_generator().into_root_schema_for::<OrderEvent>().to_value();
    let variants = events["oneOf"].as_array().cloned().unwrap_or_default();
    let entry = |variant: Value| {
        let name = variant["properties"]["type"]["const"].as_str().unwrap().to_owned();
        let schema = newest_schema(&name);
        let mut metadata = metadata.clone();
        for key in ["$schema", "title"] {
            metadata.as_object_mut().unwrap().remove(key);
        }
        metadata["properties"]["schema"] = json!({ "const": schema, "description": "The schema of `data`." });
        let detail = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            "description": variant["description"],
            "type": "object",
            "required": ["metadata", "data"],
            "properties": {
                "metadata": metadata,
                "data": { "anyOf": [variant["properties"]["data"], {
                    "type": "null",
                    "description": "The event was too large for the bus: fetch it at metadata.data_url."
                }]},
            },
        });
        (format!("{name}.v{schema}.json"), detail)
    };
    let mut rejected = settings().into_generator().into_root_schema_for::<rejection::Detail<'_>>().to_value();
    rejected["title"] = rejection::DETAIL_TYPE.into();
    rejected["properties"]["metadata"]["properties"]["schema"]["const"] = rejection::SCHEMA.into();
    let rejected = (format!("{}.v{}.json", rejection::DETAIL_TYPE, rejection::SCHEMA), rejected);
    variants.into_iter().map(entry).chain([rejected]).collect()
}

#[test]
fn the_catalog_holds_every_event_as_it_is_published_today() {
    let catalog = catalog();
    assert_eq!(catalog.len(), 10, "{:?}", catalog.keys());
    for (file, schema) in catalog {
        let path = folder().join(&file);
        if env::var_os("UPDATE_CATALOG").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, serde_json::to_string_pretty(&schema).unwrap() + "\n").unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, schema, "docs/events/{file} does not say what is published: run with UPDATE_CATALOG=1");
    }
}

#[test]
fn the_catalog_keeps_every_schema_that_was_ever_published() {
    for file in catalog().into_keys() {
        let (name, newest) = file.trim_end_matches(".json").split_once(".v").unwrap();
        for schema in 1..=newest.parse::<u32>().unwrap() {
            let path = folder().join(format!("{name}.v{schema}.json"));
            assert!(path.exists(), "{} is missing", path.display());
        }
    }
}
