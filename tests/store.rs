//! What every store must do, and what the embedded one does beside.
//!
//! The tests below `store/` are generic over the database; [`on_every_store`] names each once for each.

#[path = "store/alerts.rs"]
mod alerts;
#[path = "store/chunks.rs"]
mod chunks;
#[path = "store/commit.rs"]
mod commit;
#[path = "store/frozen.rs"]
mod frozen;
#[path = "store/grafana.rs"]
mod grafana;
#[path = "store/history.rs"]
mod history;
#[path = "store/instances.rs"]
mod instances;
#[path = "store/ledger.rs"]
mod ledger;
#[path = "store/notices.rs"]
mod notices;
#[path = "store/outbox.rs"]
mod outbox;
#[path = "store/positions.rs"]
mod positions;
#[path = "support/postgres/mod.rs"]
mod postgres_server;
#[path = "store/primary.rs"]
mod primary;
#[path = "store/restore.rs"]
mod restore;
#[path = "store/rights.rs"]
mod rights;
#[path = "store/rollups.rs"]
mod rollups;
#[path = "store/sqlite.rs"]
mod sqlite_only;
#[path = "store/support.rs"]
mod support;
#[path = "store/windows.rs"]
mod windows;

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

macro_rules! on_postgres {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        mod postgres_only {
            $(mod $module { $(crate::test!($module::$test, PlainPostgres);)+ })+
        }
        mod timescale_only {
            $(mod $module { $(crate::test!($module::$test, TimescalePostgres);)+ })+
        }
    };
}

macro_rules! on_timescale {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        mod compressed {
            $(mod $module { $(crate::test!($module::$test, TimescalePostgres);)+ })+
        }
    };
}

macro_rules! compressing {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        mod compressing {
            $(mod $module { $(crate::test!($module::$test, Compressing);)+ })+
        }
    };
}

macro_rules! by_entries {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        mod by_entries {
            $(mod $module { $(crate::test!($module::$test, ByEntries);)+ })+
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
    commit:
        readings_are_stored_and_reported,
        a_redelivered_batch_changes_nothing_but_its_count,
        a_conflict_goes_to_dead_letters,
        doubles_within_a_group_are_judged_by_sequence,
        a_refused_group_leaves_nothing,
        a_rehearsal_says_what_a_commit_would_and_leaves_nothing,
        an_older_process_is_fenced,
        a_group_is_never_counted_twice,
        batch_numbers_are_never_given_twice,
        positions_and_definitions_follow_the_last_batch,
        old_idempotency_keys_expire_and_positions_do_not,
        arrivals_are_written_over_and_expire,
        a_dropped_commit_leaves_nothing_open;
    positions:
        a_claim_takes_the_partitions_from_their_owner,
        a_claim_waits_for_a_commit_under_way,
        what_was_not_stored_for_long_is_forgotten;
    instances:
        numbers_are_never_given_twice,
        a_name_has_one_number,
        a_sensor_has_one_home_or_several,
        a_question_may_be_about_some;
    restore:
        a_sensor_without_snapshot_has_all_its_readings,
        the_tail_begins_after_a_complete_snapshot,
        a_snapshot_within_a_group_covers_what_came_before_it,
        an_incomplete_snapshot_leaves_the_rest_of_the_tail,
        a_cut_tail_is_a_prefix_by_sequence,
        a_reading_whose_batch_expired_keeps_its_own_time,
        a_snapshot_names_its_deadline,
        the_newest_readings_rebuild_a_state,
        unprocessed_readings_are_counted_until_a_complete_snapshot;
    windows:
        a_window_is_revised_only_when_it_changes,
        a_window_computed_again_from_the_same_readings_is_not_revised,
        a_window_is_computed_from_stored_rows,
        a_window_goes_when_all_it_was_computed_from_is_poison,
        an_anomaly_found_again_is_kept_once;
    history:
        readings_come_by_the_page,
        the_latest_value_is_the_newest_by_event_time,
        buckets_are_aligned_to_the_epoch,
        windows_of_one_time_stay_on_one_page,
        dead_letters_are_kept_until_they_expire,
        old_readings_expire_in_every_series,
        restarts_audit_and_tokens_are_kept,
        a_pause_outlives_the_process;
    alerts:
        an_event_is_stored_once_and_the_row_is_the_last,
        a_list_of_alerts_is_filtered_and_goes_on,
        a_sensor_comes_back_with_the_alerts_that_it_may_change,
        what_people_say_of_an_alert_stays,
        silences_last_until_they_end,
        events_are_in_the_outbox_once;
    notices:
        what_was_decided_is_there_again,
        a_notification_is_leased_and_done_once,
        what_was_shelved_is_said_until_it_is_over;
    outbox:
        only_what_was_stored_is_in_it,
        windows_and_anomalies_are_in_it_once_and_revisions_too,
        a_row_stays_until_every_output_has_sent_it,
        what_is_too_old_or_too_much_is_found,
        a_big_group_has_several_rows_and_a_reading_takes_little,
        without_outputs_nothing_is_written;
    rollups:
        buckets_are_those_of_the_readings,
        huge_values_do_no_harm;
    ledger:
        random_batches_agree_with_an_oracle;
}

on_postgres! {
    grafana:
        every_statement_of_the_dashboard_finds_something;
    rollups:
        rollups_outlive_their_readings,
        rolling_up_again_changes_nothing,
        a_claim_waits_for_the_writer,
        a_dropped_question_ends,
        two_writers_at_once_leave_nothing_out;
    instances:
        windows_of_a_scattered_sensor_are_those_of_all_rows,
        windows_that_two_compute_at_once_lack_nothing,
        whose_partitions_are_taken_is_told_at_its_next_commit,
        one_leads_and_another_takes_over,
        nobody_runs_beside_one_that_runs_alone,
        a_load_is_as_of_our_own_commits,
        a_partition_that_another_instance_dropped_is_made_again;
}

on_timescale! {
    chunks:
        a_load_sees_readings_that_are_compressed_meanwhile,
        buckets_count_readings_that_are_compressed_meanwhile,
        a_page_has_readings_that_are_changed_while_it_is_planned;
}

compressing! {
    ledger:
        random_batches_agree_with_an_oracle;
}

by_entries! {
    commit:
        a_redelivered_batch_changes_nothing_but_its_count,
        a_refused_group_leaves_nothing,
        a_rehearsal_says_what_a_commit_would_and_leaves_nothing,
        an_older_process_is_fenced,
        a_dropped_commit_leaves_nothing_open;
    restore:
        a_sensor_without_snapshot_has_all_its_readings,
        the_tail_begins_after_a_complete_snapshot,
        a_snapshot_within_a_group_covers_what_came_before_it,
        an_incomplete_snapshot_leaves_the_rest_of_the_tail,
        a_cut_tail_is_a_prefix_by_sequence,
        unprocessed_readings_are_counted_until_a_complete_snapshot;
    ledger:
        random_batches_agree_with_an_oracle;
}
