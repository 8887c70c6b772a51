//! Events to rows, and rows to answers.
