//! The files of the console and of the API description, embedded in this program.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::get;
use serde_json::{Value, json};

/// Nothing from elsewhere, no inline script or style, and no text is ever parsed as HTML.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const OPENAPI: &str = include_str!("../../../docs/api/openapi.yaml");

/// Files in `console/`, with their text.
macro_rules! files {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!("../../../console/", $name)))),+] };
}

const FILES: [(&str, &str); 22] = files![
    "api.js",
    "app.js",
    "breaker.js",
    "commands.js",
    "console.css",
    "describe.js",
    "dom.js",
    "feed.js",
    "form.js",
    "format.js",
    "icon.svg",
    "index.html",
    "live.js",
    "order.js",
    "orders.js",
    "problem.js",
    "resilience.js",
    "route.js",
    "sales.js",
    "session.js",
    "timeline.js",
    "trace.js",
];

/// The routes of the console and of the API description.
pub(crate) fn pages(currency: &str) -> Router {
    let description = yaml_serde::from_str::<Value>(OPENAPI).unwrap_or_default();
    let fixed = [
        ("openapi.yaml", OPENAPI.to_owned()),
        ("openapi.json", description.to_string()),
        ("config.json", json!({"api": "", "local": true, "currency": currency}).to_string()),
    ];
    let files = FILES.iter().map(|(name, text)| (*name, (*text).to_owned())).chain(fixed);
    files.fold(Router::new(), |router, (name, text)| {
        let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        router.route(&path, get(async move || (headers(name), text)))
    })
}

fn headers(name: &str) -> [(HeaderName, &'static str); 5] {
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("yaml") => "application/yaml",
        _ => "text/plain; charset=utf-8",
    };
    [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_console_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("console");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let names: BTreeSet<_> = names
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        let embedded = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names, embedded);
    }

    #[test]
    fn the_console_is_small_and_never_parses_text_as_html() {
        let size: usize = FILES.iter().map(|(_, text)| text.len()).sum();
        assert!(size < 150 * 1024, "{size} bytes");
        for (name, text) in FILES {
            let parsing = [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "new Function",
                "setAttribute(\"style\"",
                "http://",
                "https://",
            ];
            // The namespace of SVG is a name, not an address.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            let found = parsing.into_iter().find(|word| text.contains(word));
            assert_eq!(found, None, "{name}");
        }
    }

    #[test]
    fn the_description_of_the_api_is_served_as_json_too() {
        let description = yaml_serde::from_str::<Value>(OPENAPI).unwrap();
        assert!(description["paths"]["/orders"]["post"]["operationId"] == "createOrder");
    }
}
