//! What every backend of the store keeps to, run against each of them: real servers, where there is one.
//!
//! A property is a function of a server that was just started; `suite!` makes a test of each for a
//! backend. What not every backend can be made to do, such as to go away, has lists of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod bucket;
mod cluster;
mod fault;
mod folder;
mod memory;
mod redis;
mod s3;
mod server;
mod store;
mod value;

macro_rules! suite {
    ($backend:ident: $server:ty, $attributes:tt; $($more:ident: $property:ident,)*) => {
        suite!(@ $backend, $server, $attributes;
            value: reads_back_what_was_put,
            value: the_same_bytes_succeed_again_and_others_are_refused,
            value: of_many_writers_of_one_key_exactly_one_wins,
            value: names_of_any_letters_are_apart,
            value: a_key_that_is_not_of_its_request_is_refused,
            bucket: an_older_epoch_neither_puts_nor_drops_nor_leases,
            bucket: a_drop_takes_all_of_one_request_and_nothing_of_another,
            bucket: after_a_drop_only_a_higher_epoch_puts,
            bucket: a_drop_ahead_of_every_put_is_remembered,
            bucket: a_put_that_finds_its_value_is_heard_of,
            bucket: a_bucket_goes_when_its_lease_is_over,
            bucket: a_lease_is_prolonged_and_ended,
            bucket: a_dropped_bucket_forgets_when_its_lease_would_have_ended,
            $($more: $property,)*
        );
    };
    (@ $backend:ident, $server:ty, $attributes:tt; $($area:ident: $property:ident,)*) => {
        mod $backend {
            $(suite!(@test $server, $attributes, $area, $property);)*
        }
    };
    (@test $server:ty, [$($attribute:meta)?], $area:ident, $property:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])?
        async fn $property() {
            crate::$area::$property::<$server>().await;
        }
    };
}

suite!(in_memory: crate::memory::Memory, [];
    fault: a_full_store_refuses_and_takes_again,
);
suite!(in_a_store: crate::store::OverTcp, [];
    bucket: tenants_do_not_see_one_another,
    fault: a_store_that_came_back_empty_says_lost,
    fault: a_full_store_refuses_and_takes_again,
    fault: a_store_that_is_away_is_told_of_and_used_again,
);
suite!(in_a_store_on_this_host: crate::store::OverSocket, [];
    bucket: tenants_do_not_see_one_another,
    fault: a_store_that_came_back_empty_says_lost,
    fault: a_store_that_is_away_is_told_of_and_used_again,
);
suite!(in_redis: crate::redis::Redis, [];
    bucket: tenants_do_not_see_one_another,
    fault: changed_bytes_are_found,
    fault: a_full_store_refuses_and_takes_again,
    fault: a_store_that_is_away_is_told_of_and_used_again,
);
suite!(in_a_cluster: crate::cluster::Cluster, [];
    bucket: tenants_do_not_see_one_another,
    fault: changed_bytes_are_found,
    fault: a_store_that_came_back_empty_says_lost,
    fault: a_store_that_is_away_is_told_of_and_used_again,
);
suite!(in_a_folder: crate::folder::Folder, [];
    bucket: tenants_do_not_see_one_another,
    fault: changed_bytes_are_found,
    fault: a_store_that_is_away_is_told_of_and_used_again,
);
suite!(in_s3: crate::s3::Bucket, [ignore = "needs an object store; datastore/tests/s3.sh starts one"];
    bucket: tenants_do_not_see_one_another,
);
