//! What every store must do, and what the embedded one does beside.
//!
//! The tests below `store/` are generic over the database; [`on_every_store`] names each once for each.

#[path = "store/commit.rs"]
mod commit;
#[path = "store/support.rs"]
mod support;

macro_rules! on_every_store {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        mod sqlite {
            $(mod $module {
                use crate::support::{Fixture, Sqlite};
                $(
                    #[tokio::test]
                    async fn $test() {
                        crate::$module::$test(Sqlite::new().await).await;
                    }
                )+
            })+
        }
    };
}

on_every_store! {
    commit:
        readings_are_stored_and_reported,
        a_redelivered_batch_changes_nothing_but_its_count,
        a_conflict_goes_to_dead_letters,
        doubles_within_a_group_are_judged_by_sequence,
        a_refused_group_leaves_nothing,
        an_older_process_is_fenced,
        a_group_is_never_counted_twice,
        batch_numbers_are_never_given_twice,
        positions_and_definitions_follow_the_last_batch,
        a_dropped_commit_leaves_nothing_open;
}
