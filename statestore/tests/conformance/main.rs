//! What every backend keeps to, run against each of them: real servers, where there is one.
//!
//! A property is a function of a server that was just started; `suite!` makes a test of each for a
//! backend.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod bus;
mod file;
mod log;
mod memory;
mod nats;
mod queue;
mod redis;
mod server;
mod table;

macro_rules! suite {
    ($backend:ident: $server:ty) => {
        suite!(@ $backend, $server,
            log: reads_back_what_was_appended_after_a_place,
            log: of_many_appenders_at_one_sequence_exactly_one_wins,
            log: an_append_at_another_place_conflicts_and_leaves_nothing,
            log: an_append_over_the_limit_is_refused_and_leaves_nothing,
            log: an_append_of_nearly_the_limit_is_stored,
            log: sequences_grow_over_all_logs,
            log: a_follower_meets_every_append_once_in_order,
            log: a_follower_that_is_dropped_while_it_waits_misses_nothing,
            log: a_place_tells_what_stands_there,
            log: a_deleted_log_is_gone_and_others_stay,
            log: what_was_appended_counts_as_held,
            log: a_full_log_refuses_by_name_and_keeps_what_it_has,
            log: appends_survive_a_crash,
            log: a_follower_notices_a_crash,
            log: a_lost_tail_is_gone_and_appends_go_on_from_what_is_left,
            log: an_expired_head_leaves_the_rest,
            queue: an_item_is_taken_by_one_and_gone_when_acknowledged,
            queue: an_item_that_is_not_acknowledged_comes_again,
            queue: a_released_item_comes_after_its_time,
            queue: an_extended_item_stays_with_its_taker,
            queue: queues_are_apart,
            queue: taking_waits_for_the_first_and_gives_up_in_time,
            queue: many_takers_share_many_items,
            queue: items_survive_a_crash,
            bus: a_word_comes_to_all_who_listen_and_to_nobody_else,
            bus: a_listener_that_is_dropped_hears_nothing,
            table: holds_values_by_key,
            table: lists_by_prefix,
            table: heartbeats_lapse,
            table: definitions_survive_a_crash,
        );
    };
    (@ $backend:ident, $server:ty, $($area:ident: $property:ident,)*) => {
        mod $backend {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                let server = <$server as crate::server::Server>::start().await;
                crate::$area::$property(server).await;
            })*
        }
    };
}

suite!(in_memory: crate::memory::Memory);
suite!(in_nats: crate::nats::Nats);
suite!(in_a_file: crate::file::Files);
suite!(in_redis: crate::redis::Redis);
