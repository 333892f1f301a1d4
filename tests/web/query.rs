//! What `POST /api/query` and the envelope can be asked beyond single readings and plain aggregates.

use sensorhive::domain::Timestamp;
use serde_json::{Value, json};

use crate::support::App;

/// Sensors of two sites and one without, each with a reading every ten seconds of ten minutes but for the fifth; the minute
/// they begin with.
async fn filled() -> (App, i64) {
    let app = App::spawn().await;
    let start = app.state.now().0 / 60_000_000 * 60 - 1_200;
    let mut items = Vec::new();
    for (sensor, site) in [
        ("a1", Some("a")),
        ("a2", Some("a")),
        ("b1", Some("b")),
        ("x", None),
    ] {
        for at in (0..600).step_by(10).filter(|at| at / 60 != 4) {
            let mut item = json!({"sensor_id": sensor, "t": value(sensor, at), "timestamp": start + at});
            if let Some(site) = site {
                item["tags"] = json!({"site": site, "plant": "p"});
            }
            items.push(item);
        }
    }
    let answer = app.post("/api/ingest", json!(items).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (app, start)
}

fn value(sensor: &str, at: i64) -> f64 {
    let of_sensor = match sensor {
        "a1" => 0.0,
        "a2" => 100.0,
        "b1" => 1_000.0,
        _ => 5_000.0,
    };
    of_sensor + at as f64
}

fn time(seconds: i64) -> String {
    Timestamp::from_seconds(seconds).to_rfc3339()
}

/// Every row, however many pages it takes.
async fn all(app: &App, question: Value) -> Vec<Value> {
    let (mut rows, mut question) = (Vec::new(), question);
    for _ in 0..1_000 {
        let answer = app.post("/api/query", question.to_string()).await;
        assert_eq!(answer.status, 200, "{question}: {}", answer.text);
        rows.extend(answer.body["data"].as_array().unwrap().iter().cloned());
        if answer.body["next"].is_null() {
            return rows;
        }
        question["cursor"] = answer.body["next"].clone();
    }
    panic!("{question} never ends");
}

fn values(rows: &[Value]) -> Vec<Option<f64>> {
    rows.iter().map(|row| row["value"].as_f64()).collect()
}

#[actix_web::test]
async fn a_range_may_be_said_in_many_ways() {
    let (app, start) = filled().await;
    let ask = async |range: Value| all(&app, json!({"measurement": "a1", "time_range": range})).await;
    let whole = ask(json!({"start": time(start)})).await;
    assert_eq!(whole.len(), 54);
    for range in [
        json!("-1h"),
        json!({"start": "-1h", "end": "now"}),
        json!({"start": start}),
        json!({"start": start * 1_000, "end": null}),
        json!(start),
        Value::Null,
    ] {
        assert_eq!(ask(range.clone()).await, whole, "{range}");
    }
    let part = ask(json!({"start": start + 60, "end": time(start + 120)})).await;
    assert_eq!(
        values(&part),
        (6..12).map(|n| Some(f64::from(n) * 10.0)).collect::<Vec<_>>()
    );
    app.stop().await;
}

#[actix_web::test]
async fn readings_are_filtered_by_value_and_sensor() {
    let (app, _) = filled().await;
    for limit in [1, 3, 1_000] {
        let question = json!({"measurement": "plant=p", "filters": {"value": {"above": 80, "at_most": 110}}, "limit": limit});
        let wanted = [90.0, 100.0, 110.0, 100.0, 110.0].map(Some);
        assert_eq!(values(&all(&app, question).await), wanted, "{limit}");
    }
    let question =
        json!({"measurement": "*", "filters": {"sensor": ["b1", "x"], "value": {"equals": 5_000}}});
    let rows = all(&app, question).await;
    assert_eq!(
        (rows.len(), &rows[0]["measurement"], &rows[0]["tags"]),
        (1, &json!("x"), &json!({}))
    );
    let none = json!({"measurement": "a1", "filters": {"sensor": "a2"}});
    assert!(all(&app, none).await.is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn empty_buckets_are_absent_or_null() {
    let (app, start) = filled().await;
    let range = json!({"start": time(start - 30), "end": time(start + 630)});
    for limit in [1, 4, 1_000] {
        let question = json!({"measurement": "a1", "time_range": range, "aggregation": "max", "step": "1m", "limit": limit});
        let absent = all(&app, question.clone()).await;
        let wanted: Vec<i64> = (0..10).filter(|minute| *minute != 4).collect();
        let times: Vec<_> = absent
            .iter()
            .map(|row| row["time"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            times,
            wanted
                .iter()
                .map(|minute| time(start + minute * 60))
                .collect::<Vec<_>>()
        );
        let mut question = question;
        question["fill"] = json!("null");
        let filled = all(&app, question).await;
        let wanted: Vec<_> = (-1..11)
            .map(|minute| {
                (0..10)
                    .contains(&minute)
                    .then_some(f64::from(minute) * 60.0 + 50.0)
                    .filter(|_| minute != 4)
            })
            .collect();
        assert_eq!(values(&filled), wanted, "{limit}");
        assert_eq!(filled[0]["time"], time(start - 60));
    }
    app.stop().await;
}

#[actix_web::test]
async fn series_are_added_up_by_tag() {
    let (app, start) = filled().await;
    let ask = async |more: Value| {
        let mut question =
            json!({"measurement": "*", "time_range": start, "group_by": "site", "filters": {"metric": "t"}});
        question
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all(&app, question).await
    };
    let sum: f64 = ["a1", "a2"]
        .iter()
        .flat_map(|sensor| {
            (0..600)
                .step_by(10)
                .filter(|at| at / 60 != 4)
                .map(move |at| value(sensor, at))
        })
        .sum();
    // Of site a, one sensor gives its first reading no earlier than the other: the one that was heard first counts.
    let of_a: [(&str, f64); 7] = [
        ("count", 108.0),
        ("min", 0.0),
        ("max", 690.0),
        ("sum", sum),
        ("mean", sum / 108.0),
        ("first", 0.0),
        ("last", 590.0),
    ];
    for (aggregation, wanted) in of_a {
        let rows = ask(json!({"aggregation": aggregation})).await;
        let tags: Vec<_> = rows.iter().map(|row| row["tags"].clone()).collect();
        assert_eq!(tags, [json!({}), json!({"site": "a"}), json!({"site": "b"})]);
        assert_eq!(rows[1]["value"], wanted, "{aggregation}");
        assert_eq!(
            (&rows[1]["measurement"], &rows[1]["field"]),
            (&json!("*"), &json!("t"))
        );
    }
    for limit in [1, 2, 5, 1_000] {
        let rows = ask(json!({"aggregation": "count", "step": "1m", "limit": limit})).await;
        let counts: Vec<_> = [6.0, 12.0, 6.0]
            .iter()
            .flat_map(|count| [Some(*count); 9])
            .collect();
        assert_eq!(values(&rows), counts, "{limit}");
        let rows = ask(json!({"aggregation": "count", "step": "5m", "limit": limit, "fill": "null", "time_range": {"start": start, "end": start + 900}})).await;
        assert_eq!(rows.len() % 3, 0);
        assert_eq!(values(&rows).iter().flatten().sum::<f64>(), 4.0 * 54.0, "{limit}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn what_does_not_go_together_is_said() {
    let app = App::spawn().await;
    let cases = [
        (json!({"group_by": "site"}), "group_by"),
        (json!({"fill": "null", "aggregation": "max"}), "fill"),
        (json!({"fill": "zero"}), "fill"),
        (json!({"filters": {"value": {}}}), "filters.value"),
        (
            json!({"filters": {"value": {"above": 2, "below": 1}}}),
            "filters.value",
        ),
        (json!({"filters": {"value": {"over": 2}}}), "filters.value.over"),
        (
            json!({"filters": {"value": {"above": "2"}}}),
            "filters.value.above",
        ),
        (
            json!({"filters": {"value": {"above": 2}}, "aggregation": "max"}),
            "filters.value",
        ),
        (json!({"time_range": {"begin": "-1h"}}), "time_range.begin"),
        (json!({"time_range": {"start": []}}), "time_range.start"),
        (json!({"time_range": "soon"}), "time_range"),
        (json!({"time_range": [1]}), "time_range"),
        // The cursor of another kind of list.
        (
            json!({"cursor": "AAAAAA", "aggregation": "max", "group_by": "site"}),
            "cursor",
        ),
    ];
    for (case, field) in cases {
        let mut question = json!({"measurement": "s"});
        question
            .as_object_mut()
            .unwrap()
            .extend(case.as_object().unwrap().clone());
        let answer = app.post("/api/query", question.to_string()).await;
        let told = &answer.problem(400, "invalid-parameters")["errors"][0]["field"];
        assert_eq!(told, field, "{case}: {}", answer.text);
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_envelope_has_as_many_points_as_fit() {
    let (app, start) = filled().await;
    let path = format!(
        "/api/sensors/a1/envelope?from={}&to={}&points=11",
        start,
        time(start + 600)
    );
    let answer = app.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let points = answer.body["data"].as_array().unwrap();
    assert_eq!((&answer.body["step_seconds"], points.len()), (&json!(60.0), 9));
    let second = json!({"time": time(start + 60), "count": 6, "min": 60.0, "max": 110.0, "mean": 85.0, "first": 60.0, "last": 110.0});
    assert_eq!(points[1], second);
    let few = app.get(&path.replace("points=11", "points=1")).await;
    assert_eq!(
        few.body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["count"].as_u64().unwrap())
            .sum::<u64>(),
        54
    );
    for (query, field) in [
        ("points=0", "points"),
        ("points=5001", "points"),
        ("from=now", "from"),
    ] {
        let wrong = app.get(&format!("/api/sensors/a1/envelope?{query}")).await;
        assert_eq!(
            wrong.problem(400, "invalid-parameters")["errors"][0]["field"],
            field
        );
    }
    app.get("/api/sensors/none/envelope")
        .await
        .problem(404, "not-found");
    app.stop().await;
}
