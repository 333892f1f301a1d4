//! Files: written and rotated while the service is killed, and in each of their forms.

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::api::number;
use crate::instance::{Instance, Place, report, until};
use crate::support::{START, item, place, same_as_in_peace, status, stored};

const KILLS: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_each_line_is_stored_once() {
    let place = place("file", "path = 'logs/a.log*'\ninterval = '20ms'");
    let logs = place.path("logs");
    fs::create_dir(&logs).unwrap();
    let mut instance = Instance::start(&place).await;
    let (mut written, mut rotations) = (0, 0);
    for kill in 0..KILLS {
        let before = stored(&instance.api, "s").await;
        for _ in 0..4 {
            let mut file = fs::File::options()
                .create(true)
                .append(true)
                .open(logs.join("a.log"))
                .unwrap();
            for _ in 0..100 {
                // In two writes, so that lines are seen without their ends.
                let line = format!("{}\n", item("s", written));
                let (head, tail) = line.split_at(line.len() / 2);
                file.write_all(head.as_bytes()).unwrap();
                file.write_all(tail.as_bytes()).unwrap();
                written += 1;
            }
            rotations += 1;
            let rotated = logs.join(format!("a.log.{rotations}"));
            match rotations % 4 {
                0 => {}
                1 => fs::rename(logs.join("a.log"), &rotated).unwrap(),
                _ => {
                    fs::copy(logs.join("a.log"), &rotated).unwrap();
                    file.set_len(0).unwrap();
                }
            }
        }
        until("something to be stored", async || {
            (stored(&instance.api, "s").await > before).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(7 * kill as u64)).await;
        instance.kill9();
        instance = instance.again(&[]).await;
    }
    let windows = same_as_in_peace(&instance, "s", written).await;
    let letters = instance.api.get("/api/admin/dead-letters").await;
    assert_eq!(letters["data"], json!([]));
    report(&format!(
        "files: {KILLS} x kill -9 while they were written, {rotations} rotations: {written} lines = {written} rows, \
         none received twice, {windows} windows equal those of an undisturbed run"
    ));
}

/// Lines without times: one that is read twice would be another reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_a_dead_letter_with_its_place() {
    let place = place("file", "path = 'a.log'\ninterval = '20ms'\ndefault_sensor = 's'");
    let mut text = b"\xEF\xBB\xBF1\r\n2\n\nno number\n".to_vec();
    let long = text.len();
    text.extend(vec![b'7'; (1 << 20) + 1]);
    text.extend(b"\n\xff\n3\n4");
    fs::write(place.path("a.log"), &text).unwrap();
    let mut instance = Instance::start(&place).await;
    let values = async |instance: &Instance, count: usize| {
        until("the readings", async || {
            (stored(&instance.api, "s").await >= count).then_some(())
        })
        .await;
        let all = instance.api.readings("s").await;
        all.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(values(&instance, 3).await, [1.0, 2.0, 3.0]);
    let letters = instance.api.get("/api/admin/dead-letters").await;
    let mut places: Vec<_> = letters["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| {
            (
                letter["position"].clone(),
                letter["reason"].clone(),
                number(&letter["payload_bytes"]),
            )
        })
        .collect();
    places.sort_by_key(|(place, ..)| {
        place.to_string().len() * 1_000_000 + place.to_string().bytes().map(usize::from).sum::<usize>()
    });
    let expected = [
        (json!("a.log@9"), json!("undecodable"), 9),
        (json!(format!("a.log@{long}")), json!("limit_reached"), 64 << 10),
        (
            json!(format!("a.log@{}", long + (1 << 20) + 2)),
            json!("undecodable"),
            1,
        ),
    ];
    assert_eq!(places, expected);
    instance.kill9();
    fs::File::options()
        .append(true)
        .open(place.path("a.log"))
        .unwrap()
        .write_all(b"5\n")
        .unwrap();
    let instance = instance.again(&[]).await;
    assert_eq!(values(&instance, 4).await, [1.0, 2.0, 3.0, 45.0]);
    let status = status(&instance.api).await;
    let file = &status["files"]["files"][0];
    assert_eq!(file["position"], file["size"], "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_protocol_and_tables_are_read() {
    let settings = "
        [sources.lines]
        kind = 'file'
        path = 'lines/*.txt'
        format = 'lines'
        precision = 's'
        interval = '20ms'
        [sources.wide]
        kind = 'file'
        path = 'wide.csv'
        format = 'csv'
        interval = '20ms'
        csv = { sensor_id = 'device', timestamp = 'at', delimiter = ';', time_format = '%d.%m.%Y %H:%M:%S', tags = ['site'] }
        [sources.long]
        kind = 'file'
        path = 'long.csv'
        format = 'csv'
        interval = '20ms'
        default_sensor = 'meter'
        csv = { header = false, timestamp = 0, metric = 1, value = 2 }
    ";
    let place = Place::new(settings, &[]);
    let seconds = START / 1_000_000;
    fs::create_dir(place.path("lines")).unwrap();
    fs::write(
        place.path("lines/a.txt"),
        format!(
            "room,sensor_id=l1 a=1,b=2i {seconds}\n# none\nroom,sensor_id=l1 a=3 {}\n",
            seconds + 1
        ),
    )
    .unwrap();
    fs::write(
        place.path("wide.csv"),
        "device;at;site;t;h\r\nw1;01.01.2026 00:00:00;north;1.5;2\r\nw1;01.01.2026 00:00:01;north;;3\r\n",
    )
    .unwrap();
    fs::write(
        place.path("long.csv"),
        format!("{seconds},power,5\n{seconds},volts,230\n"),
    )
    .unwrap();
    let mut instance = Instance::start(&place).await;
    for round in 0..2 {
        for (sensor, count) in [("l1", 3), ("w1", 3 + round), ("meter", 2)] {
            until(sensor, async || {
                (stored(&instance.api, sensor).await >= count).then_some(())
            })
            .await;
        }
        if round == 0 {
            // The header of a table is known again after a crash.
            instance.kill9();
            fs::File::options()
                .append(true)
                .open(place.path("wide.csv"))
                .unwrap()
                .write_all(b"w1;01.01.2026 00:00:02;north;9;\r\n")
                .unwrap();
            instance = instance.again(&[]).await;
        }
    }
    let of = async |sensor: &str, metric: &str| {
        let path = format!("/api/sensors/{sensor}/readings?metric={metric}&order=asc");
        let page = instance.api.get(&path).await;
        let data = page["data"].as_array().unwrap().clone();
        data.iter()
            .map(|row| row["value"].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("l1", "a").await, [1.0, 3.0]);
    assert_eq!(of("w1", "t").await, [1.5, 9.0]);
    assert_eq!(of("w1", "h").await, [2.0, 3.0]);
    assert_eq!(of("meter", "volts").await, [230.0]);
    assert_eq!(
        instance.api.get("/api/sensors/w1").await["tags"],
        json!({"site": "north"})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_end_means_what_comes_after_the_first_start() {
    let place = place("file", "path = '*.log'\ninterval = '20ms'\nbegin = 'end'");
    fs::write(place.path("a.log"), format!("{}\n", item("old", 0))).unwrap();
    let mut instance = Instance::start(&place).await;
    until("the first look", async || {
        (status(&instance.api).await["files"]["count"] == 1).then_some(())
    })
    .await;
    instance.kill9();
    // A file that came while we were away is new.
    fs::write(place.path("b.log"), format!("{}\n", item("s", 0))).unwrap();
    let instance = instance.again(&[]).await;
    same_as_in_peace(&instance, "s", 1).await;
    assert_eq!(stored(&instance.api, "old").await, 0);
}

/// How far the files of a place were read, as it is stored.
async fn remembered(place: &Place) -> Vec<i64> {
    let sql = "SELECT offset FROM positions WHERE partition LIKE 'file/%' AND partition NOT LIKE '%/check'
               AND partition <> 'file/begun' ORDER BY offset";
    sqlx::query_scalar(sql)
        .fetch_all(&mut place.connect().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_gone_is_forgotten_and_one_that_stays_is_not() {
    let place = place(
        "file",
        "path = '*.log'\ninterval = '10ms'\nforget_after = '600ms'",
    );
    let line = |sensor: &str, index| format!("{}\n", item(sensor, index));
    let first = line("gone", 0).len() as i64;
    fs::write(place.path("gone.log"), line("gone", 0)).unwrap();
    fs::write(place.path("stays.log"), line("stays", 0) + &line("stays", 1)).unwrap();
    let mut instance = Instance::start(&place).await;
    until("both to be remembered", async || {
        (remembered(&place).await.len() == 2).then_some(())
    })
    .await;
    // What leaves while it is followed is read for another minute.
    instance.kill9();
    fs::rename(place.path("gone.log"), place.path("gone.away")).unwrap();
    instance = instance.again(&[]).await;
    until("one to be forgotten", async || {
        (remembered(&place).await.len() == 1).then_some(())
    })
    .await;
    assert!(remembered(&place).await[0] > first, "the wrong one was forgotten");
    // It is read from its beginning, and what was stored is recognized.
    let mut again = fs::read_to_string(place.path("gone.away")).unwrap();
    again.push_str(&line("gone", 1));
    fs::write(place.path("gone.log"), again).unwrap();
    until("the rest", async || {
        (stored(&instance.api, "gone").await == 2).then_some(())
    })
    .await;
    let ledger = instance.api.caught_up("gone").await;
    assert_eq!(
        (number(&ledger["received"]), number(&ledger["duplicate"])),
        (3, 1),
        "{ledger}"
    );
    // Neither time nor a long stop makes it forget what is there.
    instance.kill9();
    tokio::time::sleep(Duration::from_secs(1)).await;
    instance = instance.again(&[]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut file = fs::File::options()
        .append(true)
        .open(place.path("stays.log"))
        .unwrap();
    file.write_all(line("stays", 2).as_bytes()).unwrap();
    same_as_in_peace(&instance, "stays", 3).await;
    assert_eq!(remembered(&place).await.len(), 2);
}
