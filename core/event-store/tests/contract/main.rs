//! What every store promises, as sentences: held to by the store on DynamoDB and by its double in memory.
//!
//! DynamoDB is an embedded one, or the one at `DYNAMODB_ENDPOINT`.
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
        writers_at_the_same_time_lose_nothing_and_store_nothing_twice,
        a_writer_that_read_before_another_wrote_decides_again_on_what_is_there,
        a_stream_that_was_taken_for_new_keeps_what_it_has,
        a_refusal_is_told_of_the_newest_state_and_stores_nothing,
        a_decision_without_events_is_told_and_stores_nothing,
        a_command_is_decided_at_the_time_that_it_is_recorded_and_never_before_the_newest_commit,
        a_decision_that_breaks_the_aggregates_own_rules_is_an_error_and_stores_nothing,
        a_commit_larger_than_an_item_is_an_error_and_stores_nothing,
    }

    requests {
        a_repeat_with_the_same_key_has_the_first_answer_however_much_came_after_it,
        a_key_used_for_another_request_is_an_error_and_stores_nothing,
        a_key_is_remembered_through_31_others_and_then_names_a_new_request,
        requests_without_a_key_are_different_requests,
        the_same_request_at_the_same_time_is_stored_once_and_answered_alike,
        a_condition_on_the_version_is_checked_after_the_key_and_before_the_rules,
        a_command_that_is_only_examined_is_checked_as_strictly_and_stores_nothing,
        a_caller_whose_deadline_has_passed_is_told_so_and_nothing_is_stored,
    }

    reads {
        a_stream_that_nobody_wrote_to_is_empty,
        a_stream_is_read_until_any_version_even_within_a_commit,
        a_stream_is_read_until_any_time_in_whole_commits,
        the_commits_of_a_stream_are_read_in_pages_without_gap_or_overlap,
        a_commit_has_what_its_request_brought_along,
        streams_do_not_mix,
        an_event_that_is_not_known_is_an_error_that_names_its_place_and_nothing_is_stored_after_it,
    }
}
