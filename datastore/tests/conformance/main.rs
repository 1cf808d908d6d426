//! What every backend of the store keeps to, run against each of them: real servers, where there is one.
//!
//! A property is a function of a server that was just started; `suite!` makes a test of each for a
//! backend. All backends have the same list. Where one cannot be made to do what a property is about, it
//! says why, in the property's place.

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
    (
        $backend:ident: $server:ty, $attributes:tt;
        tenants: $tenants:tt,
        is_changed: $is_changed:tt,
        is_full: $is_full:tt,
        goes: $goes:tt,
        comes_back_empty: $comes_back_empty:tt,
    ) => {
        mod $backend {
            suite!(@where yes, $server, $attributes;
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
            );
            suite!(@where $tenants, $server, $attributes;
                bucket: tenants_do_not_see_one_another,
            );
            suite!(@where $is_changed, $server, $attributes;
                fault: changed_bytes_are_found,
            );
            suite!(@where $is_full, $server, $attributes;
                fault: a_full_store_refuses_and_takes_again,
            );
            suite!(@where $goes, $server, $attributes;
                fault: a_store_that_is_away_is_told_of_and_used_again,
            );
            suite!(@where $comes_back_empty, $server, $attributes;
                fault: a_store_that_came_back_empty_says_lost,
            );
        }
    };
    (@where yes, $server:ty, $attributes:tt; $($area:ident: $property:ident,)*) => {
        $(suite!(@test $server, $attributes, $area, $property);)*
    };
    (@where $why:literal, $server:ty, $attributes:tt; $($area:ident: $property:ident,)*) => {};
    (@test $server:ty, [$($attribute:meta)?], $area:ident, $property:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])?
        async fn $property() {
            crate::$area::$property::<$server>().await;
        }
    };
}

suite!(in_memory: crate::memory::Memory, [];
    tenants: "each that is opened is one tenant's own",
    is_changed: "nobody else gets at its bytes",
    is_full: yes,
    goes: "it goes with the process that asks",
    comes_back_empty: "it goes with the process that asks",
);
suite!(in_a_store: crate::store::OverTcp, [];
    tenants: yes,
    is_changed: yes,
    is_full: yes,
    goes: yes,
    comes_back_empty: yes,
);
suite!(in_a_store_on_this_host: crate::store::OverSocket, [];
    tenants: yes,
    is_changed: yes,
    is_full: yes,
    goes: yes,
    comes_back_empty: yes,
);
suite!(in_a_store_behind_tls: crate::store::OverTls, [];
    tenants: yes,
    is_changed: yes,
    is_full: yes,
    goes: yes,
    comes_back_empty: yes,
);
suite!(in_redis: crate::redis::Redis, [];
    tenants: yes,
    is_changed: yes,
    is_full: yes,
    goes: yes,
    comes_back_empty: yes,
);
suite!(in_redis_behind_tls: crate::redis::OverTls, [];
    tenants: yes,
    is_changed: yes,
    is_full: yes,
    goes: yes,
    comes_back_empty: yes,
);
suite!(in_a_cluster: crate::cluster::Cluster, [];
    tenants: yes,
    is_changed: yes,
    is_full: yes,
    goes: yes,
    comes_back_empty: yes,
);
suite!(in_a_folder: crate::folder::Folder, [];
    tenants: yes,
    is_changed: yes,
    is_full: "its limit is that of files here, set for a whole process; folder.rs has a test of that",
    goes: yes,
    comes_back_empty: "a folder without anything is one that is not mounted",
);
suite!(in_s3: crate::s3::Bucket, [ignore = "needs an object store; datastore/tests/s3.sh starts one"];
    tenants: yes,
    is_changed: yes,
    is_full: "nothing bounds a bucket",
    goes: "its server is started by a script, for all tests",
    comes_back_empty: "its server is started by a script, for all tests",
);
