//! The contract of every store, tested on DynamoDB and in memory.
//!
//! DynamoDB is an embedded engine, or the endpoint in `DYNAMODB_ENDPOINT`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic that says why")]

mod commands;
mod reads;
mod requests;
mod worlds;

/// Each behaviour as a test of each store.
macro_rules! contract {
    ($($room:ident { $($behaviour:ident,)+ })+) => {
        mod in_memory {
            use super::worlds::{Memory, World};
            $($(#[tokio::test]
            async fn $behaviour() {
                super::$room::$behaviour(&Memory::start().await).await;
            })+)+
        }

        mod on_dynamodb {
            use super::worlds::{DynamoDb, World};
            $($(#[tokio::test]
            async fn $behaviour() {
                let world = DynamoDb::start().await;
                super::$room::$behaviour(&world).await;
                world.end().await;
            })+)+
        }
    };
}

contract! {
    commands {
        a_command_is_one_commit_at_the_next_versions,
        concurrent_writers_lose_and_duplicate_nothing,
        a_writer_with_a_stale_read_decides_again,
        an_existing_stream_assumed_new_is_preserved,
        a_rejection_is_decided_on_the_newest_state_and_stores_nothing,
        a_decision_without_events_stores_nothing,
        a_command_is_decided_at_its_recorded_time_and_never_before_the_newest_commit,
        a_decision_with_an_invalid_event_is_an_error_and_stores_nothing,
        a_commit_larger_than_an_item_is_an_error_and_stores_nothing,
    }

    requests {
        a_repeat_with_the_same_key_gets_the_first_result,
        a_key_used_for_another_request_is_an_error_and_stores_nothing,
        a_key_is_retained_through_31_others,
        requests_without_a_key_are_different_requests,
        concurrent_identical_requests_are_stored_once_with_one_result,
        a_condition_on_the_version_is_checked_after_the_key_and_before_the_rules,
        examining_a_command_checks_it_and_stores_nothing,
        an_expired_deadline_is_an_error_and_stores_nothing,
    }

    reads {
        a_new_stream_is_empty,
        a_stream_is_read_until_any_version_even_within_a_commit,
        a_stream_is_read_until_any_time_in_whole_commits,
        the_commits_of_a_stream_are_read_in_pages_without_gap_or_overlap,
        a_commit_has_the_metadata_of_its_request,
        streams_do_not_mix,
        an_unknown_event_is_an_error_with_its_version_and_nothing_is_stored_after_it,
    }
}
