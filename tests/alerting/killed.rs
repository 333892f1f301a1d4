//! kill -9 while alerts are raised, decided on and mailed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::instance::Instance;
use crate::smtp::{Options, Server};
use crate::support::*;

const SENSORS: usize = 4;

/// How often it is killed: 200 times unless `SENSORHIVE_TEST_KILLS` says otherwise, in a debug build 40.
fn kills() -> usize {
    let told = std::env::var("SENSORHIVE_TEST_KILLS").ok();
    let usual = if cfg!(debug_assertions) { 40 } else { 200 };
    told.and_then(|kills| kills.parse().ok()).unwrap_or(usual)
}

/// Sends one reading until it is acknowledged; `false` where nobody answers any more.
async fn say(instance: &Instance, sensor: usize, second: i64, value: f64) -> bool {
    let said = reading(&format!("boiler-{sensor}"), second, value);
    matches!(instance.api.try_ingest(&said).await, Ok(answer) if answer.status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_tells_every_alert_in_order() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let place = place(
        &server,
        "group_wait = '0s'\ngroup_interval = '0s'\nevery = '0s'\ngroup_by = ['sensor']",
        "[[rules]]\nname = 'hot'\nmatch = { metric = 't' }\ncondition = { above = 80.0 }",
    );
    let mut instance = Instance::start(&place).await;
    let mut random = rand_of(1);
    // Each goes up and down every 20 minutes, so that none is flapping.
    let mut next = [0_i64; SENSORS];
    for _ in 0..kills() {
        let until_then = std::time::Instant::now() + Duration::from_millis(random(120));
        let mut sensor = 0;
        while std::time::Instant::now() < until_then {
            sensor = (sensor + 1) % SENSORS;
            let step = next[sensor];
            let value = if step % 2 == 0 { 90.0 } else { 20.0 };
            if say(&instance, sensor, step * 1_200, value).await {
                next[sensor] += 1;
            }
        }
        instance = instance.again(&[]).await;
    }
    for (sensor, step) in next.iter().enumerate() {
        for step in *step..step + 2 {
            let value = if step % 2 == 0 { 90.0 } else { 20.0 };
            assert!(say(&instance, sensor, step * 1_200, value).await);
        }
        if step % 2 == 1 {
            assert!(say(&instance, sensor, (step + 2) * 1_200, 20.0).await);
        }
    }
    all_sent(&place).await;

    let raised = number(&place, "SELECT count(*) FROM alerts").await;
    let events = number(&place, "SELECT count(*) FROM alert_events").await;
    assert_eq!(
        number(&place, "SELECT count(*) FROM alerts WHERE state <> 'resolved'").await,
        0
    );
    let untold = "SELECT count(*) FROM alert_events e WHERE NOT EXISTS (
        SELECT 1 FROM notified_alerts n JOIN notifications s USING (seq)
        WHERE n.episode = e.episode AND n.ordinal >= e.ordinal AND s.state = 'sent')";
    assert_eq!(number(&place, untold).await, 0, "every event was told");
    assert_eq!(
        number(&place, "SELECT count(*) FROM notifications WHERE state <> 'sent'").await,
        0
    );

    let made = number(&place, "SELECT count(*) FROM notifications").await;
    let mails = server.received(usize::try_from(made).unwrap()).await;
    let mut times = BTreeMap::<String, usize>::new();
    let mut threads = BTreeMap::<String, Vec<String>>::new();
    for mail in &mails {
        let id = message(mail).message_id().unwrap().to_owned();
        let seen = times.entry(id.clone()).or_default();
        *seen += 1;
        if *seen == 1 {
            let mail = message(mail);
            let said = mail.header("X-Sensorhive-Notification").unwrap();
            let (thread, ordinal) = said.as_text().unwrap().rsplit_once('-').unwrap();
            threads
                .entry(thread.to_owned())
                .or_default()
                .push(ordinal.to_owned());
        }
    }
    assert_eq!(
        times.len() as i64,
        made,
        "no mail but those that were made, and each of them"
    );
    for (thread, ordinals) in &threads {
        let wanted: Vec<String> = (0..ordinals.len()).map(|ordinal| ordinal.to_string()).collect();
        assert_eq!(ordinals, &wanted, "{thread} is in order");
    }
    let ends =
        "SELECT count(DISTINCT e.episode) FROM alert_events e JOIN notified_alerts n USING (episode, ordinal)
        JOIN notifications s USING (seq) WHERE e.change = 'resolved' AND s.state = 'sent'";
    assert_eq!(number(&place, ends).await, raised, "no end is lost");
    let repeated = mails.len() as i64 - made;
    assert!(repeated <= kills() as i64, "at most one a kill");
    report(&format!(
        "killed {} times: {raised} alerts, {events} events, {made} notifications, {repeated} mails came again with the same Message-ID",
        kills()
    ));
}

/// Numbers below what is asked, always the same.
fn rand_of(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}
