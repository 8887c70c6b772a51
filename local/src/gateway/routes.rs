//! Which route a request takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::containers::Containers;
use crate::template::Route;

/// A route of the API and the function behind it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The route.
    pub route: Route,
    /// The function's containers.
    pub containers: Arc<Containers>,
}

impl Target {
    /// As API Gateway names it: `GET /orders/{id}`.
    pub fn key(&self) -> String {
        format!("{} {}", self.route.method, self.route.path)
    }
}

/// The route for a request and the values of its path parameters, decoded.
///
/// The more specific route wins: a fixed segment over a parameter, a parameter over `{rest+}`, a method over `ANY`.
pub(super) fn find<'a>(
    targets: &'a [Target],
    method: &str,
    path: &str,
) -> Option<(&'a Target, BTreeMap<String, String>)> {
    targets
        .iter()
        .filter(|target| target.route.method == method || target.route.method == "ANY")
        .filter_map(|target| {
            let (rank, parameters) = match_path(&target.route.path, path)?;
            Some(((rank, target.route.method == "ANY"), target, parameters))
        })
        .min_by(|left, right| left.0.cmp(&right.0))
        .map(|(_, target, parameters)| (target, parameters))
}

/// The parameters, and a rank that is lower the more specific the pattern is.
fn match_path(pattern: &str, path: &str) -> Option<(Vec<u8>, BTreeMap<String, String>)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut parameters = BTreeMap::new();
    let mut rank = Vec::new();
    let mut rest = path.strip_prefix('/')?.split('/');
    for part in pattern.strip_prefix('/')?.split('/') {
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if name.ends_with('+') => {
                let tail: Vec<&str> = rest.by_ref().collect();
                if tail.iter().all(|segment| segment.is_empty()) {
                    return None;
                }
                rank.push(2);
                parameters.insert(name.trim_end_matches('+').to_owned(), decode(&tail.join("/")));
            }
            Some(name) => {
                let value = rest.next().filter(|segment| !segment.is_empty())?;
                rank.push(1);
                parameters.insert(name.to_owned(), decode(value));
            }
            None => {
                rest.next().filter(|segment| decode(segment) == part)?;
                rank.push(0);
            }
        }
    }
    rest.next().is_none().then_some((rank, parameters))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::logs::Logs;
    use crate::template::fixture;

    pub(in crate::gateway) fn targets() -> Vec<Target> {
        let template = fixture::template();
        let containers =
            |function| Containers::new(function, std::path::Path::new("."), &BTreeMap::new(), 1, Logs::to(|_, _| {}));
        template
            .functions
            .iter()
            .flat_map(|function| {
                let containers = containers(function);
                function.routes.iter().map(move |route| Target { route: route.clone(), containers: containers.clone() })
            })
            .collect()
    }

    /// What is found must not depend on the order of the routes.
    fn found(method: &str, path: &str) -> Option<(String, BTreeMap<String, String>)> {
        let mut targets = targets();
        let one_way = find(&targets, method, path).map(|(target, parameters)| (target.key(), parameters));
        targets.reverse();
        let other_way = find(&targets, method, path).map(|(target, parameters)| (target.key(), parameters));
        assert_eq!(one_way, other_way);
        one_way
    }

    #[test]
    fn the_more_specific_route_wins() {
        assert_eq!(found("GET", "/things/newest").unwrap().0, "GET /things/newest");
        assert_eq!(found("GET", "/things/7").unwrap().0, "GET /things/{id}");
        assert_eq!(found("DELETE", "/things/7/parts/a/b").unwrap().0, "ANY /things/{id}/parts/{rest+}");
    }

    #[test]
    fn parameters_are_decoded() {
        let (_, parameters) = found("GET", "/things/a%2Fb%20c").unwrap();
        assert_eq!(parameters["id"], "a/b c");
        let (_, parameters) = found("PUT", "/things/7/parts/x/y%2B").unwrap();
        assert_eq!((parameters["id"].as_str(), parameters["rest"].as_str()), ("7", "x/y+"));
    }

    #[test]
    fn other_methods_lengths_and_empty_segments_do_not_match() {
        for (method, path) in [
            ("DELETE", "/things/7"),
            ("GET", "/things/"),
            ("GET", "/things/7/"),
            ("POST", "/things/x"),
            ("GET", "/"),
            ("GET", "/things/7/parts/"),
        ] {
            assert_eq!(found(method, path), None, "{method} {path}");
        }
    }
}
