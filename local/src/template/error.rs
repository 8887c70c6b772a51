//! Why a template cannot be run.

use std::path::PathBuf;

use crate::iam::PolicyError;

/// Why a template cannot be run. Each error names the part of the file that has to be changed.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file does not exist or cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("not YAML: {0}")]
    Yaml(#[from] yaml_serde::Error),
    /// A value is missing or not valid.
    #[error("{0}")]
    Invalid(String),
    /// A resource type, property, function or value that the local stack does not support.
    #[error("the local stack does not support {0}")]
    Unsupported(String),
    /// A parameter without a default for which no value was given.
    #[error("the parameter {0} has no default and was given no value")]
    NoParameter(String),
    /// A statement of a policy, counted from 1, that the local stack cannot evaluate.
    #[error("statement {number}: {source}")]
    Statement {
        /// Its number in its policies.
        number: usize,
        /// The reason.
        source: PolicyError,
    },
    /// The error, with the part of the template that has it.
    #[error("{part}: {source}")]
    In {
        /// Logical id or section.
        part: String,
        /// The error.
        source: Box<TemplateError>,
    },
}

impl TemplateError {
    pub(super) fn invalid(error: impl std::fmt::Display) -> Self {
        Self::Invalid(error.to_string())
    }

    pub(super) fn within(self, part: impl Into<String>) -> Self {
        Self::In { part: part.into(), source: Box::new(self) }
    }
}
