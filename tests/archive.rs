//! The cold archive on every database: what goes out comes back, and nothing is dropped before it is safe.
//!
//! The tests below `archive/` are generic over the database; [`on_every_store`] names each once for each.

#[path = "archive/command.rs"]
mod command;
#[path = "archive/crash.rs"]
mod crash;
#[path = "archive/late.rs"]
mod late;
#[path = "archive/place.rs"]
mod place;
#[path = "archive/chunks.rs"]
mod postgres_only;
#[path = "support/postgres/mod.rs"]
mod postgres_server;
#[path = "archive/round_trip.rs"]
mod round_trip;
#[path = "archive/s3.rs"]
mod s3;
#[allow(dead_code, reason = "the tests of the stores use the rest")]
#[path = "store/support.rs"]
mod support;
#[path = "archive/world.rs"]
mod world;

macro_rules! on_every_store {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        mod sqlite {
            $(mod $module { $(crate::test!($module::$test, Sqlite);)+ })+
        }
        mod postgres {
            $(mod $module { $(crate::test!($module::$test, PlainPostgres);)+ })+
        }
        mod timescale {
            $(mod $module { $(crate::test!($module::$test, TimescalePostgres);)+ })+
        }
    };
}

macro_rules! test {
    ($module:ident::$test:ident, $fixture:ident) => {
        #[tokio::test]
        async fn $test() {
            use crate::support::Fixture;
            if let Some(fixture) = crate::support::$fixture::new().await {
                crate::$module::$test(fixture).await;
            }
        }
    };
}
use test;

on_every_store! {
    round_trip:
        what_was_archived_and_dropped_comes_back_as_it_was,
        a_copy_is_kept_beside_readings_that_stay,
        a_large_day_is_cut_into_objects,
        another_database_takes_an_archive_in,
        a_stored_reading_is_never_overwritten,
        a_day_of_which_a_part_is_restored_stays_whole,
        a_restored_day_stays_for_as_long_as_asked;
    late:
        readings_that_come_after_the_export_are_archived_too,
        readings_that_come_after_the_drop_are_archived_beside,
        a_window_of_a_day_that_is_gone_keeps_its_figures,
        a_sensor_that_is_behind_keeps_its_readings,
        a_day_that_changed_behind_the_archive_is_archived_anew;
    crash:
        whatever_fails_goes_on_where_it_was;
    place:
        a_damaged_object_is_noticed_and_nothing_is_dropped,
        a_place_that_fails_drops_nothing_and_goes_on_later,
        an_object_of_somebody_else_is_never_written_over,
        a_damaged_object_is_not_restored;
}
